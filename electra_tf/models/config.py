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
    initializer_range: float = 0.02  # stddev, truncated normal
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

        Heads are hidden // 64, at least one, as in the original.

        Args:
          hidden_fraction: generator hidden size / ours.
          layers_fraction: generator layers / ours.
        """
        hidden = round(self.hidden_size * hidden_fraction)
        return dataclasses.replace(
            self,
            hidden_size=hidden,
            num_layers=max(1, round(self.num_layers * layers_fraction)),
            num_heads=max(1, hidden // 64),
            intermediate_size=4 * hidden,
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
    "mini": _shape(128, 128, 3, 2),
    "small": _shape(256, 128, 12, 4),
    "base": _shape(768, 768, 12, 12),
    "large": _shape(1024, 1024, 24, 16),
}

# Generator hidden size / discriminator hidden size, same table. Ours have
# larger ones: a narrow generator learns too little in an hour.
GENERATOR_FRACTIONS: dict[str, float] = {
    "tiny": 0.5,
    "mini": 1.0,
    "small": 0.25,
    "base": 1 / 3,
    "large": 0.25,
}
