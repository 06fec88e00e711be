"""Opens a model to be served, and makes its signatures."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, Literal

from electra_tf.errors import UserError
from electra_tf.exporting.graphs import (
    example_signatures,
    explain_signature,
    pretrained_signatures,
    qa_signatures,
    steps,
    summary_signatures,
    tagging_signatures,
    text_signatures,
    truncation_signature,
)
from electra_tf.exporting.graphs.inputs import Signatures
from electra_tf.hub import loading, pretrained
from electra_tf.prediction.predictor import Predictor
from electra_tf.tasks.qa.task import QuestionAnswering
from electra_tf.tasks.ranking.task import Ranking
from electra_tf.tasks.seq2seq.task import Seq2SeqTask
from electra_tf.tasks.summarization.task import ExtractiveSummarization
from electra_tf.tasks.tagging.task import Tagging
from electra_tf.tasks.task import Task
from electra_tf.tasks.texts.targets import Classes, LabelSets, Number
from electra_tf.tasks.texts.task import TextTask
from electra_tf.text.tokenizer import Tokenizer

Kind = Literal[
    "classification",
    "multilabel",
    "regression",
    "ranking",
    "tagging",
    "qa",
    "seq2seq",
    "summarization",
    "discriminator",
    "generator",
    "encoder",
]
Part = Literal["discriminator", "generator"]

_TARGETS: dict[type, Kind] = {
    Classes: "classification",
    LabelSets: "multilabel",
    Number: "regression",
}
_TASKS: dict[type, Kind] = {
    Ranking: "ranking",
    Tagging: "tagging",
    QuestionAnswering: "qa",
    Seq2SeqTask: "seq2seq",
    ExtractiveSummarization: "summarization",
}
# Makes the signatures of a kind from a predictor or network.
_SIGNATURES: dict[Kind, Callable[[Any], Signatures]] = {
    "classification": text_signatures.signatures,
    "multilabel": text_signatures.signatures,
    "regression": text_signatures.signatures,
    "ranking": text_signatures.signatures,
    "tagging": tagging_signatures.signatures,
    "qa": qa_signatures.signatures,
    "seq2seq": text_signatures.seq2seq_signatures,
    "summarization": summary_signatures.signatures,
    "discriminator": pretrained_signatures.signatures,
    "generator": pretrained_signatures.signatures,
}
# Kinds that support TensorFlow Serving's Classify or Regress.
_BY_EXAMPLES: dict[Kind, str] = {
    "classification": "classification",
    "multilabel": "classification",
    "regression": "regression",
    "ranking": "regression",
}
# Kinds whose predictions on a text or a pair can be explained by tokens.
_EXPLAINED: tuple[Kind, ...] = ("classification", "multilabel", "regression")


@dataclasses.dataclass(frozen=True)
class Servable:
    """A model, fine-tuned or pre-trained.

    Attributes:
      kind: kind of its predictions.
      network: fine-tuned (`models.task_networks`) or pre-trained
        (`hub.pretrained`).
      tokenizer: the model's tokenizer.
      max_seq_length: tokens that it reads at once, special ones included.
      predictor: predictor of a fine-tuned model; None for others.
    """

    kind: Kind
    network: Any
    tokenizer: Tokenizer
    max_seq_length: int
    predictor: Predictor | None = None

    @property
    def task_name(self) -> str | None:
        """The task's name, such as "glue/sst2"; None if pre-trained."""
        return self.predictor.task.name if self.predictor else None

    @property
    def unknown_percent(self) -> float | None:
        """The share of [UNK] in the training data in percent; None if
        unknown.
        """
        config = self.predictor.directory_config if self.predictor else None
        about = (config and config.fine_tuning) or {}
        return about.get("unknown_percent")

    @property
    def pair(self) -> bool:
        """Whether `serving_default` takes two texts."""
        if self.predictor is None:
            return False
        return self.kind == "qa" or text_signatures.reads_pairs(
            self.predictor.task
        )

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The labels of classes, sets of labels, or tags; None without
        labels.
        """
        task = self.predictor.task if self.predictor else None
        if isinstance(task, TextTask) and task.target.labels:
            return tuple(task.target.labels)
        if isinstance(task, Tagging):
            return tuple(task.state["labels"])
        return None

    @property
    def scale(self) -> tuple[float, float] | None:
        """Mean and deviation of a regressor's training data.

        None for other models, and where the options gave a scale.
        """
        task = self.predictor.task if self.predictor else None
        if not isinstance(task, TextTask) or "scale" not in task.state:
            return None
        if getattr(task.options, "scale", None) is not None:
            return None
        return task.state["offset"], task.state["scale"]

    def signatures(
        self, names: Iterable[str] | None = None, explain: bool = False
    ) -> Signatures:
        """Makes the model's signatures, `serving_default` first.

        Args:
          names: names of the wanted signatures; None means all. Those that read
            examples include `serving_default`, which they call.
          explain: whether to add `explain`, see `graphs.explain_signature`.

        Returns:
          Name -> tf.function with an input signature.

        Raises:
          UserError: there is no signature of such a name, or predictions cannot
            be explained.
        """
        found = _SIGNATURES[self.kind](self.predictor or self.network)
        found |= pretrained_signatures.embedding_signatures(
            self.network, self.tokenizer, self.max_seq_length
        )
        found |= truncation_signature.signatures(
            self.predictor.task if self.predictor else None,
            self.tokenizer,
            self.max_seq_length,
            masks=self.kind == "generator",
        )
        examples = _BY_EXAMPLES.get(self.kind)
        known = [name for name in found if not steps.suffix(name)]
        known += [examples] if examples else []
        known += ["explain"] if explain else []
        wanted = set(known if names is None else names)
        for name in () if names is None else names:
            if name not in known:
                hint = "; give --explain too" if name == "explain" else ""
                raise UserError(
                    f"--signatures: there is no '{name}' of a {self.kind} "
                    f"model; there are {', '.join(known)}{hint}"
                )
        if examples in wanted:
            wanted.add(example_signatures.SOURCE)
        made = {
            name: one
            for name, one in found.items()
            if name.removesuffix(steps.suffix(name)) in wanted
        }
        if examples and examples in wanted:
            made |= example_signatures.signatures(examples, made)
        if explain:
            if self.predictor is None or self.kind not in _EXPLAINED:
                raise UserError(
                    f"--explain: a {self.kind} model cannot be explained; "
                    f"expected {', '.join(_EXPLAINED)}"
                )
            made |= explain_signature.signatures(self.predictor)
        return made


def is_fine_tuned(path: str) -> bool:
    """Returns whether the model at `path` has a task head.

    Raises:
      UserError: the path does not exist, or has no known format.
    """
    return loading.open_checkpoint(path).config.task is not None


def of_predictor(predictor: Predictor) -> Servable:
    """Makes a servable from a fine-tuned model.

    Raises:
      UserError: the task cannot be exported, or its rows are longer than the
        model can read.
    """
    task = predictor.task
    kind = _kind(task)
    length = task.options.max_seq_length
    most = predictor.network.config.max_positions
    if length > most:
        raise UserError(
            f"options.max_seq_length: {length}, and the model has {most} "
            f"positions; give --set=options.max_seq_length={most}"
        )
    return Servable(
        kind, predictor.network, predictor.tokenizer, length, predictor
    )


def open_pretrained(
    path: str, part: Part | None = None, headless: bool = False
) -> Servable:
    """Opens a discriminator or a generator.

    Args:
      path: see `from_pretrained`.
      part: which of the two; None means the discriminator, if there is one.
      headless: whether to accept a discriminator without a head, as an encoder.

    Raises:
      UserError: the model is missing, or lacks a vocabulary, this part or its
        head.
    """
    network: Any
    kind: Kind
    config = loading.open_checkpoint(path).config
    if part is None:
        part = "discriminator" if config.discriminator else "generator"
    kind = part
    if part == "generator":
        network = pretrained.Generator.from_pretrained(path)
    elif headless and not config.replaced_token_head:
        network, kind = pretrained.Encoder.from_pretrained(path), "encoder"
    else:
        network = pretrained.Discriminator.from_pretrained(path)
    if network.tokenizer is None:
        raise UserError(f"{path}: has no vocabulary beside it")
    if kind != "encoder" and (
        network.load_report.new or getattr(network, "head", None) is None
    ):
        raise UserError(
            f"{path}: its {part} has no pre-training head, and it was not "
            "fine-tuned: it has no predictions to export"
        )
    return Servable(
        kind, network, network.tokenizer, network.config.max_positions
    )


def _kind(task: Task) -> Kind:
    if isinstance(task, TextTask):
        for target, kind in _TARGETS.items():
            if isinstance(task.target, target):
                return kind
    for cls, kind in _TASKS.items():
        if isinstance(task, cls):
            return kind
    raise UserError(
        f"task {task.name}: only models of the tasks that come with "
        "electra_tf, and of tasks derived from them, are exported; this one "
        "computes its predictions in its own way"
    )
