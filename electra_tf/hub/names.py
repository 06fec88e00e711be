"""Maps a model's variables to the names of other formats, with shapes.

One table has the names: ours <-> TF1 <-> Hugging Face <-> KerasHub. A `Place`
is a part of the network with its name in each format, relative to its network;
a `Table` has the names of one format. Query, key and value are one variable
here and three everywhere else; Hugging Face's linear weights are transposed;
KerasHub's attention kernels have an axis for the heads. `to_theirs` and
`to_ours` convert them.
"""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np

from electra_tf.errors import UserError
from electra_tf.hub.config import DirectoryConfig
from electra_tf.models.config import (
    DecoderConfig,
    HeadConfig,
    ModelConfig,
    SentenceHeadConfig,
    TaskHeadConfig,
)

Format = Literal["tf1", "huggingface", "keras_hub"]
Network = Literal["discriminator", "generator"]

_QKV = ("query", "key", "value")
# Names of a part's variables: ours, then those in the order of `Format`.
_LEAVES = {
    "linear": (
        ("/kernel", "/kernel", ".weight", "/kernel"),
        ("/bias", "/bias", ".bias", "/bias"),
    ),
    "norm": (
        ("/gamma", "/gamma", ".weight", "/gamma"),
        ("/beta", "/beta", ".bias", "/beta"),
    ),
    "table": (("", "", ".weight", "/embeddings"),),
    "vector": (("", "", "", ""),),
}
_COLUMNS: tuple[Format, ...] = ("tf1", "huggingface", "keras_hub")


@dataclasses.dataclass(frozen=True)
class Place:
    """A part of a network; `{i}` is the number of a layer.

    Attributes:
      ours: our name.
      kind: its kind of variables, a key of `_LEAVES`.
      tf1: its name in TF1; three names for query, key, value.
      huggingface: likewise; None where the format lacks the part.
      keras_hub: likewise.
    """

    ours: str
    kind: Literal["linear", "norm", "table", "vector"]
    tf1: str | tuple[str, ...] | None
    huggingface: str | tuple[str, ...] | None
    keras_hub: str | tuple[str, ...] | None = None


# Below the scope of the embeddings.
EMBEDDINGS = (
    Place(
        "word_embeddings", "table",
        "word_embeddings", "word_embeddings", "token_embedding",
    ),
    Place(
        "token_type_embeddings", "table",
        "token_type_embeddings", "token_type_embeddings", "segment_embedding",
    ),
    Place(
        "position_embeddings", "table",
        "position_embeddings", "position_embeddings", "position_embedding",
    ),
    Place(
        "layer_norm", "norm",
        "LayerNorm", "LayerNorm", "embeddings_layer_norm",
    ),
)  # fmt: skip

# Below the scope of an encoder.
_T, _F = "encoder/layer_{i}/", "encoder.layer.{i}."
_K = "transformer_layer_{i}/"
ENCODER = (
    Place(
        "embeddings_project", "linear",
        "embeddings_project", "embeddings_project", "embeddings_projection",
    ),
    Place(
        "layer_{i}/attention/qkv", "linear",
        tuple(f"{_T}attention/self/{x}" for x in _QKV),
        tuple(f"{_F}attention.self.{x}" for x in _QKV),
        tuple(f"{_K}self_attention_layer/{x}" for x in _QKV),
    ),
    Place(
        "layer_{i}/attention/output", "linear",
        f"{_T}attention/output/dense", f"{_F}attention.output.dense",
        f"{_K}self_attention_layer/attention_output",
    ),
    Place(
        "layer_{i}/attention_layer_norm", "norm",
        f"{_T}attention/output/LayerNorm", f"{_F}attention.output.LayerNorm",
        f"{_K}self_attention_layer_norm",
    ),
    Place(
        "layer_{i}/intermediate", "linear",
        f"{_T}intermediate/dense", f"{_F}intermediate.dense",
        f"{_K}feedforward_intermediate_dense",
    ),
    Place(
        "layer_{i}/output", "linear",
        f"{_T}output/dense", f"{_F}output.dense",
        f"{_K}feedforward_output_dense",
    ),
    Place(
        "layer_{i}/output_layer_norm", "norm",
        f"{_T}output/LayerNorm", f"{_F}output.LayerNorm",
        f"{_K}feedforward_layer_norm",
    ),
)  # fmt: skip

# Whole names. `{lm}` is generator_predictions, or a two-tower generator's
# counterpart.
HEADS = (
    Place(
        "discriminator/head/dense", "linear",
        "discriminator_predictions/dense", "discriminator_predictions.dense",
    ),
    Place(
        "discriminator/head/prediction", "linear",
        "discriminator_predictions/dense_1",
        "discriminator_predictions.dense_prediction",
    ),
    Place(
        "generator/head/dense", "linear",
        "{lm}/dense", "generator_predictions.dense",
        "mlm_head/intermediate_dense",
    ),
    Place(
        "generator/head/layer_norm", "norm",
        "{lm}/LayerNorm", "generator_predictions.LayerNorm",
        "mlm_head/intermediate_layer_norm",
    ),
    Place(
        "generator/head/output_bias", "vector",
        "{lm}/output_bias", "generator_lm_head.bias",
        "mlm_head/output_bias",
    ),
    Place(
        "generator/head/output_weights", "table",
        None, "generator_lm_head",
    ),
)  # fmt: skip

_TASK = "task_specific/{task}/"


def task_places(
    head: HeadConfig,
) -> tuple[Place, ...]:
    """Returns the parts of a fine-tuned head.

    TF1 numbers a task's dense layers in order of creation: dense, dense_1, ...
    `{task}` is the task's name there.

    Raises:
      UserError: the head is a decoder, or a head for sentences, which only our
        format has.
    """
    if isinstance(head, SentenceHeadConfig):
        raise UserError(
            "a model that chooses sentences has a head for which this format "
            "has no place; keep it as a model directory of electra_tf"
        )
    if isinstance(head, DecoderConfig):
        raise UserError(
            "a model that writes texts has a decoder, which this format has "
            "no place for; keep it as a model directory of electra_tf"
        )

    def linear(
        ours: str,
        tf1: str | tuple[str, ...],
        huggingface: str | None = None,
        keras_hub: str | None = None,
    ) -> Place:
        names = (tf1,) if isinstance(tf1, str) else tf1
        return Place(
            f"task/{ours}", "linear", tuple(_TASK + n for n in names),
            huggingface, keras_hub,
        )  # fmt: skip

    if head.kind == "sequence" and head.hidden_layer:
        return (
            linear("dense", "dense", "classifier.dense", "classifier_dense"),
            linear("output", "dense_1", "classifier.out_proj", "logits"),
        )
    if head.kind == "sequence":
        return (linear("output", "dense", "classifier", "logits"),)
    if head.kind == "token":
        return (linear("output", "dense", "classifier"),)
    places: tuple[Place, ...]
    if head.kind == "span":
        places = (linear("output", ("dense", "dense_1"), "qa_outputs"),)
    else:
        places = (
            linear("start", "dense"),
            linear("end_hidden", "qa_hidden"),
            linear("end", "dense_1"),
        )
    if head.answerable:
        places += (
            linear("answerable_hidden", "dense_2"),
            linear("answerable", "dense_3"),
        )
    return places


# Scopes of encoders and embeddings in TF1 checkpoints: ours -> theirs.
TF1_ENCODERS = {
    "discriminator/encoder": "electra",
    "generator/encoder": "generator",
    "generator/ltr": "generator_ltr",
    "generator/rtl": "generator_rtl",
}
TF1_EMBEDDINGS = {
    "embeddings": "electra/embeddings",
    "generator/embeddings": "generator/embeddings",
    "generator/ltr/embeddings": "generator_ltr/embeddings",
    "generator/rtl/embeddings": "generator_rtl/embeddings",
}

_NUMBER = re.compile(r"(?<=layer[_.])\d+(?=[/.])")


class Table:
    """The names of one format, in both directions."""

    def __init__(self, pairs: Iterable[tuple[str, tuple[str, ...]]]):
        """Takes (our name, their names) pairs, `{i}` for a layer's number."""
        self._theirs = dict(pairs)
        self._ours = {
            name: ours
            for ours, theirs in self._theirs.items()
            for name in theirs
        }

    def theirs(self, name: str) -> tuple[str, ...]:
        """Converts our name to theirs: three for query, key, value; () if
        unknown.
        """
        template, number = _template(name)
        return tuple(
            n.replace("{i}", number) for n in self._theirs.get(template, ())
        )

    def ours(
        self, names: Iterable[str]
    ) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
        """Converts their names to {ours: theirs}, and returns unknown names
        too.

        Query, key and value are all listed, even if `names` lacks one.
        """
        found: dict[str, tuple[str, ...]] = {}
        unknown = []
        for name in sorted(names):
            template, number = _template(name)
            if template in self._ours:
                ours = self._ours[template].replace("{i}", number)
                found[ours] = self.theirs(ours)
            else:
                unknown.append(name)
        return found, tuple(unknown)


def _template(name: str) -> tuple[str, str]:
    match = _NUMBER.search(name)
    if match is None:
        return name, ""
    return name[: match.start()] + "{i}" + name[match.end() :], match[0]


def pairs(
    places: Sequence[Place],
    column: Format,
    ours: str = "",
    theirs: str = "",
    replaced: Mapping[str, str] | None = None,
) -> list[tuple[str, tuple[str, ...]]]:
    """Returns (our name, their names) of all variables in `places`.

    Args:
      places: parts; those that the format lacks are left out.
      column: the format.
      ours: prefix of our names, with its separator.
      theirs: prefix of their names.
      replaced: text in their names -> its replacement.
    """
    which = 1 + _COLUMNS.index(column)
    result = []
    for place in places:
        names = getattr(place, column)
        if names is None:
            continue
        names = (names,) if isinstance(names, str) else names
        for old, new in (replaced or {}).items():
            names = tuple(name.replace(old, new) for name in names)
        for leaves in _LEAVES[place.kind]:
            result.append(
                (
                    ours + place.ours + leaves[0],
                    tuple(theirs + name + leaves[which] for name in names),
                )
            )
    return result


def tf1(
    two_tower: bool = False,
    task: Sequence[Place] = (),
    task_name: str = "task",
) -> Table:
    """Returns the names of TF1 checkpoints.

    Args:
      two_tower: whether the generator is a two-tower one.
      task: the parts of a fine-tuned head, see `task_places`.
      task_name: name of the task in the checkpoint.
    """
    lm = "cloze_predictions" if two_tower else "generator_predictions"
    replaced = {"{lm}": lm, "{task}": task_name}
    result = pairs([*HEADS, *task], "tf1", replaced=replaced)
    for ours, theirs in TF1_ENCODERS.items():
        result += pairs(ENCODER, "tf1", f"{ours}/", f"{theirs}/")
    for ours, theirs in TF1_EMBEDDINGS.items():
        result += pairs(EMBEDDINGS, "tf1", f"{ours}/", f"{theirs}/")
    return Table(result)


def huggingface(
    encoder: str = "discriminator/encoder",
    embeddings: str = "embeddings",
    task: Sequence[Place] = (),
) -> Table:
    """Returns the names of a Hugging Face model, which has one network.

    Args:
      encoder: our scope of its encoder; see `scopes`.
      embeddings: our scope of its tables.
      task: the parts of a fine-tuned head.
    """
    return Table(
        pairs([*HEADS, *task], "huggingface")
        + pairs(ENCODER, "huggingface", f"{encoder}/", "electra.")
        + pairs(
            EMBEDDINGS, "huggingface", f"{embeddings}/", "electra.embeddings."
        )
    )


def keras_hub(
    encoder: str = "discriminator/encoder",
    embeddings: str = "embeddings",
    task: Sequence[Place] = (),
) -> Table:
    """Returns the variable paths of a KerasHub model; see `huggingface`."""
    return Table(
        pairs([*HEADS, *task], "keras_hub")
        + pairs(ENCODER, "keras_hub", f"{encoder}/")
        + pairs(EMBEDDINGS, "keras_hub", f"{embeddings}/")
    )


def scopes(config: DirectoryConfig, part: Network) -> tuple[str, str]:
    """Returns our scopes of a network's encoder and tables.

    A two-tower generator has two encoders and so no such scope; check its kind
    first.
    """
    if part == "discriminator":
        return "discriminator/encoder", "embeddings"
    return (
        "discriminator/encoder" if config.is_tied else "generator/encoder",
        "generator/embeddings" if config.is_untied else "embeddings",
    )


def to_theirs(
    column: Format,
    name: str,
    array: np.ndarray,
    num_heads: int = 1,
    pieces: int | None = None,
) -> list[np.ndarray]:
    """Converts our array to another format's arrays, in the order of its names.

    Args:
      column: the format.
      name: our name.
      array: our array.
      num_heads: heads of its encoder, for KerasHub's shapes.
      pieces: number of its names there; None means 3 for query, key, value.
    """
    joined = "/attention/qkv/" in name
    pieces = pieces or (3 if joined else 1)
    arrays = np.split(array, pieces, axis=-1) if pieces > 1 else [array]
    if column == "huggingface" and name.endswith("/kernel"):
        arrays = [a.T for a in arrays]
    if column == "keras_hub" and joined:
        arrays = [a.reshape(*a.shape[:-1], num_heads, -1) for a in arrays]
    if column == "keras_hub" and name.endswith("/attention/output/kernel"):
        arrays = [a.reshape(num_heads, -1, a.shape[-1]) for a in arrays]
    return arrays


def to_ours(
    column: Format, name: str, arrays: Sequence[np.ndarray]
) -> np.ndarray:
    """Converts another format's arrays to ours: the inverse of `to_theirs`."""
    if column == "huggingface" and name.endswith("/kernel"):
        arrays = [a.T for a in arrays]
    if column == "keras_hub" and "/attention/qkv/" in name:
        arrays = [a.reshape(*a.shape[:-2], -1) for a in arrays]
    if column == "keras_hub" and name.endswith("/attention/output/kernel"):
        arrays = [a.reshape(-1, a.shape[-1]) for a in arrays]
    if len(arrays) == 1:
        return arrays[0]
    return np.concatenate(arrays, axis=-1)


Shapes = dict[str, tuple[int, ...]]

# Heads of pre-training objectives, which no other format and no config
# describes: kept where they are found.
EXTRA = ("discriminator/lm_head/", "discriminator/copy/")


def shapes(config: DirectoryConfig) -> Shapes:
    """Returns our name -> shape of every variable of a model."""
    result: Shapes = {}
    discriminator, generator = config.discriminator, config.generator
    if discriminator is not None:
        result |= _embeddings("embeddings", discriminator)
        result |= encoder_shapes("discriminator/encoder", discriminator)
        if config.replaced_token_head:
            size = discriminator.hidden_size
            result |= _linear("discriminator/head/dense", size, size)
            result |= _linear("discriminator/head/prediction", size, 1)
    if generator is not None:
        result |= _generator(config, generator)
    encoder = discriminator or generator
    if isinstance(config.task, DecoderConfig) and encoder is not None:
        result |= decoder_shapes(config.task, encoder)
    elif isinstance(config.task, SentenceHeadConfig) and encoder is not None:
        size = encoder.hidden_size
        result |= _linear("task/dense", 2 * size, size)
        result |= _linear("task/output", size, 1)
    elif isinstance(config.task, TaskHeadConfig) and encoder is not None:
        result |= task_shapes(config.task, encoder.hidden_size)
    return result


def _generator(config: DirectoryConfig, generator: ModelConfig) -> Shapes:
    result: Shapes = {}
    hidden, untied = generator.hidden_size, config.is_untied
    if config.is_two_tower:
        for tower in ("generator/ltr", "generator/rtl"):
            result |= encoder_shapes(tower, generator)
            if untied:
                result |= _embeddings(f"{tower}/embeddings", generator)
        hidden *= 2
    elif config.is_tied:
        result |= encoder_shapes("discriminator/encoder", generator)
    else:
        result |= encoder_shapes("generator/encoder", generator)
        if untied:
            result |= _embeddings("generator/embeddings", generator)
    if not untied:
        result |= _embeddings("embeddings", generator)
    if config.token_lm_head:
        result |= _linear(
            "generator/head/dense", hidden, generator.embedding_size
        )
        result |= _norm("generator/head/layer_norm", generator.embedding_size)
        result["generator/head/output_bias"] = (generator.vocab_size,)
        if not generator.tied_head:
            result["generator/head/output_weights"] = (
                generator.vocab_size, generator.embedding_size,
            )  # fmt: skip
    return result


def encoder_shapes(scope: str, config: ModelConfig) -> Shapes:
    """Returns the shapes of an encoder's variables, without embeddings."""
    size, inner = config.hidden_size, config.intermediate_size
    result: Shapes = {}
    if config.embedding_size != size:
        result |= _linear(
            f"{scope}/embeddings_project", config.embedding_size, size
        )
    for i in range(config.num_layers):
        result |= _block(f"{scope}/layer_{i}", size, inner)
    return result


def decoder_shapes(decoder: DecoderConfig, config: ModelConfig) -> Shapes:
    """Returns the shapes of a decoder's variables, without shared
    embeddings.
    """
    size, narrow = config.hidden_size, config.embedding_size
    result: Shapes = {}
    for i in range(decoder.num_layers):
        layer = f"task/layer_{i}"
        result |= _block(f"{layer}/block", size, config.intermediate_size)
        cross = f"{layer}/cross_attention"
        result |= _linear(f"{cross}/query", size, size)
        result |= _linear(f"{cross}/key_value", size, 2 * size)
        result |= _linear(f"{cross}/output", size, size)
        result |= _norm(f"{cross}_layer_norm", size)
    result |= _linear("task/prediction/dense", size, narrow)
    result |= _norm("task/prediction/layer_norm", narrow)
    return result | {"task/prediction/output_bias": (config.vocab_size,)}


def task_shapes(head: TaskHeadConfig, hidden_size: int) -> Shapes:
    """Returns the shapes of a fine-tuned head's variables."""
    result: Shapes = {}
    wide, joint = 2 * hidden_size, head.joint_size
    if head.answerable:
        result |= _linear("task/answerable_hidden", wide, joint)
        result |= _linear("task/answerable", joint, 1)
    if head.kind == "joint_span":
        result |= _linear("task/start", hidden_size, 1)
        result |= _linear("task/end_hidden", wide, joint)
        return result | _linear("task/end", joint, 1)
    if head.hidden_layer:
        result |= _linear("task/dense", hidden_size, hidden_size)
    labels = 2 if head.kind == "span" else head.num_labels
    return result | _linear("task/output", hidden_size, labels)


def _block(layer: str, size: int, inner: int) -> Shapes:
    return {
        **_linear(f"{layer}/attention/qkv", size, 3 * size),
        **_linear(f"{layer}/attention/output", size, size),
        **_norm(f"{layer}/attention_layer_norm", size),
        **_linear(f"{layer}/intermediate", size, inner),
        **_linear(f"{layer}/output", inner, size),
        **_norm(f"{layer}/output_layer_norm", size),
    }


def _linear(name: str, rows: int, columns: int) -> Shapes:
    return {f"{name}/kernel": (rows, columns), f"{name}/bias": (columns,)}


def _norm(name: str, size: int) -> Shapes:
    return {f"{name}/gamma": (size,), f"{name}/beta": (size,)}


def _embeddings(scope: str, config: ModelConfig) -> Shapes:
    size = config.embedding_size
    return {
        f"{scope}/word_embeddings": (config.vocab_size, size),
        f"{scope}/token_type_embeddings": (config.type_vocab_size, size),
        f"{scope}/position_embeddings": (config.max_positions, size),
        **_norm(f"{scope}/layer_norm", size),
    }
