"""A model's variables under the names that they have on disk.

On disk there are tables: `embeddings/...`, and `generator/embeddings/...`
where the generator's are others. A model may hold them in another way, as the
generator's and a difference (`models.disentangled`).
"""

from collections.abc import Iterable, Mapping

import keras
import numpy as np

from electra_tf.errors import UserError
from electra_tf.hub.checkpoint import Lazy, shapes_of

_TABLES = "embeddings/"
# Where a model has the differences, and a normalisation beside them.
_DIFFERENCES = "discriminator/embedding_differences/"


def weight_name(path: str) -> str:
    """A variable's path in a model -> its name on disk."""
    parts = path.split("/")
    if "embeddings" in parts:
        at = parts.index("embeddings")
        return "/".join([*_tables_scope(parts[:at]), *parts[at:]])
    if "task" in parts:
        return "/".join(parts[parts.index("task") :])
    for i, part in enumerate(parts):
        if part in ("generator", "discriminator"):
            return "/".join(parts[i:])
    # A bare encoder is the discriminator's: that is what is fine-tuned.
    return "/".join(["discriminator", *parts])


def _tables_scope(above: list[str]) -> list[str]:
    """Where the tables are that a model has below `above`.

    Those of a network alone are "embeddings"; beside another, its own are its
    own, and those of a tower always are.
    """
    for tower in ("ltr", "rtl"):
        if tower in above:
            return ["generator", tower]
    return ["generator"] if "generator" in above[1:] else []


def named(models: Iterable[keras.Model]) -> dict[str, keras.Variable]:
    """`weight_name` -> variable, of networks that may share some."""
    return {weight_name(v.path): v for model in models for v in model.weights}


def stored(variables: Mapping[str, keras.Variable]) -> Lazy[np.ndarray]:
    """Name on disk -> array, of the variables that `named` gives.

    Disentangled tables are what each network reads, as if they were untied.
    """
    sums: dict[str, tuple[keras.Variable, ...]] = {}
    disentangled = _is_disentangled(variables)
    for name, variable in variables.items():
        if disentangled and name.startswith(_TABLES):
            for own in _generators(name, variables):
                sums[own] = (variable,)
        elif name.startswith(_DIFFERENCES):
            own = name.replace(_DIFFERENCES, _TABLES)
            sums[own] = (variable,)
            if not _is_norm(name):
                sums[own] = (variables[own], variable)
        else:
            sums[name] = (variable,)

    def array(name: str) -> np.ndarray:
        first, *rest = sums[name]
        return sum(map(np.asarray, rest), np.asarray(first))

    return Lazy(array, {name: tuple(s[0].shape) for name, s in sums.items()})


def sources(
    variables: Mapping[str, keras.Variable], held: Iterable[str]
) -> dict[str, tuple[str, ...]]:
    """Which of the names on disk each variable is made of.

    Args:
      variables: what `named` gives.
      held: the names that there are; a training checkpoint's, which are the
        variables' own, too.

    Returns:
      The variable's name -> a name on disk; two where the variable is the
      first less the second (the same one: 0). Variables for which there is
      nothing are left out.
    """
    held = set(held)
    found = {}
    sums = _is_disentangled(variables) and not _is_disentangled(held)
    for name in variables:
        wanted = (name,)
        own = name.replace(_DIFFERENCES, _TABLES)
        if sums and own.startswith(_TABLES):
            base = next(
                (n for n in _generators(own, variables) if n in held), own
            )
            if name == own:
                wanted = (base,)
            else:
                wanted = (own,) if _is_norm(name) else (own, base)
        if held.issuperset(wanted):
            found[name] = wanted
    return found


def _generators(name: str, variables: Iterable[str]) -> tuple[str, ...]:
    """Where a directory has the generator's own copies of a shared table."""
    if any(n.startswith("generator/ltr/") for n in variables):
        return f"generator/ltr/{name}", f"generator/rtl/{name}"
    return (f"generator/{name}",)


def value(
    names: tuple[str, ...], weights: Mapping[str, np.ndarray]
) -> np.ndarray:
    """The value of a variable from what `sources` says of it."""
    if len(names) == 1:
        return weights[names[0]]
    return weights[names[0]] - weights[names[1]]


def check_shapes(
    variables: Mapping[str, keras.Variable],
    origin: Mapping[str, tuple[str, ...]],
    weights: Mapping[str, np.ndarray],
    source: str,
) -> None:
    """Compares the shapes of variables to those of what they come from.

    Args:
      variables: what `named` gives.
      origin: what `sources` gives.
      weights: name on disk -> array.
      source: the file, for messages.

    Raises:
      UserError: the first that differs, with both shapes.
    """
    held = shapes_of(weights)
    for name, names in origin.items():
        for there in names:
            if tuple(held[there]) != tuple(variables[name].shape):
                raise UserError(
                    f"{source}: {there} has shape {list(held[there])}, the "
                    f"model's has {list(variables[name].shape)}"
                )


def _is_disentangled(variables: Iterable[str]) -> bool:
    return any(name.startswith(_DIFFERENCES) for name in variables)


def _is_norm(name: str) -> bool:
    return "/layer_norm/" in name
