"""A model that is to be served: opened, what kind it is, its signatures."""

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
# Makes a kind's own signatures of its predictor or network.
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
# Kinds that TensorFlow Serving's Classify or Regress can be asked for.
_BY_EXAMPLES: dict[Kind, str] = {
    "classification": "classification",
    "multilabel": "classification",
    "regression": "regression",
    "ranking": "regression",
}
# Kinds that say something of a text or of a pair, which tokens can explain.
_EXPLAINED: tuple[Kind, ...] = ("classification", "multilabel", "regression")


@dataclasses.dataclass(frozen=True)
class Servable:
    """A model, fine-tuned or pre-trained.

    Attributes:
      kind: what it answers.
      network: fine-tuned (`models.task_networks`) or pre-trained
        (`hub.pretrained`).
      tokenizer: the model's.
      max_seq_length: tokens that it reads at once, specials included.
      predictor: of a fine-tuned model; None of others.
    """

    kind: Kind
    network: Any
    tokenizer: Tokenizer
    max_seq_length: int
    predictor: Predictor | None = None

    @property
    def task_name(self) -> str | None:
        """As the model's directory says: "glue/sst2"; None if pre-trained."""
        return self.predictor.task.name if self.predictor else None

    @property
    def unknown_percent(self) -> float | None:
        """Of the training data's tokens, how many are [UNK]; None: unknown."""
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
        """Of classes, sets of labels, tags; None of what has none."""
        task = self.predictor.task if self.predictor else None
        if isinstance(task, TextTask) and task.target.labels is not None:
            return tuple(task.target.labels)
        if isinstance(task, Tagging):
            return tuple(task.state["labels"])
        return None

    @property
    def scale(self) -> tuple[float, float] | None:
        """Mean and deviation of the numbers that a regressor was trained on.

        None of other models, and where the options gave a scale.
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
          names: those that are wanted; all where None. Those that read
            examples bring `serving_default` with them, which they call.
          explain: add `explain`, see `graphs.explain_signature`.

        Returns:
          Name -> tf.function with an input signature.

        Raises:
          UserError: it has no signature of such a name, or its answers
            cannot be explained.
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
        wanted = set(known if names is None else names)
        for name in () if names is None else names:
            if name not in known:
                raise UserError(
                    f"--signatures: there is no '{name}' of a {self.kind} "
                    f"model; there are {', '.join(known)}"
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
      UserError: nothing is there, or nothing known.
    """
    return loading.open_checkpoint(path).config.task is not None


def of_predictor(predictor: Predictor) -> Servable:
    """Returns a fine-tuned model.

    Raises:
      UserError: of a task that cannot be exported, or with rows that are
        longer than the model can read.
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
    """Returns a discriminator or a generator.

    Args:
      path: as `from_pretrained`'s.
      part: which of the two; the discriminator where None, if there is one.
      headless: take a discriminator without a head too, as an encoder.

    Raises:
      UserError: not there, without a vocabulary, or without this part or
        its head.
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
            f"{path}: its {part} has no pre-training head, and nothing was "
            "fine-tuned: there is nothing that it could answer"
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
        "answers in a way of its own"
    )
