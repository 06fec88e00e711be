"""Defines the shapes of networks as settings, without TensorFlow."""

import contextlib
import dataclasses
import itertools
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

from electra_tf.config import Setting, Settings
from electra_tf.errors import UserError

Gelu = Literal["erf", "tanh"]
HiddenActivation = Literal["gelu", "tanh"]


@dataclasses.dataclass(frozen=True)
class ModelConfig(Settings):
    """The shape of an encoder (Clark et al. 2020, Table 6).

        from electra_tf import ModelConfig

        ModelConfig.of_size("small")
        ModelConfig.of_size("small", max_positions=128, hidden_dropout=0.2)

    `electra-tf pretrain --help=settings` describes each field.
    """

    vocab_size: Annotated[
        int, Setting("Rows of the token embedding table.", at_least=1)
    ] = 30522
    embedding_size: Annotated[
        int,
        Setting(
            "Width of the embeddings, projected to hidden_size where they "
            "differ.",
            at_least=1,
        ),
    ] = 128
    hidden_size: Annotated[
        int, Setting("Width of the residual stream.", at_least=1)
    ] = 256
    num_layers: Annotated[int, Setting("Number of blocks.", at_least=1)] = 12
    num_heads: Annotated[
        int,
        Setting(
            "Attention heads of a block; hidden_size is a multiple of it.",
            at_least=1,
        ),
    ] = 4
    intermediate_size: Annotated[
        int, Setting("Width of the feed-forward layer.", at_least=1)
    ] = 1024
    max_positions: Annotated[
        int,
        Setting(
            "Rows of the position table: the longest possible input.",
            at_least=1,
        ),
    ] = 512
    type_vocab_size: Annotated[
        int, Setting("Number of segments.", at_least=1)
    ] = 2
    hidden_dropout: Annotated[
        float,
        Setting(
            "Dropout rate after the embeddings and after each sub-layer.",
            at_least=0,
            below=1,
        ),
    ] = 0.1
    attention_dropout: Annotated[
        float,
        Setting(
            "Dropout rate on attention probabilities.", at_least=0, below=1
        ),
    ] = 0.1
    gelu: Annotated[
        Gelu, Setting("Form of the GELU activation; the original uses erf.")
    ] = "erf"
    head_gelu: Annotated[
        Gelu | None,
        Setting(
            "Form of GELU in the token LM head; null means the same as gelu."
        ),
    ] = None
    tied_head: Annotated[
        bool,
        Setting("Whether the token LM head scores with the token table."),
    ] = True
    initializer_range: Annotated[
        float,
        Setting(
            "Standard deviation of initial weights, truncated normal.",
            at_least=0,
        ),
    ] = 0.02
    local_start: Annotated[
        bool,
        Setting(
            "Whether attention heads are initialised to attend to neighbouring "
            "tokens; models trained for an hour on a CPU learn context sooner."
        ),
    ] = False
    match_heads: Annotated[
        int,
        Setting(
            "How many of them are initialised to attend to equal tokens "
            "instead; needs local_start.",
            at_least=0,
        ),
    ] = 0
    words_apart: Annotated[
        bool,
        Setting(
            "Whether position embeddings are initialised in half of the "
            "columns only, as with match_heads; needs local_start."
        ),
    ] = False
    layer_norm_epsilon: Annotated[
        float,
        Setting("Added to variances in layer normalisation.", at_least=0),
    ] = 1e-12

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden_size % self.num_heads:
            raise UserError(
                f"model.num_heads: {self.num_heads} does not divide "
                f"model.hidden_size {self.hidden_size}"
            )
        if self.local_start and (
            self.embedding_size % self.hidden_size
            or self.hidden_size % (2 * self.num_heads)
        ):
            raise UserError(
                "model.local_start: needs a hidden_size that divides "
                "embedding_size and heads of an even size, got "
                f"{self.hidden_size}, {self.embedding_size} and "
                f"{self.hidden_size // self.num_heads}"
            )
        if self.match_heads and (
            not self.local_start
            or not 0 < self.match_heads < self.num_heads
            or self.hidden_size % 4
        ):
            raise UserError(
                f"model.match_heads: {self.match_heads} needs "
                "model.local_start: true, a hidden_size that 4 divides and "
                f"fewer than model.num_heads, which is {self.num_heads}"
            )
        if self.words_apart and (not self.local_start or self.hidden_size % 4):
            raise UserError(
                "model.words_apart: needs model.local_start: true and a "
                f"hidden_size that 4 divides, which is {self.hidden_size}"
            )

    @property
    def beside_words(self) -> bool:
        """Whether positions start in only half of the columns."""
        return self.words_apart or self.match_heads > 0

    @classmethod
    def of_size(cls, size: str, **overrides: Any) -> "ModelConfig":
        """Returns the discriminator of a named size, with fields overridden.

        Args:
          size: "tiny", "mini", "small", "base" or "large".
          **overrides: fields of `ModelConfig`.

        Raises:
          UserError: no such size.
        """
        if size not in SIZES:
            raise UserError(
                f"size '{size}': expected one of {', '.join(SIZES)}"
            )
        return cls(**{**SIZES[size], **overrides})

    def generator(
        self,
        hidden_fraction: float,
        layers_fraction: float = 1.0,
        untied: bool = False,
    ) -> "ModelConfig":
        """Returns the generator's config: this one, narrowed (section 3.2).

        As many heads at the same width; else hidden // 64, at least one, as
        in the original, whose heads all have that width.

        Args:
          hidden_fraction: generator hidden size / ours.
          layers_fraction: generator layers / ours.
          untied: whether it has tables of its own, which fit its width.

        Raises:
          UserError: no generator has that width.
        """
        layers = max(1, round(self.num_layers * layers_fraction))
        width = round(self.hidden_size * hidden_fraction)
        try:
            return self._narrowed(width, layers, untied)
        except UserError as error:
            raise UserError(
                f"generator.hidden_fraction: {hidden_fraction:g} of "
                f"model.hidden_size {self.hidden_size} is a width of {width}, "
                "which no generator has; the nearest that work: "
                + ", ".join(
                    f"{near / self.hidden_size:g} (width {near})"
                    for near in self._near(width, layers, untied)
                )
            ) from error

    def _near(self, width: int, layers: int, untied: bool) -> list[int]:
        """Returns the nearest widths of a generator, below and above."""
        found = []
        for some in (range(width - 1, 0, -1), itertools.count(width + 1)):
            for near in some:
                with contextlib.suppress(UserError):
                    self._narrowed(near, layers, untied)
                    found.append(near)
                    break
        return found

    def _narrowed(
        self, hidden: int, layers: int, untied: bool
    ) -> "ModelConfig":
        """Returns the config of a generator of a width; see `generator`."""
        if hidden < 1:
            raise UserError(f"model.hidden_size: {hidden}")
        heads, matching = self.num_heads, self.match_heads
        local = self.local_start
        if hidden != self.hidden_size:
            heads, matching = max(1, hidden // 64), 0
            local = local and self.embedding_size % hidden == 0
        shape = dataclasses.replace(
            self,
            hidden_size=hidden,
            num_layers=layers,
            num_heads=heads,
            intermediate_size=4 * hidden,
            local_start=local,
            match_heads=matching,
            words_apart=local
            and (self.words_apart or self.match_heads > matching),
        )
        if not untied:
            return shape
        # Tables of its own fit its width: there is no projection.
        return dataclasses.replace(
            shape, embedding_size=hidden, local_start=self.local_start
        )


class GeneratorTraits(NamedTuple):
    """The parts of a kind of generator, for files and counts.

    Attributes:
      encoders: number of its own encoders.
      shares_encoder: whether it uses the discriminator's encoder.
    """

    encoders: int
    shares_encoder: bool = False

    @property
    def two_towers(self) -> bool:
        """Whether it has two towers."""
        return self.encoders > 1

    @property
    def has_weights(self) -> bool:
        """Whether it has weights."""
        return self.encoders > 0 or self.shares_encoder


# `pretraining.generators` has a class for each of them.
GENERATOR_KINDS = {
    "separate": GeneratorTraits(1),
    "tied": GeneratorTraits(0, shares_encoder=True),
    "two_tower": GeneratorTraits(2),
    "uniform": GeneratorTraits(0),
}


@dataclasses.dataclass(frozen=True)
class GeneratorConfig(Settings):
    """The generator, which fills masked positions (paper, sections 2, 3.2).

        from electra_tf import ElectraPretrainer, GeneratorConfig

        ElectraPretrainer.from_size(
            "tiny", vocab="vocab.txt", generator=GeneratorConfig(kind="tied")
        )

    `electra-tf pretrain --help=settings` describes each field.
    """

    hidden_fraction: Annotated[
        float,
        Setting(
            "The generator's hidden size as a share of the discriminator's "
            "(Table 6).",
            above=0,
        ),
    ] = 0.25
    layers_fraction: Annotated[
        float,
        Setting("Its layers as a share of the discriminator's.", above=0),
    ] = 1.0
    kind: Annotated[
        Literal["separate", "tied", "uniform", "two_tower"],
        Setting(
            "separate: an encoder of its own; tied: the discriminator's "
            "encoder at its full size; two_tower: one reader from the left "
            "and one from the right, neither of which sees the token that it "
            "predicts (Electric, Clark et al. 2020b); uniform: every token "
            "alike."
        ),
    ] = "separate"
    embeddings: Annotated[
        Literal["shared", "untied", "disentangled"],
        Setting(
            "shared with the discriminator; untied: tables of its own whose "
            "size is its hidden size; disentangled: shared but for a "
            "difference that the discriminator learns alone (DeBERTaV3, He "
            "et al. 2021, section 3.3)."
        ),
    ] = "shared"
    wrap_around: Annotated[
        bool,
        Setting(
            "two_tower only: the first and last tokens of a row see the other "
            "end, as in the original. Only for comparisons with it: the token "
            "to predict leaks."
        ),
    ] = False
    frozen: Annotated[
        bool,
        Setting(
            "Whether the generator is not trained, only sampled from "
            "(Fast-ELECTRA, Dong et al. 2023); it then has to come from a "
            "checkpoint."
        ),
    ] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.wrap_around and self.traits.encoders < 2:
            raise UserError(
                "generator.wrap_around: is for generator.kind two_tower, "
                f"which is {self.kind}"
            )
        if not self.traits.encoders and self.embeddings != "shared":
            raise UserError(
                f"generator.embeddings: a generator of kind {self.kind} has "
                f"no tables of its own to be {self.embeddings}; leave it out"
            )

    @property
    def traits(self) -> GeneratorTraits:
        """The parts of its kind."""
        return GENERATOR_KINDS[self.kind]


@dataclasses.dataclass(frozen=True)
class TaskHeadConfig(Settings):
    """The head of a fine-tuned model."""

    kind: Annotated[
        Literal["sequence", "token", "span", "joint_span"],
        Setting(
            "sequence: scores of the whole input; token: scores of each "
            "token; span: independent start and end logits; joint_span: the "
            "end given the start, over a beam, as the original answers "
            "questions."
        ),
    ] = "sequence"
    num_labels: Annotated[
        int,
        Setting(
            "Labels of sequence and token; 1 for regression or ranking.",
            at_least=1,
        ),
    ] = 2
    labels: Annotated[
        tuple[str, ...] | None,
        Setting("Their names in order; null where they have none."),
    ] = None
    hidden_layer: Annotated[
        bool,
        Setting(
            "sequence alone: whether the head has a dense layer and GELU (erf) "
            "before the output, as in Hugging Face's class; the original has "
            "none."
        ),
    ] = False
    dropout: Annotated[
        float,
        Setting(
            "Dropout rate on the hidden states that the head reads.",
            at_least=0,
            below=1,
        ),
    ] = 0.1
    answerable: Annotated[
        bool,
        Setting(
            "span and joint_span: whether the head also predicts if there is "
            "an answer (SQuAD 2.0)."
        ),
    ] = False
    joint_size: Annotated[
        int,
        Setting(
            "Width of the hidden layers of joint_span, and of the layer that "
            "predicts whether there is an answer.",
            at_least=1,
        ),
    ] = 512
    beam_size: Annotated[
        int,
        Setting(
            "Starts, and ends for each start, that joint_span returns.",
            at_least=1,
        ),
    ] = 20
    hidden_activation: Annotated[
        HiddenActivation,
        Setting(
            "Activation of the hidden layer: gelu (erf); or tanh, which makes "
            "it BERT's pooler, without dropout before it."
        ),
    ] = "gelu"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.labels is not None and len(self.labels) != self.num_labels:
            raise UserError(
                f"task.labels: expected {self.num_labels} names, as "
                f"task.num_labels says, got {len(self.labels)}"
            )
        if self.hidden_layer and self.kind != "sequence":
            raise UserError(
                "task.hidden_layer: is for task.kind sequence, which is "
                f"{self.kind}; leave it out"
            )
        if self.hidden_activation != "gelu" and not self.hidden_layer:
            raise UserError(
                f"task.hidden_activation: {self.hidden_activation} is of the "
                "hidden layer; set task.hidden_layer, or leave it out"
            )
        if self.answerable and self.kind not in ("span", "joint_span"):
            raise UserError(
                "task.answerable: is for task.kind span or joint_span, which "
                f"is {self.kind}; leave it out"
            )


@dataclasses.dataclass(frozen=True)
class DecoderConfig(Settings):
    """The decoder of a fine-tuned model; its width is the encoder's."""

    kind: Annotated[
        Literal["decoder"],
        Setting("What sort of head it is, beside those of TaskHeadConfig."),
    ] = "decoder"
    num_layers: Annotated[int, Setting("Number of blocks.", at_least=1)] = 3
    from_encoder: Annotated[
        bool,
        Setting(
            "Whether the decoder's blocks are initialised with the encoder's "
            "weights, if these come from a checkpoint (Rothe et al. 2020); "
            "cross-attention starts from random weights."
        ),
    ] = True


@dataclasses.dataclass(frozen=True)
class SentenceHeadConfig(Settings):
    """A score for each sentence."""

    kind: Annotated[
        Literal["sentences"],
        Setting("What sort of head it is, beside those of TaskHeadConfig."),
    ] = "sentences"
    dropout: Annotated[
        float,
        Setting(
            "Dropout rate on the hidden states that the head reads.",
            at_least=0,
            below=1,
        ),
    ] = 0.1


@dataclasses.dataclass(frozen=True)
class MultiHeadConfig:
    """Several heads on one encoder.

    Attributes:
      heads: name -> head; names are part of variables' names, without slashes.
    """

    heads: Mapping[str, TaskHeadConfig]


# The heads that a saved model may have.
HeadConfig = TaskHeadConfig | DecoderConfig | SentenceHeadConfig


def _shape(hidden: int, embedding: int, layers: int, heads: int) -> dict:
    return {
        "hidden_size": hidden,
        "embedding_size": embedding,
        "num_layers": layers,
        "num_heads": heads,
        "intermediate_size": 4 * hidden,
    }


# small, base, large: Table 6 of the paper. tiny and mini: for CPUs, ours.
SIZES: dict[str, dict[str, int]] = {
    "tiny": _shape(128, 128, 2, 2),
    "mini": _shape(128, 128, 4, 4),
    "small": _shape(256, 128, 12, 4),
    "base": _shape(768, 768, 12, 12),
    "large": _shape(1024, 1024, 24, 16),
}

# Generator hidden size / discriminator hidden size, from the same table. Ours
# are wider, as a narrow generator learns too little in an hour.
GENERATOR_FRACTIONS: dict[str, float] = {
    "tiny": 1.0,
    "mini": 0.5,
    "small": 0.25,
    "base": 1 / 3,
    "large": 0.25,
}
