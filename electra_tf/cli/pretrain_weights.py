"""Weights of a pre-trainer to and from the names of a model directory.

A directory holds what the networks compute with. A pre-trainer may hold
something else: differences of embeddings, the baseline of REINFORCE.
"""

from collections.abc import Mapping

import numpy as np

from electra_tf.hub import directory
from electra_tf.hub.source import Lazy, shapes_of
from electra_tf.models.disentangled import DisentangledEmbeddings
from electra_tf.pretraining.pretrainer import ElectraPretrainer

_TABLES = ("word_embeddings", "token_type_embeddings", "position_embeddings")
_NORM = ("layer_norm/gamma", "layer_norm/beta")
# Where tables are: the discriminator's, the generator's, and what a
# pre-trainer with disentangled ones holds of the former.
_DISCRIMINATOR = "embeddings/"
_GENERATOR = "generator/embeddings/"
_DIFFERENCES = "discriminator/embedding_differences/"


def is_disentangled(model: ElectraPretrainer) -> bool:
    """Whether the discriminator's tables are sums."""
    tables = model.discriminator.encoder.embeddings
    return isinstance(tables, DisentangledEmbeddings)


def to_directory(model: ElectraPretrainer) -> Lazy[np.ndarray]:
    """Both networks' weights by their names on disk, read when looked up.

    With disentangled embeddings these are the tables that each network reads,
    as if they were untied.
    """
    variables = {
        directory.weight_name(v.path): v
        for network in (model.discriminator, model.generator)
        for v in network.weights
    }
    if not is_disentangled(model):
        return Lazy(
            lambda name: np.asarray(variables[name]),
            {name: tuple(v.shape) for name, v in variables.items()},
        )
    # Name on disk -> the names of the variables that it is the sum of.
    parts = {
        name: (name,)
        for name in variables
        if not name.startswith((_DISCRIMINATOR, _DIFFERENCES))
    }
    for name in _TABLES:
        parts[_DISCRIMINATOR + name] = (
            _DISCRIMINATOR + name,
            _DIFFERENCES + name,
        )
    for name in _NORM:
        parts[_DISCRIMINATOR + name] = (_DIFFERENCES + name,)
    for name in _own_tables(model):
        for leaf in (*_TABLES, *_NORM):
            parts[name + leaf] = (_DISCRIMINATOR + leaf,)
    return Lazy(
        lambda name: sum(np.asarray(variables[n]) for n in parts[name]),
        {name: tuple(variables[n[0]].shape) for name, n in parts.items()},
    )


def _own_tables(model: ElectraPretrainer) -> tuple[str, ...]:
    """Where a directory holds the tables of an untied generator."""
    if model.generator_config.kind == "two_tower":
        return "generator/ltr/embeddings/", "generator/rtl/embeddings/"
    return (_GENERATOR,)


def from_directory(
    model: ElectraPretrainer, weights: Mapping[str, np.ndarray]
) -> Mapping[str, np.ndarray]:
    """Weights of a directory, by the names that the pre-trainer knows.

    Args:
      model: built; decides whether tables become sums.
      weights: name on disk -> array, of both networks; a checkpoint's are
        let through. Where the tables were shared the differences are 0.
    """
    if not is_disentangled(model) or _DIFFERENCES + _TABLES[0] in weights:
        return weights
    own = _own_tables(model)[0]
    if own + _TABLES[0] not in weights:
        own = _DISCRIMINATOR  # shared: no difference yet
    found = {
        name: weights[name]
        for name in weights
        if not name.startswith((_DISCRIMINATOR, *_own_tables(model)))
    }
    for name in (*_TABLES, *_NORM):
        ours, base = weights[_DISCRIMINATOR + name], weights[own + name]
        found[_DISCRIMINATOR + name] = base
        found[_DIFFERENCES + name] = ours if name in _NORM else ours - base
    return found


def load(
    model: ElectraPretrainer, weights: Mapping[str, np.ndarray], source: str
) -> None:
    """Assigns all weights from a model directory's, or a checkpoint's.

    The baseline of an adversarial run, which only training needs, may be
    missing.

    Args:
      model: built.
      weights: name on disk -> array.
      source: the file, for messages.

    Raises:
      UserError: a missing name, or another shape. The model is unchanged
        then.
    """
    weights = dict(from_directory(model, weights))
    if model.baseline is not None:
        for variable in model.baseline.weights:
            name = directory.weight_name(variable.path)
            if name not in shapes_of(weights):
                weights[name] = np.asarray(variable)
    directory.load_weights(model, weights, source)
