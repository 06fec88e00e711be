"""The shape of an encoder: a frozen config and the sizes of the paper."""

import dataclasses
from typing import Any, Literal

from electra_tf.errors import UserError


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """One Transformer encoder (Clark et al. 2020, Table 6)."""

    vocab_size: int = 30522  # rows of the token embedding table
    embedding_size: int = 128  # E, projected to H where they differ
    hidden_size: int = 256  # H, width of the residual stream
    num_layers: int = 12
    num_heads: int = 4  # must divide hidden_size
    intermediate_size: int = 1024  # width of the feed-forward layer
    max_positions: int = 512  # rows of the position embedding table
    type_vocab_size: int = 2  # segments
    hidden_dropout: float = 0.1  # after embeddings and each sub-layer
    attention_dropout: float = 0.1  # on attention probabilities
    gelu: Literal["erf", "tanh"] = "erf"  # the original's is erf
    head_gelu: Literal["erf", "tanh"] | None = None  # token LM head's; or gelu
    tied_head: bool = True  # the token LM head scores with the token table
    initializer_range: float = 0.02  # stddev, truncated normal
    local_start: bool = False  # heads begin on neighbours: initial.py
    match_heads: int = 0  # of them, those that begin on equal words: there
    words_apart: bool = False  # positions begin in half the columns alone
    layer_norm_epsilon: float = 1e-12

    def __post_init__(self) -> None:
        for name in (
            "vocab_size", "embedding_size", "hidden_size", "num_layers",
            "num_heads", "intermediate_size", "max_positions",
            "type_vocab_size",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise UserError(
                    f"model.{name}: expected at least 1, got "
                    f"{getattr(self, name)}"
                )
        if self.hidden_size % self.num_heads:
            raise UserError(
                f"model.num_heads: {self.num_heads} does not divide "
                f"model.hidden_size {self.hidden_size}"
            )
        for name in ("hidden_dropout", "attention_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(
                    f"model.{name}: expected a share in [0, 1), got "
                    f"{getattr(self, name)}"
                )

        self._check_start()

    def _check_start(self) -> None:
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
        """Whether positions begin in half of the columns alone."""
        return self.words_apart or self.match_heads > 0

    @classmethod
    def of_size(cls, size: str, **overrides: Any) -> "ModelConfig":
        """The discriminator of a named size, with fields overridden.

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
        self, hidden_fraction: float, layers_fraction: float = 1.0
    ) -> "ModelConfig":
        """The generator's config: this one, narrowed (paper, section 3.2).

        As many heads at the same width; else hidden // 64, at least one, as
        in the original, whose heads all have that width.

        Args:
          hidden_fraction: generator hidden size / ours.
          layers_fraction: generator layers / ours.
        """
        hidden = round(self.hidden_size * hidden_fraction)
        heads, matching = self.num_heads, self.match_heads
        local = self.local_start
        if hidden != self.hidden_size:
            heads, matching = max(1, hidden // 64), 0
            local = local and self.embedding_size % hidden == 0
        return dataclasses.replace(
            self,
            hidden_size=hidden,
            num_layers=max(1, round(self.num_layers * layers_fraction)),
            num_heads=heads,
            intermediate_size=4 * hidden,
            local_start=local,
            match_heads=matching,
            words_apart=local
            and (self.words_apart or self.match_heads > matching),
        )


@dataclasses.dataclass(frozen=True)
class GeneratorConfig:
    """What fills masked positions (paper, sections 2 and 3.2).

    Attributes:
      hidden_fraction: its hidden size / the discriminator's (Table 6).
      layers_fraction: its layers / the discriminator's.
      kind: "separate", an encoder of its own; "tied", the discriminator's
        encoder at its full size; "two_tower", one reader from the left and
        one from the right, neither of which sees the token that it predicts
        (Electric, Clark et al. 2020b); "uniform", every token alike.
      embeddings: "shared" with the discriminator; "untied", tables of its
        own whose size is its hidden size; "disentangled", shared but for a
        difference that the discriminator learns alone (DeBERTaV3, He et al.
        2021, section 3.3).
      wrap_around: two_tower alone: the ends of a row see the other end, as
        in the original. For comparisons with it: this leaks the answer.
      frozen: it is not trained, only sampled from (Fast-ELECTRA, Dong et al.
        2023); it has to come from a checkpoint.
    """

    hidden_fraction: float = 0.25
    layers_fraction: float = 1.0
    kind: Literal["separate", "tied", "uniform", "two_tower"] = "separate"
    embeddings: Literal["shared", "untied", "disentangled"] = "shared"
    wrap_around: bool = False
    frozen: bool = False

    def __post_init__(self) -> None:
        for name in ("hidden_fraction", "layers_fraction"):
            if not getattr(self, name) > 0:
                raise UserError(
                    f"generator.{name}: expected above 0, got "
                    f"{getattr(self, name)}"
                )
        if self.wrap_around and self.kind != "two_tower":
            raise UserError(
                "generator.wrap_around: is for generator.kind two_tower, "
                f"which is {self.kind}"
            )
        if self.kind in ("tied", "uniform") and self.embeddings != "shared":
            raise UserError(
                f"generator.embeddings: a generator of kind {self.kind} has "
                f"no tables of its own to be {self.embeddings}; leave it out"
            )


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

# Generator hidden size / discriminator hidden size, same table. Ours are
# wider: a narrow generator learns too little in an hour.
GENERATOR_FRACTIONS: dict[str, float] = {
    "tiny": 1.0,
    "mini": 0.5,
    "small": 0.25,
    "base": 1 / 3,
    "large": 0.25,
}
