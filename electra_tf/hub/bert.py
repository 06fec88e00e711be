"""Reads BERT's checkpoints as ELECTRA models that compute the same.

BERT's encoder is an encoder of ELECTRA whose embeddings are as wide as its
blocks; its masked LM's head is that of a generator which shares the encoder;
heads of fine-tuned models are the same, except that a classifier reads the
pooler, a dense layer and tanh on the first token. So only names and settings
change. The pooler of other models and the next-sentence head have no
counterpart: they are left over, under their own names. A new classifier can
start from that pooler.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from electra_tf import files
from electra_tf.hub.checkpoint import Lazy, shapes_of
from electra_tf.hub.config import DirectoryConfig
from electra_tf.models.config import TaskHeadConfig

CONFIG, OLD_CONFIG = "config.json", "bert_config.json"

# Hugging Face's classes, ELECTRA's class that computes the same, and the
# variable that identifies its head; in the order in which an unnamed class is
# guessed.
_ENCODER = "ElectraModel"
_HEAD = "cls.predictions.transform.dense.weight"
_CLASSES = {
    "BertForMaskedLM": ("ElectraForMaskedLM", _HEAD),
    "BertForPreTraining": ("ElectraForMaskedLM", _HEAD),
    "BertLMHeadModel": ("ElectraForMaskedLM", _HEAD),
    "BertForQuestionAnswering": (
        "ElectraForQuestionAnswering", "qa_outputs.weight",
    ),
    "BertForSequenceClassification": (
        "ElectraForSequenceClassification", "pooler.dense.weight",
    ),
    "BertForTokenClassification": (
        "ElectraForTokenClassification", "classifier.weight",
    ),
    "BertForNextSentencePrediction": (_ENCODER, ""),
    "BertForMultipleChoice": (_ENCODER, ""),
    "BertModel": (_ENCODER, ""),
}  # fmt: skip
_MASKED_LM = {
    "cls.predictions.transform.": "generator_predictions.",
    "cls.predictions.decoder.weight": "generator_lm_head.weight",
    "cls.predictions.bias": "generator_lm_head.bias",
}
# Prefix of the names of a class's head -> our prefix.
_HEADS = {
    "ElectraForMaskedLM": _MASKED_LM,
    "ElectraForQuestionAnswering": {"qa_outputs.": "qa_outputs."},
    "ElectraForSequenceClassification": {
        "pooler.dense.": "classifier.dense.",
        "classifier.": "classifier.out_proj.",
    },
    "ElectraForTokenClassification": {"classifier.": "classifier."},
    _ENCODER: {},
}
_BODY = {"embeddings.": "embeddings.", "encoder.": "encoder."}
# The pooler, as the hidden layer of a classifier: ours -> theirs.
_POOLER = {
    "task/dense/kernel": "pooler.dense.weight",
    "task/dense/bias": "pooler.dense.bias",
}
TF1_POOLER = {
    "task/dense/kernel": "bert/pooler/dense/kernel",
    "task/dense/bias": "bert/pooler/dense/bias",
}
# The bias, stored twice: transformers ties both to one variable.
_BIAS, _BIAS_AGAIN = "cls.predictions.bias", "cls.predictions.decoder.bias"

_TABLE = "embeddings.word_embeddings.weight"
_HEADS_UNLESS_SAID = 12  # default of the class BertConfig

_TF1 = {
    "bert/embeddings/": "electra/embeddings/",
    "bert/encoder/": "electra/encoder/",
    "cls/predictions/transform/": "generator_predictions/",
    "cls/predictions/output_bias": "generator_predictions/output_bias",
}


@dataclasses.dataclass(frozen=True)
class Source:
    """A Hugging Face directory, translated to ELECTRA's form.

    Attributes:
      content: content of config.json, in ELECTRA's form.
      arrays: ELECTRA's names -> arrays, read when looked up.
      leftover: names of the source without a counterpart.
      pooler: our names of a classifier's hidden layer -> the source's names
        of its pooler, if it has one.
      assumed: sentences on what was assumed, as the source does not say it.
      is_bert: whether it was BERT's; if not, nothing was changed.
      raw: ELECTRA's name -> the source's name, where they differ.
    """

    content: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]
    leftover: tuple[str, ...] = ()
    pooler: Mapping[str, str] = dataclasses.field(default_factory=dict)
    assumed: tuple[str, ...] = ()
    is_bert: bool = False
    raw: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def name(self, name: str) -> str:
        """Returns the source's own name for one of `arrays`.

        Args:
          name: a key of `arrays`, possibly with the prefix of a class with a
            head.
        """
        return self.raw.get(name, self.raw.get(name[len("electra.") :], name))

    def complete(self, config: DirectoryConfig) -> DirectoryConfig:
        """Adds to a config what distinguishes BERT's models from ELECTRA's.

        A masked LM is an encoder as well: one that its generator shares. Its
        head has the encoder's GELU. A classifier's hidden layer, the pooler,
        has tanh.

        Args:
          config: the config from `content` and the shapes.
        """
        if not self.is_bert:
            return config
        if config.generator is not None:
            both = dataclasses.replace(config.generator, head_gelu=None)
            return dataclasses.replace(
                config,
                discriminator=both,
                generator=both,
                generator_kind="tied",
                replaced_token_head=False,
            )
        task = config.task
        if isinstance(task, TaskHeadConfig) and task.hidden_layer:
            task = dataclasses.replace(task, hidden_activation="tanh")
        return dataclasses.replace(config, task=task)


def is_pooler(name: str) -> bool:
    """Returns whether a source's variable is BERT's pooler."""
    names = *_POOLER.values(), *TF1_POOLER.values()
    return name.removeprefix("bert.") in names


def config_file(path: str) -> str:
    """Returns a directory's config.json, or an early bert_config.json."""
    old = files.join(path, OLD_CONFIG)
    there = files.exists(files.join(path, CONFIG)) or not files.exists(old)
    return files.join(path, CONFIG) if there else old


def as_electra(
    content: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> Source:
    """Translates a Hugging Face directory, if it is BERT's.

    Args:
      content: content of config.json.
      arrays: its names -> arrays; only a bias stored twice is read.
    """
    named = content.get("architectures")
    name = named[0] if isinstance(named, list) and named else None
    if not isinstance(name, str):  # the reader refuses what is no name
        name = None
    kind = content.get("model_type")
    if kind is None and (
        str(name).startswith("Bert")
        or (name is None and any(n.startswith("bert.") for n in arrays))
    ):
        kind = "bert"
    if kind != "bert":
        return Source(content, arrays)
    there = {n.removeprefix("bert."): n for n in arrays}
    if _adds_other_bias(content, there):
        # Under the name of the bias that is used; the other is left over.
        added = there.pop(_BIAS_AGAIN)
        if _BIAS in there:
            there[_BIAS_AGAIN] = there[_BIAS]
        there[_BIAS] = added
    cls, assumed = _class(name, there)
    starts = _BODY | _HEADS[cls]
    found, leftover = {}, []
    for short, raw in there.items():
        start = next((s for s in starts if short.startswith(s)), None)
        if start is not None:
            found[starts[start] + short.removeprefix(start)] = raw
        elif short != _BIAS_AGAIN or _differ(arrays, there):
            leftover.append(raw)
    content = {k: v for k, v in content.items() if k != "embedding_size"}
    content |= {"model_type": "electra", "architectures": [cls]}
    shapes = shapes_of(arrays)
    size = content.get("hidden_size")
    if isinstance(size, int):
        content["embedding_size"] = size
    elif _TABLE in there:
        size = shapes[there[_TABLE]][-1]
    heads = _HEADS_UNLESS_SAID
    if content.get("num_attention_heads") is None and size and not size % heads:
        content["num_attention_heads"] = heads
        assumed += (f"model.num_heads {heads}: config.json lacks it",)
    return Source(
        content,
        Lazy(
            lambda ours: arrays[found[ours]],
            {ours: tuple(shapes[raw]) for ours, raw in found.items()},
        ),
        tuple(leftover),
        {
            ours: there[theirs]
            for ours, theirs in _POOLER.items()
            if theirs in there
        },
        assumed,
        is_bert=True,
        raw=found,
    )


def _class(
    name: str | None, there: Mapping[str, str]
) -> tuple[str, tuple[str, ...]]:
    """Returns ELECTRA's class for one of BERT's, and what was assumed about it.

    Args:
      name: BERT's class; None where unknown.
      there: names of the variables, without `bert.`.
    """
    if name in _CLASSES:
        cls, mark = _CLASSES[name]
        lacking = [m for m in (mark, *_needed(cls)) if m and m not in there]
        if not lacking:
            return cls, ()
        said = f"names {name}, but {lacking[0]} is not among the weights"
        return _ENCODER, (f"no head: its config {said}",)
    for guess, (cls, mark) in _CLASSES.items():
        if mark and all(m in there for m in (mark, *_needed(cls))):
            return cls, (f"class {guess}, from its variables",)
    return _ENCODER, (f"the encoder alone (its class: {name or 'not named'})",)


def _needed(cls: str) -> tuple[str, ...]:
    """Returns the variables that a classifier on the pooler needs."""
    sequence = cls == "ElectraForSequenceClassification"
    return ("classifier.weight",) if sequence else ()


def _adds_other_bias(
    content: Mapping[str, Any], there: Mapping[str, str]
) -> bool:
    """Returns whether a masked LM uses the bias of `decoder`.

    transformers has one variable for both, unless the head is untied; and it
    may store one variable under either name.
    """
    untied = content.get("tie_word_embeddings") is False
    return _BIAS_AGAIN in there and (untied or _BIAS not in there)


def _differ(arrays: Mapping[str, np.ndarray], there: Mapping[str, str]) -> bool:
    """Returns whether a masked LM's two biases differ."""
    return _BIAS not in there or not np.array_equal(
        arrays[there[_BIAS]], arrays[there[_BIAS_AGAIN]]
    )


def tf1_names(names: Iterable[str]) -> dict[str, str]:
    """Returns BERT's names in a TF1 checkpoint -> ELECTRA's names.

    Slots of an optimizer, named after their variables, are included. Empty for
    a checkpoint of ELECTRA's.

    Args:
      names: names of all variables.
    """
    names = list(names)
    if any(name.startswith("electra/") for name in names):
        return {}
    return {
        name: ours + name.removeprefix(theirs)
        for name in names
        for theirs, ours in _TF1.items()
        if name.startswith(theirs)
    }
