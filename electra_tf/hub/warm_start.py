"""Pre-training that goes on from a checkpoint: weights, slots, step."""

import dataclasses
from collections.abc import Mapping, Sequence

import keras

from electra_tf.errors import UserError
from electra_tf.hub import loading, variables
from electra_tf.hub.report import Report
from electra_tf.hub.source import Checkpoint

SlotVariables = Mapping[str, tuple[keras.Variable, keras.Variable]]


def warm_start(
    model: keras.Model,
    checkpoint: Checkpoint,
    slots: SlotVariables | None = None,
    iterations: keras.Variable | None = None,
) -> Report:
    """Puts weights, and if asked for Adam's slots and the step, into a model.

    Args:
      model: a built pre-trainer. What the checkpoint lacks, a generator or a
        head, stays as it was initialised.
      checkpoint: of any format.
      slots: name on disk -> the (m, v) variables of its optimizer, see
        `slot_variables`, to go on where training stopped; None to start its
        optimizer afresh. Those that the checkpoint lacks become 0.
      iterations: the optimizer's counter, set to the checkpoint's step where
        `slots` are given.

    Returns:
      What was loaded, newly initialised and left over.

    Raises:
      UserError: a shape differs, or slots are asked for and there are none;
        the model is unchanged.
    """
    if slots is not None and checkpoint.slots is None:
        raise UserError(
            f"{checkpoint.source}: has no optimizer slots to go on with; "
            "start the optimizer afresh"
        )
    report = loading.assign(model, checkpoint)
    if slots is None:
        return report
    origin = variables.sources(variables.named([model]), report.loaded)
    filled = 0
    for name, (m, v) in slots.items():
        there = origin.get(name, ())
        # A difference of tables has no slots of its own in a source.
        if len(there) == 1 and there[0] in checkpoint.slots:
            filled += 1
            for variable, array in zip((m, v), checkpoint.slots[there[0]]):
                variable.assign(array)
        else:
            for variable in (m, v):
                variable.assign(keras.ops.zeros_like(variable))
    step = checkpoint.config.step
    if iterations is not None:
        iterations.assign(step)
    return dataclasses.replace(report, slots=filled, step=step)


def slot_variables(
    optimizer: keras.optimizers.Optimizer, trained: Sequence[keras.Variable]
) -> SlotVariables:
    """Name on disk -> the (m, v) variables of a built Adam-like optimizer.

    Args:
      optimizer: one whose slots are named after a variable's path, `/`
        replaced by `_`, and `_m` or `_v`.
      trained: the variables that it was built with.

    Raises:
      ValueError: it has no such slots.
    """
    by_path = {v.path.rpartition("/")[2]: v for v in optimizer.variables}
    found = {}
    for variable in trained:
        stem = variable.path.replace("/", "_")
        try:
            slots = by_path[f"{stem}_m"], by_path[f"{stem}_v"]
        except KeyError as error:
            raise ValueError(f"no slots for {variable.path}") from error
        found[variables.weight_name(variable.path)] = slots
    return found
