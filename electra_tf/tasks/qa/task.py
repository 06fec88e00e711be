"""Answers questions: SQuAD, files of its form, XQuAD, MRQA, Chinese sets."""

import dataclasses
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.models.task_heads import TaskHeadConfig
from electra_tf.tasks import losses, splits
from electra_tf.tasks.features import Features
from electra_tf.tasks.qa import answers as qa_answers
from electra_tf.tasks.qa import features as qa_features
from electra_tf.tasks.qa import files as qa_files
from electra_tf.tasks.qa import metrics as qa_metrics
from electra_tf.tasks.qa.examples import (
    QAExample,
    check_ids,
    check_unicode,
    read_mrqa,
    read_squad,
    unusable,
    with_unanswerable,
)
from electra_tf.tasks.qa.options import HEADS, ChineseQAOptions, QAOptions
from electra_tf.tasks.qa.words import CHARACTERS, WORDS, Splitter
from electra_tf.tasks.task import FileTask, Prediction
from electra_tf.text.tokenizer import Tokenizer

_log = logging.getLogger(__name__)
_Names = Mapping[str, Mapping[str, Sequence[str]]]
READERS = {"squad": read_squad, "mrqa": read_mrqa}
_LOGGED = 5  # examples that cannot be trained on, in the log


class QuestionAnswering(FileTask):
    """Finds the span of a context that answers a question.

    "squad/v1.1" has an answer to every question, "squad/v2.0" does not; for
    plain "squad" the training data decides.

    Attributes:
      skipped: "place, id: reason" for the examples that the last training
        features left out, as they cannot be trained on.
    """

    Options: ClassVar[type] = QAOptions
    form: ClassVar[str] = "squad"  # of the files, a key of `READERS`
    splitter: ClassVar[Splitter] = WORDS
    default_epochs = 2.0  # the paper's
    # Whether all questions of the family have an answer.
    answered: ClassVar[bool] = False
    # Member of the family -> split -> file names in --data; "" is the family
    # without a member, "*" any other member.
    official_names: ClassVar[_Names] = {
        "": {
            "train": ("train.json", "train-v1.1.json", "train-v2.0.json"),
            "validation": ("dev.json", "dev-v1.1.json", "dev-v2.0.json"),
            "test": ("test.json",),
        },
        "v1.1": {
            "train": ("train-v1.1.json",),
            "validation": ("dev-v1.1.json",),
            "test": ("test-v1.1.json",),
        },
        "v2.0": {
            "train": ("train-v2.0.json",),
            "validation": ("dev-v2.0.json",),
            "test": ("test-v2.0.json",),
        },
    }

    def set_up(self) -> None:
        """See `Task.set_up`."""
        self.skipped: list[str] = []
        family, _, self._member = self.name.partition("/")
        names = self.official_names
        if self._member not in names and not (self._member and "*" in names):
            known = [f"{family}/{m}".removesuffix("/") for m in names]
            raise UserError(
                f"task '{self.name}' is not known; expected "
                + " or ".join(known)
            )
        if self.answered or self._member in ("v1.1", "v2.0"):
            self.state["unanswerable"] = self._member == "v2.0"

    @property
    def unanswerable(self) -> bool:
        """Whether there may be questions without an answer.

        Imported models do not say; a threshold among their options does.
        """
        saved = self.state.get("unanswerable")
        if saved is None:
            return self.options.null_threshold is not None
        return bool(saved)

    @property
    def metric(self) -> str:  # type: ignore[override]
        """F1, at the best threshold if there is one."""
        return "best_f1" if self.unanswerable else "f1"

    # --- examples ----------------------------------------------------------

    def read_files(self, paths: Sequence[str], split: str) -> list[QAExample]:
        """Returns the questions of a file."""
        return self._read_file(paths[0], 0)

    def _read_file(self, path: str, first_number: int) -> list[QAExample]:
        form = self.options.format
        if form == "auto":
            return qa_files.read(path, first_number)
        return READERS[form](path)

    def find(self, split: str) -> tuple[str, ...]:
        """Returns the official file, or one of your own with a usual name."""
        found = super().find(split)
        if found or not self.data or not files.is_directory(self.data):
            return found
        path = splits.locate(split, self.data, None, f"{split}_file")
        if path is None or path.rpartition("/")[2] in self._of_others():
            return ()
        return splits.shards(path)

    def _of_others(self) -> set[str]:
        """Returns file names of other members of the family."""
        return {
            f"{name.rpartition('/')[2]}{end}"
            for names in self.official_names.values()
            for listed in names.values()
            for name in listed
            for end in ("", ".gz")
        }

    def read_shards(self, paths: Sequence[str], split: str) -> list[QAExample]:
        """See `FileTask.read_shards`; no question may be in two files."""
        found: list[QAExample] = []
        for path in paths:
            found += self._read_file(path, len(found))
        check_ids(found)
        return with_unanswerable(found)

    def identity(self, example: QAExample) -> str:
        """Returns the context: questions on one are held out together."""
        return example.context

    def file_names(self, split: str) -> list[str]:
        """Returns the official file names."""
        names = self.official_names.get(self._member)
        if names is None:
            names = self.official_names["*"]
        return [name.format(member=self._member) for name in names[split]]

    @property
    def usual_file(self) -> str:  # type: ignore[override]
        """The official name of the training file."""
        return " or ".join(self.file_names("train"))

    def fit(self, examples: Sequence[QAExample]) -> None:
        """Learns whether there are questions without an answer."""
        self.state.setdefault(
            "unanswerable", any(e.impossible for e in examples)
        )

    def record(self, item: Any) -> Mapping[str, Any]:
        """Returns a mapping with question and context, or a pair of them."""
        if isinstance(item, Mapping):
            return item
        if isinstance(item, tuple | list) and len(item) == 2:
            return {"question": item[0], "context": item[1]}
        raise UserError(
            "expected a pair (question, context) or a mapping with these, "
            f"got {item!r:.60}"
        )

    def example(self, record: Mapping[str, Any], place: str) -> QAExample:
        """Makes an example from `question`, `context` and, if given, `id`."""
        found = self.asked(record, place)
        for name in ("question", "context"):
            if not getattr(found, name).strip():
                raise UserError(f"{place}: its {name} is empty")
        return found

    def asked(self, record: Mapping[str, Any], place: str) -> QAExample:
        """Makes an example like `example`, but either text may be empty."""
        texts = {}
        for name in ("question", "context"):
            text = record.get(name)
            if text is None:
                raise UserError(
                    f"{place}: no '{name}'; expected question and context, "
                    f"got {', '.join(map(str, record)) or 'nothing'}"
                )
            if not isinstance(text, str):
                raise UserError(f"{place}: its {name} is not a text")
            try:
                check_unicode(text, name)
            except ValueError as error:
                raise UserError(f"{place}: {error}") from error
            texts[name] = text
        name = str(record.get("id", place))
        question, context = texts["question"], texts["context"]
        return QAExample(name, question, context, place=place)

    # --- the model's side --------------------------------------------------

    def head(self) -> TaskHeadConfig:
        """Returns a span head, joint or not."""
        options = self.options
        return TaskHeadConfig(
            HEADS[options.head],
            dropout=options.dropout,
            answerable=self.unanswerable and options.answerability == "head",
            beam_size=options.beam_size,
        )

    def features(
        self,
        tokenizer: Tokenizer,
        examples: Sequence[QAExample],
        training: bool,
    ) -> Features:
        """Returns windows of the questions; see `Task.features`."""
        chosen = np.arange(len(examples))
        if training:
            chosen = self._usable(examples)
            examples = [examples[int(i)] for i in chosen]
        windows = qa_features.make_windows(
            tokenizer, examples, self.options.features(), training,
            self.splitter,
        )  # fmt: skip
        made = qa_features.window_features(windows, tokenizer.vocab)
        if not training:
            return dataclasses.replace(made, extra=windows)
        return dataclasses.replace(
            made,
            rows=qa_features.targets(windows),
            examples=chosen[windows.example],
        )

    def _usable(self, examples: Sequence[QAExample]) -> np.ndarray:
        """Returns the numbers of usable examples, int64, and logs the
        others.
        """
        reasons = [unusable(e, self.splitter) for e in examples]
        self.skipped = [
            f"{e.place}, {e.question_id}: {reason}"
            for e, reason in zip(examples, reasons)
            if reason
        ]
        if self.skipped:
            shown = "; ".join(self.skipped[:_LOGGED])
            more = len(self.skipped) - _LOGGED
            _log.warning(
                "%d of %d questions are not trained on: %s%s",
                len(self.skipped), len(examples), shown,
                f"; and {more} more" if more > 0 else "",
            )  # fmt: skip
        return np.array([i for i, r in enumerate(reasons) if not r], "int64")

    def network_inputs(
        self, batch: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """Returns the true start, which a joint head's end is trained on."""
        return {"start_positions": batch["start_positions"]}

    def loss(self, outputs: Any, batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns the loss, [B]; see `losses.span_loss`."""
        return losses.span_loss(
            outputs.spans,
            batch["start_positions"],
            batch["end_positions"],
            batch["is_impossible"],
            self.options.answerable_weight,
        )

    def outputs(self, outputs: Any) -> dict[str, tf.Tensor]:
        """Returns the best starts and ends; see `qa_answers.beam_tensors`."""
        return qa_answers.beam_tensors(outputs.spans, self.options.beam_size)

    # --- answers -----------------------------------------------------------

    def predictions(
        self,
        examples: Sequence[QAExample],
        features: Features,
        outputs: Sequence[Mapping[str, Any]],
    ) -> list[Prediction]:
        """Returns answers with their place in the context; "" for no answer."""
        windows: qa_features.Windows = features.extra
        config = qa_answers.AnswerConfig(
            self.options.n_best_size, self.options.max_answer_length
        )
        found = []
        for i in range(len(examples)):
            rows = range(windows.splits[i], windows.splits[i + 1])
            if not rows:  # a context without a token
                found.append(self._prediction(qa_answers.NOTHING))
                continue
            beams = [
                qa_answers.beam_of(outputs[row], self.unanswerable)
                for row in rows
            ]
            found.append(
                self._prediction(
                    qa_answers.predict(windows.of(i), beams, config)
                )
            )
        return found

    def _prediction(self, found: qa_answers.Prediction) -> Prediction:
        best = [candidate._asdict() for candidate in found.n_best]
        prediction = {
            "answer": "",
            "start": None,
            "end": None,
            "score": best[0]["probability"] if best else 0.0,
            "null_odds": found.null_odds,
            "n_best": best,
        }
        if best and not self._is_null(found.null_odds):
            prediction["answer"] = best[0]["text"]
            prediction["start"] = best[0]["start"]
            prediction["end"] = best[0]["end"]
        return prediction

    @property
    def threshold(self) -> float:
        """The odds above which there is no answer."""
        if self.options.null_threshold is not None:
            return self.options.null_threshold
        return float(self.state.get("null_threshold", 0.0))

    def _is_null(self, null_odds: float | None) -> bool:
        return null_odds is not None and null_odds > self.threshold

    def _answer(self, prediction: Prediction) -> str:
        """Returns the answer at the current threshold; "" for none."""
        if self._is_null(prediction["null_odds"]):
            return ""
        return _best_text(prediction)

    def scores(
        self, examples: Sequence[QAExample], predictions: Sequence[Prediction]
    ) -> dict[str, float]:
        """Returns the scores of `qa_metrics`, over questions with known
        answers.
        """
        known = [
            (example.answers, prediction)
            for example, prediction in zip(examples, predictions)
            if example.answers or example.impossible
        ]
        truths = [answers for answers, _ in known]
        if self.unanswerable:
            return qa_metrics.squad2_scores(
                truths,
                [_best_text(p) for _, p in known],
                [p["null_odds"] or 0.0 for _, p in known],
                self.threshold,
            )
        return self._scores(
            [ts or ("",) for ts in truths], [_best_text(p) for _, p in known]
        )

    def _scores(
        self, truths: Sequence[Sequence[str]], answers: Sequence[str]
    ) -> dict[str, float]:
        """Returns the scores where every question has an answer."""
        return qa_metrics.squad1_scores(truths, answers)

    def tune(
        self, examples: Sequence[QAExample], predictions: Sequence[Prediction]
    ) -> None:
        """Chooses the threshold with the best F1.

        Where it is best never to answer, SQuAD's script names 0, at which
        answers with lower odds would be given: the threshold is below all odds.
        """
        found = self.scores(examples, predictions) if self.unanswerable else {}
        if not found:
            return
        threshold = found["best_f1_thresh"]
        never = 100.0 * found.get("NoAns_total", 0.0) / found["total"]
        if found["best_f1"] <= never:
            odds = [p["null_odds"] or 0.0 for p in predictions]
            threshold = min(0.0, min(odds) - 1.0)
        self.state["null_threshold"] = threshold

    def files(
        self,
        split: str,
        examples: Sequence[QAExample],
        predictions: Sequence[Prediction],
    ) -> dict[str, bytes]:
        """Returns the files of SQuAD's script, and the list of skipped
        questions.

        `predictions.json` (id -> answer, "" for none), `nbest_predictions.json`
        (id -> the best answers, whatever the odds), and where questions may be
        unanswerable `null_odds.json` (id -> odds). `skipped.txt` lists the
        questions that were not trained on.
        """
        named = [(e.question_id, p) for e, p in zip(examples, predictions)]
        contents = {
            "predictions.json": {name: self._answer(p) for name, p in named},
            "nbest_predictions.json": {name: p["n_best"] for name, p in named},
        }
        if self.unanswerable:
            contents["null_odds.json"] = {
                name: p["null_odds"] or 0.0 for name, p in named
            }
        found = {name: _json(content) for name, content in contents.items()}
        if self.skipped:
            found["skipped.txt"] = "".join(
                f"{line}\n" for line in self.skipped
            ).encode()
        return found

    def constant(
        self, train: Sequence[QAExample], held_out: Sequence[QAExample]
    ) -> list[Prediction]:
        """Predicts no answer if some have none, else the context's first words.

        Their number is that of the median answer.
        """
        lengths = [len(e.target) for e in train if e.target]
        length = int(np.median(lengths)) if lengths else 0
        found = []
        for example in held_out:
            end = 0 if self.unanswerable else _word_end(example.context, length)
            text = example.context[:end]
            candidate = qa_answers.Candidate(text, 0.0, 1.0, 0, end)
            odds = self.threshold + 1 if self.unanswerable else None
            found.append(
                self._prediction(
                    qa_answers.Prediction(text, odds, (candidate,))
                )
            )
        return found


class XQuAD(QuestionAnswering):
    """Answers in another language, with a model trained on English.

    "xquad/de" is tested on xquad.de.json; it is trained on SQuAD 1.1, with
    which it shares --data.
    """

    answered = True
    official_names: ClassVar[_Names] = {
        "*": {
            "train": ("train-v1.1.json",),
            "validation": ("dev-v1.1.json",),
            "test": ("xquad.{member}.json",),
        }
    }


class Mrqa(QuestionAnswering):
    """Answers the questions of MRQA's sets, scored as SQuAD 1.1.

    "mrqa/SQuAD" is in train/SQuAD.jsonl.gz and dev/SQuAD.jsonl.gz, as the
    shared task lays them out, or in a folder SQuAD; plain "mrqa" in
    train.jsonl.gz and dev.jsonl.gz.
    """

    form = "mrqa"
    answered = True
    official_names: ClassVar[_Names] = {
        "": {
            "train": ("train.jsonl",),
            "validation": ("dev.jsonl",),
            "test": ("test.jsonl",),
        },
        "*": {
            "train": ("train/{member}.jsonl", "{member}/train.jsonl"),
            "validation": ("dev/{member}.jsonl", "{member}/dev.jsonl"),
            "test": ("test/{member}.jsonl", "{member}/test.jsonl"),
        },
    }


class ChineseQA(QuestionAnswering):
    """Answers on texts without spaces; answers and scores are by character.

    "chinese_qa/cmrc2018" is in simplified, "chinese_qa/drcd" in traditional
    Chinese, plain "chinese_qa" is data of your own. All have the form of SQuAD
    1.1 and an answer to every question.
    """

    Options: ClassVar[type] = ChineseQAOptions
    splitter = CHARACTERS
    answered = True
    official_names: ClassVar[_Names] = {
        "": {
            "train": ("train.json",),
            "validation": ("dev.json",),
            "test": ("test.json",),
        },
        "cmrc2018": {
            "train": ("cmrc2018_train.json", "train.json"),
            "validation": ("cmrc2018_dev.json", "dev.json"),
            "test": ("cmrc2018_test.json", "test.json"),
        },
        "drcd": {
            "train": ("DRCD_training.json", "train.json"),
            "validation": ("DRCD_dev.json", "dev.json"),
            "test": ("DRCD_test.json", "test.json"),
        },
    }

    def _scores(
        self, truths: Sequence[Sequence[str]], answers: Sequence[str]
    ) -> dict[str, float]:
        return qa_metrics.cmrc_scores(truths, answers)

    def files(
        self,
        split: str,
        examples: Sequence[QAExample],
        predictions: Sequence[Prediction],
    ) -> dict[str, bytes]:
        """Returns the files of SQuAD, and `f1_differences.txt`.

        That file lists the questions whose F1 may differ in the official
        script, which splits words of other scripts by NLTK.
        """
        found = super().files(split, examples, predictions)
        lines = [
            f"{example.question_id}\t{_best_text(prediction)}\t"
            f"{' | '.join(example.answers)}\n"
            for example, prediction in zip(examples, predictions)
            if example.answers
            and any(
                map(
                    qa_metrics.cmrc_may_differ,
                    (_best_text(prediction), *example.answers),
                )
            )
        ]
        if lines:
            found["f1_differences.txt"] = "".join(lines).encode()
        return found


def _best_text(prediction: Prediction) -> str:
    """Returns the best answer, ignoring the odds that there is none."""
    best = prediction["n_best"]
    return best[0]["text"] if best else ""


def _word_end(context: str, length: int) -> int:
    """Returns where the word that holds character `length - 1` ends."""
    end = context.find(" ", length)
    return len(context) if end < 0 else end


def _json(content: Mapping[str, Any]) -> bytes:
    text = json.dumps(content, ensure_ascii=False, indent=1)
    return f"{text}\n".encode()
