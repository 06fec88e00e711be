"""Provides preprocessors: from strings to inputs of an `ElectraBackbone`."""

from typing import Any

import keras
import keras_hub

from electra_tf.hub.keras_hub_tasks.masks import MaskGenerator

# Presets refer to classes by this name.
PACKAGE = "electra_tf"


@keras.saving.register_keras_serializable(package=PACKAGE)
class ElectraTextClassifierPreprocessor(
    keras_hub.models.TextClassifierPreprocessor
):
    """Tokenizes texts, or pairs of them, and packs them for classification.

    A text becomes `[CLS] text [SEP]`, a pair `[CLS] first [SEP] second [SEP]`
    with segment ids 0 and 1; both are cut or padded to `sequence_length`.

    Example:

        import keras_hub
        import electra_tf.keras_hub

        preprocessor = keras_hub.models.TextClassifierPreprocessor.from_preset(
            DIR, sequence_length=128
        )
        x = preprocessor(["a fine film", "a dull one"])
        x, y = preprocessor((["first"], ["second"]), y=[1])
        x = preprocessor(x=(["first"], ["second"]))  # by name: (x, y) if not
        dataset = dataset.map(preprocessor)  # of (text, label)

    Args:
      tokenizer: a `keras_hub.models.ElectraTokenizer`.
      sequence_length: tokens of a row, special ones included.
      truncate: of a pair that is too long: "round_robin" shortens the longer
        text first, "waterfall" the second.
      **kwargs: of `keras_hub.models.TextClassifierPreprocessor`.

    Call arguments:
      x: a string, strings, or a tuple of those for pairs.
      y: labels, passed through.
      sample_weight: weights, passed through.

    Returns:
      `token_ids` int32, `segment_ids` int32 and `padding_mask` bool or int32,
      each [B, sequence_length] ([sequence_length] of one string), as a dict;
      with `y` and `sample_weight` after it where they are given.
    """

    backbone_cls = keras_hub.models.ElectraBackbone
    tokenizer_cls = keras_hub.models.ElectraTokenizer


@keras.saving.register_keras_serializable(package=PACKAGE)
class ElectraMaskedLMPreprocessor(keras_hub.models.MaskedLMPreprocessor):
    """Tokenizes texts, packs them and masks tokens for the masked LM.

    Tokens are chosen anew at each call, in `dataset.map` too: each epoch has
    masks of its own, with `keras.utils.set_random_seed` as well. Rows are
    packed as `ElectraTextClassifierPreprocessor` does it.

    Example:

        import keras_hub
        import electra_tf.keras_hub

        preprocessor = keras_hub.models.MaskedLMPreprocessor.from_preset(
            DIR, sequence_length=128, mask_selection_length=20
        )
        x, y, sample_weight = preprocessor(["a fine film", "a dull one"])

    Args:
      tokenizer: a `keras_hub.models.ElectraTokenizer`.
      sequence_length: tokens of a row, special ones included.
      truncate: as `ElectraTextClassifierPreprocessor`'s.
      mask_selection_rate: share of the tokens that are to be predicted.
      mask_selection_length: how many of them a row has room for.
      mask_token_rate: share of the chosen that [MASK] replaces.
      random_token_rate: share of the chosen that a random token replaces.
      **kwargs: of `keras_hub.models.MaskedLMPreprocessor`.

    Call arguments:
      x: a string, strings, or a tuple of those for pairs, which is given by
        name: KerasHub takes a tuple that stands alone for (x, y).

    Returns:
      (x, y, sample_weight). `x` is a dict of `token_ids`, `segment_ids`,
      `padding_mask`, each [B, sequence_length], and `mask_positions`
      [B, mask_selection_length]; `y` the tokens that were there and
      `sample_weight` 1 where a position is one, both of that last shape.
    """

    backbone_cls = keras_hub.models.ElectraBackbone
    tokenizer_cls = keras_hub.models.ElectraTokenizer
    masker: Any  # the base class has it without a type

    def build(self, input_shape: Any) -> None:
        """Makes the packer and the generator of masks."""
        super().build(input_shape)
        self.masker = MaskGenerator.from_config(self.masker.get_config())


def fit_to(preprocessor: Any, backbone: keras.Model) -> None:
    """Limits a preprocessor's row length to a backbone's positions.

    A preprocessor does not know its preset's backbone, and its default of 512
    tokens may be more than the backbone can read.

    Args:
      preprocessor: one of the above; None and any other are left unchanged.
      backbone: a `keras_hub.models.ElectraBackbone`.
    """
    kinds = ElectraTextClassifierPreprocessor, ElectraMaskedLMPreprocessor
    positions = backbone.max_sequence_length
    if isinstance(preprocessor, kinds) and (
        preprocessor.sequence_length > positions
    ):
        preprocessor.sequence_length = positions
