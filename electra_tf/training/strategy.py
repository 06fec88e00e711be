"""Makes `tf.distribute` strategies by name, and runs jobs under them."""

import contextlib
import functools
import logging
import signal
import threading
import typing
from collections.abc import Iterator, Sequence

import tensorflow as tf

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.training import checkpoints, workers
from electra_tf.training.settings import ForwardStrategyName, StrategyName

_log = logging.getLogger(__name__)

STRATEGIES = typing.get_args(StrategyName)
FORWARD_STRATEGIES = typing.get_args(ForwardStrategyName)


@contextlib.contextmanager
def distributed(
    name: str = "one_device",
    *,
    join_seconds: float = 300.0,
    tpu: str = "",
    among: Sequence[str] = STRATEGIES,
    run_dir: str | None = None,
) -> Iterator[tf.distribute.Strategy]:
    """Runs a job under a strategy, on one device or by several workers.

    Enter it before TensorFlow does anything else. At the end the workers wait
    for each other, so that the chief has written all files. An error caused by
    a lost worker names that worker.

    Args:
      name: see `make_strategy`.
      join_seconds: see `make_strategy`.
      tpu: see `make_strategy`.
      among: the strategies that the job supports.
      run_dir: directory of the job's checkpoints, or of its trials' folders;
        None if it has none.

    Yields:
      The strategy; `workers.of(strategy)` are the workers.

    Raises:
      UserError: see `make_strategy`; or another worker is lost.
    """
    if name not in among:
        raise UserError(
            f"unknown strategy '{name}': expected one of {', '.join(among)}"
        )
    if tpu and name != "tpu":
        raise UserError(
            f"--tpu={tpu}: is for --strategy=tpu, which is {name}; give both, "
            "or neither"
        )
    if join_seconds < 0:
        raise UserError(
            f"--join_seconds: expected at least 0, got {join_seconds:g}"
        )
    chosen = make_strategy(name, tpu=tpu, join_seconds=join_seconds)
    team = workers.of(chosen)
    with team.watched(lambda: _resume_hint(run_dir)):
        yield chosen
        team.barrier()


def _resume_hint(run_dir: str | None) -> str:
    """Returns a hint for when a worker is lost."""
    again = "start all workers again"
    if run_dir is None:
        return again
    folders = [run_dir]
    if files.is_directory(run_dir):
        folders += [
            files.join(run_dir, name)
            for name in files.list_directory(run_dir)
            if name.startswith("trial_")
        ]
    found = [path for path in map(checkpoints.latest, folders) if path]
    if not found:
        return f"there is no checkpoint in {run_dir} yet: {again} from step 0"
    newest = max(found, key=_written)
    return f"{again} to resume from {newest}"


def _written(path: str) -> int:
    """Returns a sort key by the time when a checkpoint was written."""
    return max(
        files.size_and_time(files.join(path, name))[1]
        for name in files.list_directory(path)
    )


def make_strategy(
    name: str = "one_device",
    *,
    tpu: str = "",
    num_logical_cpus: int = 0,
    join_seconds: float = 300.0,
) -> tf.distribute.Strategy:
    """Returns the strategy to build the model and to train under.

    Args:
      name: `one_device` (the first GPU, else the CPU), `mirrored` (all GPUs of
        this machine, else all its logical CPU devices), `multi_worker` (the
        workers that the environment variable TF_CONFIG lists) or `tpu`.
      tpu: name or address of the TPU; empty asks the environment.
      num_logical_cpus: splits the CPU into this many devices first, to try
        `mirrored` without GPUs; only before TensorFlow has used the CPU.
      join_seconds: how long `multi_worker` waits for the other workers.

    Raises:
      UserError: the name is unknown, devices are missing, TF_CONFIG is not
        valid, an address is in use, or a worker does not come.
    """
    if num_logical_cpus > 0:
        _split_cpu(num_logical_cpus)
    if name == "one_device":
        # The default strategy: TensorFlow's own placement, nothing in between.
        return tf.distribute.get_strategy()
    if name == "mirrored":
        kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
        devices = tf.config.list_logical_devices(kind)
        if len(devices) == 1:
            _log.warning(
                "strategy mirrored: this machine has one device, %s; it "
                "computes as one_device does",
                devices[0].name,
            )
        return _mirrored(tuple(d.name for d in devices))
    if name == "multi_worker":
        return _multi_worker(join_seconds)
    if name == "tpu":
        return _tpu_strategy(tpu)
    raise UserError(
        f"unknown strategy '{name}': expected one of {', '.join(STRATEGIES)}"
    )


@functools.cache
def _mirrored(devices: tuple[str, ...]) -> tf.distribute.Strategy:
    """Returns the only strategy of the process: each strategy numbers its
    collectives from the same start, and TensorFlow would confuse those of two.
    """
    return tf.distribute.MirroredStrategy(devices)


@functools.cache
def _multi_worker(join_seconds: float) -> tf.distribute.Strategy:
    """Returns the only strategy of the process, which has one address."""
    found = workers.read_tf_config()
    workers.meet(found, join_seconds)
    try:
        made = tf.distribute.MultiWorkerMirroredStrategy()
    except RuntimeError as error:
        raise UserError(
            "strategy multi_worker: TensorFlow is already running; make the "
            f"strategy first ({error})"
        ) from error
    if threading.current_thread() is threading.main_thread():
        # TensorFlow's own handler ignores SIGTERM.
        signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))
    return made


def _split_cpu(count: int) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    try:
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * count
        )
    except RuntimeError as error:
        if len(tf.config.list_logical_devices("CPU")) != count:
            raise UserError(
                f"cannot split the CPU into {count} devices: TensorFlow is"
                " already running; make the strategy first"
            ) from error


def _tpu_strategy(address: str) -> tf.distribute.Strategy:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(address)
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, tf.errors.OpError) as error:
        named = f"TPU '{address}'" if address else "TPU"
        raise UserError(
            f"no {named} found: {str(error).splitlines()[0]}; name one that is"
            " running, or choose another strategy"
        ) from error
    return tf.distribute.TPUStrategy(resolver)
