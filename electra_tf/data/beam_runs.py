"""Runs Apache Beam pipelines, on any runner, and tells their errors."""

import contextlib
import json
import logging
import os
import re
import shlex
from collections.abc import Callable, Iterator
from typing import Any

from electra_tf.errors import UserError

# Of Beam's own Python runner; `DirectRunner` first asks for a program that it
# downloads.
_HERE = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
_USER_ERROR = re.compile(r"UserError: (.*?)(?: \[while running|\n|$)")


def run(
    compose: Callable[[Any], None], beam_args: str = "", num_workers: int = 1
) -> None:
    """Composes a pipeline, runs it, and waits for its end.

    Args:
      compose: adds the transforms to an `apache_beam.Pipeline`.
      beam_args: Beam's own flags, as on a command line. Without --runner the
        pipeline runs in processes of this machine.
      num_workers: how many these are.

    Raises:
      UserError: Beam is not installed, does not know the runner or a flag, or
        a worker raised one.
    """
    try:
        import apache_beam
        from apache_beam.options import pipeline_options
    except ImportError as error:
        raise UserError(
            f"--runner=beam needs the package apache-beam ({error}); install "
            "it: pip install 'electra-tf[beam]'"
        ) from error
    words = shlex.split(beam_args)
    if not any(re.match(r"--runner\b", word) for word in words):
        mode = "multi_processing" if num_workers > 1 else "in_memory"
        words += [
            f"--runner={_HERE}",
            f"--direct_num_workers={num_workers}",
            f"--direct_running_mode={mode}",
        ]
    logging.getLogger("apache_beam").setLevel(logging.ERROR)
    try:
        options = pipeline_options.PipelineOptions(words)
        pipeline = apache_beam.Pipeline(options=options)
    except (ValueError, ImportError, AttributeError, SystemExit) as error:
        raise UserError(f"--beam_args={beam_args}: {error}") from error
    compose(pipeline)
    try:
        with _quiet_workers():
            state = pipeline.run().wait_until_finish()
    except Exception as error:  # each runner has its own
        raise _explained(error) from error
    if state not in (None, "DONE"):
        raise UserError(
            f"--beam_args={beam_args}: the pipeline ended as {state}; see its "
            "runner's log"
        )


@contextlib.contextmanager
def _quiet_workers() -> Iterator[None]:
    """For processes that are started here: no notices, no GPU."""
    ours = {
        "PIPELINE_OPTIONS": json.dumps(
            {"default_sdk_harness_log_level": "ERROR"}
        ),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
    }
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _explained(error: Exception) -> Exception:
    """The user's mistake, where a worker told one, however it was wrapped."""
    if isinstance(error, UserError):
        text = str(error).partition(" [while running")[0]
        return UserError(text)
    told = _USER_ERROR.findall(str(error))
    return UserError(told[-1]) if told else error
