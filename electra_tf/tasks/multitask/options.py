"""The options of a multi-task run."""

import dataclasses
import re
from typing import Annotated, Any

from electra_tf.config import Setting, Settings
from electra_tf.errors import UserError


@dataclasses.dataclass(frozen=True)
class Member(Settings):
    """One task of a multi-task run."""

    name: Annotated[str, Setting("Name of the task, as glue/rte.")]
    options: Annotated[dict[str, Any], Setting("Options of that task.")] = (
        dataclasses.field(default_factory=dict)
    )
    data: Annotated[
        str | None,
        Setting(
            "Path of its data, in --data or elsewhere; null is --data itself."
        ),
    ] = None
    label: Annotated[
        str | None,
        Setting(
            "Name of its head, scores and model; null takes the last part of "
            "the name."
        ),
    ] = None

    @property
    def key(self) -> str:
        """The label, by default "rte" for "glue/rte"."""
        plain = self.name.rpartition("/")[2]
        return self.label or re.sub(r"[^\w.-]+", "_", plain, flags=re.ASCII)


@dataclasses.dataclass(frozen=True)
class MultitaskOptions(Settings):
    """The tasks, and how often each is trained on."""

    tasks: Annotated[
        tuple[Member, ...],
        Setting("The tasks: of each its name, options, data and label."),
    ] = ()
    power: Annotated[
        float,
        Setting(
            "Rows of a task are sampled in proportion to their number to this "
            "power: 1 takes every row once in an epoch, 0 the same number from "
            "each task.",
            at_least=0,
        ),
    ] = 0.75

    def __post_init__(self) -> None:
        super().__post_init__()
        keys = [member.key for member in self.tasks]
        for key in keys:
            if not re.fullmatch(r"[\w.-]+", key, re.ASCII):
                raise UserError(
                    f"tasks: the label '{key}': expected letters, digits, "
                    "'_', '.' and '-' alone"
                )
            if keys.count(key) > 1:
                raise UserError(
                    f"tasks: two are called '{key}'; give them a label each"
                )
