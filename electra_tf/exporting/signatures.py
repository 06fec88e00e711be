"""Which signatures a model has: by its kind, and those of every model."""

import importlib
from collections.abc import Callable, Iterable

from electra_tf.errors import UserError
from electra_tf.exporting.graphs import embedding_signatures
from electra_tf.exporting.servable import Servable

DEFAULT = "serving_default"

# Kind -> module of this package with `signatures(predictor or network)`.
_MODULES = {
    "classification": "text_signatures",
    "multilabel": "text_signatures",
    "regression": "text_signatures",
    "ranking": "text_signatures",
    "tagging": "tagging_signatures",
    "qa": "qa_signatures",
    "seq2seq": "seq2seq_signatures",
    "discriminator": "pretrained_signatures",
    "generator": "pretrained_signatures",
}


def make(
    servable: Servable, names: Iterable[str] | None = None
) -> dict[str, Callable]:
    """The model's signatures, `serving_default` first.

    Args:
      servable: what is exported.
      names: those that are wanted; all where None.

    Returns:
      Name -> tf.function of string tensors [B] that returns tensors [B, ...]
      by name.

    Raises:
      UserError: it has no signature of such a name.
    """
    module = importlib.import_module(
        f"electra_tf.exporting.graphs.{_MODULES[servable.kind]}"
    )
    found = module.signatures(servable.predictor or servable.network)
    found |= embedding_signatures.signatures(
        servable.network, servable.tokenizer, servable.max_seq_length
    )
    if names is None:
        return found
    wanted = tuple(names)
    for name in wanted:
        if name not in found:
            raise UserError(
                f"--signatures: there is no '{name}' of a {servable.kind} "
                f"model; there are {', '.join(found)}"
            )
    return {name: value for name, value in found.items() if name in wanted}
