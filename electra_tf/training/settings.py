"""Defines the settings of training, without importing TensorFlow.

`TrainConfig` is what the loop reads. `ComputeConfig` is about how the model is
made, which is up to the loop's caller. The section `train` of a settings file
has the keys of both. A run saves its settings in its directory; `check_run`
compares them at each start.
"""

import dataclasses
import json
import typing
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from electra_tf import files
from electra_tf.config import Setting, Settings, setting_of
from electra_tf.errors import UserError
from electra_tf.training.precision import Precision

# Strategies of jobs; see `training.strategy.make_strategy`.
StrategyName = Literal["one_device", "mirrored", "multi_worker", "tpu"]
# Strategies of jobs without gradients.
ForwardStrategyName = Literal["one_device", "multi_worker"]

MAX_SEED = 2**32 - 1
"""The largest seed that NumPy's and Keras' generators take."""


@dataclasses.dataclass(frozen=True)
class AdamConfig(Settings):
    """The optimizer's settings that pre-training and fine-tuning share."""

    lr_decay_power: Annotated[
        float,
        Setting(
            "Power of the polynomial decay over all steps; 1 is a straight "
            "line.",
            at_least=0,
        ),
    ] = 1.0
    weight_decay_rate: Annotated[
        float,
        Setting(
            "Decoupled weight decay: each step subtracts learning rate * this "
            "* weight.",
            at_least=0,
        ),
    ] = 0.01
    beta_1: Annotated[
        float,
        Setting(
            "Decay of the running mean of gradients, per step.",
            at_least=0,
            below=1,
        ),
    ] = 0.9
    beta_2: Annotated[
        float,
        Setting(
            "Decay of the running mean of squared gradients, per step.",
            at_least=0,
            below=1,
        ),
    ] = 0.999
    epsilon: Annotated[
        float,
        Setting(
            "Added to the root of the second moment, outside the root.",
            at_least=0,
        ),
    ] = 1e-6
    max_grad_norm: Annotated[
        float,
        Setting(
            "Gradients are scaled down to this global L2 norm; 0 turns it off.",
            at_least=0,
        ),
    ] = 1.0
    bias_correction: Annotated[
        bool,
        Setting("Divide the moments by 1 - beta^step, as Adam's paper has it."),
    ] = False


@dataclasses.dataclass(frozen=True)
class OptimizerConfig(AdamConfig):
    """How the weights are updated; defaults pre-train ELECTRA-Small.

    Sources: Clark et al. 2020, Table 6 and the released code.
    """

    learning_rate: Annotated[
        float,
        Setting(
            "Peak learning rate, reached when warm-up ends (5e-4 small, 2e-4 "
            "base and large).",
            at_least=0,
        ),
    ] = 5e-4
    num_warmup_steps: Annotated[
        int,
        Setting(
            "Steps over which the learning rate rises from 0; 0 turns warm-up "
            "off.",
            at_least=0,
        ),
    ] = 10000
    end_learning_rate: Annotated[
        float, Setting("The learning rate that the decay ends at.", at_least=0)
    ] = 0.0
    layerwise_lr_decay: Annotated[
        float | None,
        Setting(
            "For fine-tuning, null in pre-training: the factor between the "
            "learning rates of neighbouring layers (0.8 small and base, 0.9 "
            "large); null gives every layer the same learning rate.",
            above=0,
        ),
    ] = None


@dataclasses.dataclass(frozen=True)
class StepConfig(Settings):
    """How the compiled training step is called."""

    steps_per_loop: Annotated[
        int,
        Setting(
            "Updates in one call of the compiled function; more for fast "
            "devices.",
            at_least=1,
        ),
    ] = 1
    jit_compile: Annotated[
        bool,
        Setting(
            "Compile the step with XLA: for GPUs and TPUs, slower on CPUs."
        ),
    ] = False


@dataclasses.dataclass(frozen=True)
class TrainConfig(OptimizerConfig, StepConfig):
    """The settings of the training loop; counts are in steps.

    They include the optimizer's, so that users find the learning rate beside
    the number of steps.
    """

    num_train_steps: Annotated[
        int, Setting("Updates of the weights in the whole run.", at_least=1)
    ] = 1_000_000
    batch_size: Annotated[
        int,
        Setting(
            "Examples per update, over all replicas of all workers.",
            at_least=1,
        ),
    ] = 128
    eval_every_steps: Annotated[
        int,
        Setting(
            "Steps between held-out evaluations; 0 evaluates only at the end.",
            at_least=0,
        ),
    ] = 10_000
    num_eval_steps: Annotated[
        int | None,
        Setting(
            "Batches of an evaluation; null takes all the held-out data.",
            at_least=1,
        ),
    ] = None
    checkpoint_every_steps: Annotated[
        int,
        Setting(
            "Steps between checkpoints; 0 writes only one at the end.",
            at_least=0,
        ),
    ] = 10_000
    keep_checkpoints: Annotated[
        int,
        Setting(
            "How many of the newest checkpoints stay on disk; the newest one "
            "always does.",
            at_least=0,
        ),
    ] = 3
    keep_every_steps: Annotated[
        int,
        Setting(
            "Checkpoints at multiples of this step are kept as well; 0 keeps "
            "none of them.",
            at_least=0,
        ),
    ] = 0
    log_every_steps: Annotated[
        int,
        Setting(
            "Steps between records of the training metrics, which are means "
            "since the last record; 0 records only at evaluations and at the "
            "end.",
            at_least=0,
        ),
    ] = 100


@dataclasses.dataclass(frozen=True)
class BasicComputeConfig(Settings):
    """How a network computes in training, whatever its purpose."""

    gradient_accumulation: Annotated[
        int,
        Setting(
            "Number of parts that a replica divides its share of the batch "
            "into, to save memory.",
            at_least=1,
        ),
    ] = 1
    recompute: Annotated[
        bool,
        Setting(
            "Compute activations again in the backward pass, where long "
            "sequences leave no room to keep them."
        ),
    ] = False
    precision: Annotated[
        Precision,
        Setting(
            "Number format: bfloat16_products rounds what large matrix "
            "products multiply, which is faster on CPUs with instructions for "
            "it (avx512_bf16, amx_bf16), and keeps all else in float32; auto "
            "takes it there, and float32 elsewhere; the mixed ones are for "
            "GPUs and TPUs, slower on CPUs."
        ),
    ] = "auto"
    seed: Annotated[
        int,
        Setting(
            "Seed of weights, masking, dropout and shuffling.",
            at_least=0,
            at_most=MAX_SEED,
        ),
    ] = 42


@dataclasses.dataclass(frozen=True)
class ComputeConfig(BasicComputeConfig):
    """How the model computes; for the code that makes the model."""

    attention: Annotated[
        Literal["composed", "fused", "flash"],
        Setting(
            "How attention is computed: by our own kernels; by Keras' "
            "operation (fused: without dropout on attention, not faster on "
            "CPUs); or by its flash kernel, once it has one."
        ),
    ] = "composed"


# Newer settings, with the values that older runs had.
_LATER = {
    "train.precision": "float32",
    "train.gradient_accumulation": 1,
    "train.recompute": False,
    "train.attention": "composed",
    "data.pack_examples": False,
}


def check_run(
    run_dir: str,
    run_config: dict[str, Any] | None,
    write: bool = True,
    cls: type | None = None,
    begun: bool = True,
) -> None:
    """Writes the settings of a new run, or compares those of an old one.

    Args:
      run_dir: directory of config.json.
      run_config: the settings as JSON values; None does nothing.
      write: whether to write those of a new run.
      cls: class of the settings. For an older run, renamed keys are compared
        under their new names, and newer keys count as their defaults.

      begun: whether the run already has a checkpoint or a result; if not,
        settings of the same kind are replaced.

    Raises:
      UserError: the run has other settings; each difference is named.
    """
    if run_config is None:
        return
    path = files.join(run_dir, "config.json")
    text = json.dumps(run_config, indent=2, sort_keys=True) + "\n"
    if not files.exists(path):
        if write:
            files.write_text(path, text)
        return
    before = recorded_settings(path)
    # A start from a checkpoint is of the same kind as one without.
    if not begun and before.keys() ^ run_config.keys() <= {"init"}:
        if write:
            files.write_text(path, text)
        return
    if cls is not None:
        before = _up_to_date(cls, before)
    old, new = dict(_flatten(before)), dict(_flatten(json.loads(text)))
    for key in _LATER.keys() & new.keys():
        old.setdefault(key, _LATER[key])
    changed = [
        f"{key}: {_show(old, key)} there, {_show(new, key)} now"
        for key in sorted(old.keys() | new.keys())
        if _show(old, key) != _show(new, key)
    ]
    if changed:
        raise UserError(
            f"{run_dir} holds a run with other settings ({'; '.join(changed)});"
            " use those, or choose another output directory"
            f"{_how_to_continue(run_dir, old, new)}"
        )


def recorded_settings(path: str) -> dict[str, Any]:
    """Reads a run's config.json.

    Raises:
      UserError: the file is missing, or has no settings.
    """
    try:
        found = json.loads(files.read_text(path))
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error})") from error
    if not isinstance(found, dict):
        raise UserError(
            f"{path}: expected settings of a run, got {found!r:.60}"
        )
    return found


def _how_to_continue(
    run_dir: str, old: Mapping[str, Any], new: Mapping[str, Any]
) -> str:
    """Returns a hint on how to train a finished run for longer."""
    key = "train.num_train_steps"
    before, now = old.get(key), new.get(key)
    if not (isinstance(before, int) and isinstance(now, int) and now > before):
        return ""
    return (
        f". The schedule of the learning rate depends on {key}, so a run of "
        f"{before} steps does not become one of {now}: to train on from where "
        f"it is, give a new --output and --init_from={run_dir} "
        "--init_optimizer; without --init_optimizer its weights start a new "
        "schedule"
    )


def _up_to_date(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Converts settings written by an older version to this version.

    Keys are renamed, newer keys get their defaults, and so do those that never
    had an effect. Keys that `cls` does not know are kept.
    """
    kinds = typing.get_type_hints(cls, include_extras=True)
    found = dict(values)
    for field in dataclasses.fields(cls):
        name, kind = field.name, kinds[field.name]
        for older in setting_of(kind).formerly:
            if older in found:
                found[name] = found.pop(older)
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            if isinstance(found.get(name, {}), Mapping):
                found[name] = _up_to_date(kind, found.get(name, {}))
        elif name in getattr(cls, "without_effect", ()):
            found[name] = field.default
        elif name not in found and field.default is not dataclasses.MISSING:
            found[name] = _LATER.get(f"train.{name}", field.default)
    return json.loads(json.dumps(found))  # tuples are lists in JSON


def _flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flatten(inner, f"{prefix}.{key}" if prefix else key)
    else:
        yield prefix, value


def _show(flat: Mapping[str, Any], key: str) -> str:
    return json.dumps(flat[key]) if key in flat else "absent"
