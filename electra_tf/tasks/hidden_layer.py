"""Defines the options of a hidden layer in a head."""

import dataclasses
from typing import Annotated

from electra_tf.config import Setting, Settings
from electra_tf.errors import UserError
from electra_tf.models.config import HiddenActivation


@dataclasses.dataclass(frozen=True)
class HiddenLayerOptions(Settings):
    """Options of tasks whose head may have a hidden layer.

    Raises:
      UserError: an activation is given without the layer.
    """

    hidden_layer: Annotated[
        bool, Setting("Give the head a hidden layer; the original has none.")
    ] = False
    hidden_activation: Annotated[
        HiddenActivation,
        Setting(
            "Activation of that layer; tanh makes it BERT's pooler, and it "
            "starts from the pooler of a BERT in --model."
        ),
    ] = "gelu"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden_activation != "gelu" and not self.hidden_layer:
            raise UserError(
                f"hidden_activation: {self.hidden_activation} is of the "
                "hidden layer; set hidden_layer to true, or leave it out"
            )
