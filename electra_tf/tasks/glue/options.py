"""The options of GLUE."""

import dataclasses
from typing import Annotated

from electra_tf.config import Setting
from electra_tf.tasks.texts.options import TextOptions


@dataclasses.dataclass(frozen=True)
class GlueOptions(TextOptions):
    """Options of `glue/...`."""

    double_unordered: Annotated[
        bool | None,
        Setting(
            "Train on each pair in both orders; null does so for MRPC and "
            "STS-B, as the original."
        ),
    ] = None
