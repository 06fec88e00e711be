"""Tags each word: chunks, named entities, parts of speech.

Words come from a column of a file, or are found in a text. A word's tag is
predicted at its first piece. Every word gets a tag, in sentences of any length.
"""

import collections
import dataclasses
import difflib
import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.models.task_heads import TaskHeadConfig
from electra_tf.tasks.features import IGNORED, Features, unit_features
from electra_tf.tasks.formats import Layout
from electra_tf.tasks.records import text_lines
from electra_tf.tasks.tagging import answers as tagging_answers
from electra_tf.tasks.tagging import schemes as tagging_schemes
from electra_tf.tasks.tagging import spelling
from electra_tf.tasks.tagging.columns import read_columns
from electra_tf.tasks.tagging.options import (
    COLUMNS,
    MEMBERS,
    SEPARATORS,
    TaggingOptions,
)
from electra_tf.tasks.tagging.rows import (
    TEXTS,
    named,
    printed,
    read_rows,
    row_layout,
)
from electra_tf.tasks.tagging.words import Sentence, split_words
from electra_tf.tasks.task import FileTask, Prediction
from electra_tf.text.tokenizer import Tokenizer

_log = logging.getLogger(__name__)
_MOST = 0.5  # share of the tags above which they are meant to mark spans


class Tagging(FileTask):
    """The tagging task; see `tasks.task.Task`.

    `state` has `scheme`, the data's; `labels` that the model learns, and
    `learned`, their scheme; and `default`, the most frequent tag.
    """

    Options: ClassVar[type] = TaggingOptions
    options: TaggingOptions
    usual_file = "train.txt"
    strict_parts = True

    def set_up(self) -> None:
        """See `Task.set_up`."""
        member = self.name.partition("/")[2]
        if member and member not in MEMBERS:
            close = difflib.get_close_matches(member, MEMBERS, n=1)
            raise UserError(
                f"task '{self.name}' is not known; "
                + (f"did you mean 'tagging/{close[0]}'?" if close else
                   f"known: {', '.join(f'tagging/{m}' for m in MEMBERS)}")
            )  # fmt: skip
        self._usual = MEMBERS.get(member, {})

    @property
    def metric(self) -> str:  # type: ignore[override]
        """Entity F1, or accuracy where tags do not mark spans."""
        return "accuracy" if self.state.get("scheme") == "none" else "f1"

    # --- examples ----------------------------------------------------------

    def read_files(self, paths: Sequence[str], split: str) -> list[Sentence]:
        """Returns the sentences of a column file."""
        options = self.options
        separator = options.separator or self._usual.get("separator")
        if separator is not None:
            separator = SEPARATORS.get(separator, separator)
        layout = row_layout(paths[0], options.format)
        column = options.tag_column
        if layout:
            if not self.trained:
                self._check_of_rows(paths[0], layout)
            sentences = read_rows(
                paths[0],
                layout,
                column if isinstance(column, str) else None,
                options.tag_names,
                COLUMNS.get(self.name.partition("/")[2], ()),
                split != "test",
            )
        else:
            if isinstance(column, str):
                raise UserError(
                    f"options.tag_column: '{column}' names a column, and the "
                    f"columns of {paths[0]} have numbers alone; expected one"
                )
            sentences = read_columns(
                paths[0],
                _or(options.token_column, self._usual.get("token_column")),
                _or(column, self._usual.get("tag_column")),
                separator,
                options.format,
                options.comment,
            )
            if options.tag_names is not None:
                sentences = _with_names(sentences, options.tag_names)
        self._check_numbers(sentences, paths[0])
        if self._scheme_option != "none" and self.state.get("scheme") != "none":
            sentences = _usually_spelled(sentences, paths[0])
            sentences = self._with_letters(sentences, paths[0])
        if "scheme" in self.state:
            self._check(sentences)
        return sentences

    def _check_of_rows(self, path: str, layout: Layout) -> None:
        """Refuses options that only column files have, where columns have
        numbers.
        """
        options = self.options
        separator = options.separator
        if separator is not None:
            separator = SEPARATORS.get(separator, separator)
        between = {"tsv": "\t", "csv": layout.delimiter}.get(layout.format)
        for name, unused in (
            ("token_column", options.token_column is not None),
            ("tag_column", isinstance(options.tag_column, int)),
            ("separator", separator not in (None, between)),
            ("comment", bool(options.comment)),
        ):
            if unused:
                raise UserError(
                    f"options.{name}: is for files whose columns have numbers, "
                    f"and those of {path} have names; leave it out "
                    "(options.tag_column may name the tags' column)"
                )

    def _check_numbers(self, sentences: Sequence[Sentence], path: str) -> None:
        """Warns of tags that are numbers without names."""
        tags = {tag for s in sentences for tag in s.tags or ()}
        if tags and all(tag.isdigit() for tag in tags):
            _log.warning(
                "%s: the tags are numbers, taken as they are: entities cannot "
                "be recognised; options.tag_names gives their names, in order",
                path,
            )  # fmt: skip

    def _with_letters(
        self, sentences: list[Sentence], path: str
    ) -> list[Sentence]:
        """Converts tags that are only types to IOB1: "PER" to "I-PER"."""
        counts = collections.Counter(t for s in sentences for t in s.tags or ())
        known = self.state.get("types_alone")
        if known is None and not self.trained:
            known = self.options.scheme == "io" or (
                self._scheme_option == "auto" and spelling.types_alone(counts)
            )
            if known:
                self.state["types_alone"] = True
        if not known:
            return sentences
        _log.warning(
            "%s: tags are types alone, as '%s'; a run of one is a span, read, "
            "and predicted, as 'I-...' (options.scheme=none takes them as "
            "plain tags)", path, next((t for t in counts if t != "O"), "O"),
        )  # fmt: skip
        outside = tagging_schemes.OUTSIDE
        return [
            dataclasses.replace(
                s,
                tags=s.tags
                and tuple(
                    t if t == outside else tagging_schemes.join_tag("I", t)
                    for t in s.tags
                ),
            )
            for s in sentences
        ]

    @property
    def _scheme_option(self) -> str:
        """Returns the scheme of the options, or of the family's member."""
        if self.options.scheme == "io":
            return "iob1"  # as `_with_letters` makes them
        if self.options.scheme != "auto":
            return self.options.scheme
        return self._usual.get("scheme", "auto")

    def identity(self, example: Sentence) -> str:
        """Returns the sentence's words."""
        return " ".join(example.tokens)

    def _check(self, sentences: Sequence[Sentence]) -> None:
        """Refuses tags of another scheme, and warns of tags unknown to
        training.
        """
        scheme = self.state["scheme"]
        known = set(self.known())
        new: collections.Counter[str] = collections.Counter()
        first = ""
        for sentence in sentences:
            for i, tag in enumerate(sentence.tags or ()):
                if tag in known:
                    continue
                if not tagging_schemes.belongs(tag, scheme):
                    raise UserError(
                        f"{sentence.place_of(i)}: the tag '{tag}' is none of "
                        f"the scheme {scheme}; correct it, or set "
                        "options.scheme"
                    )
                first = first or sentence.place_of(i)
                new[tag] += 1
        if new:
            _log.warning(
                "%s: %d words have tags that no training sentence has (%s); "
                "they count as wrong",
                first, new.total(), ", ".join(sorted(new)),
            )  # fmt: skip

    def known(self) -> Sequence[str]:
        """Returns all tags that can be predicted, in the data's scheme."""
        scheme, labels = self.state["scheme"], self.state["labels"]
        if scheme == self.state["learned"]:
            return labels
        outside = tagging_schemes.OUTSIDE
        kinds = {
            tagging_schemes.split_tag(label)[1]
            for label in labels
            if label != outside
        }
        return tagging_schemes.labels(kinds, scheme)

    def fit(self, examples: Sequence[Sentence]) -> None:
        """Finds the scheme and the labels."""
        tags = [sentence.tags for sentence in examples]
        if not examples or None in tags:
            place = examples[tags.index(None)].place if examples else self.data
            raise UserError(f"{place}: no tags, and they are to be learned")
        counts = collections.Counter(t for row in tags for t in row or ())
        if len(counts) < 2:
            raise UserError(
                f"{examples[0].place}: all {counts.total()} training words "
                f"have the tag '{next(iter(counts))}': nothing to learn; "
                "options.tag_column says which column is the tags', from 0, or "
                f"from -1 back{_shown(examples[0])}"
            )
        scheme = self._scheme_option
        if scheme == "auto":
            scheme = self._detect(examples)
        learned = self.options.convert_to or scheme
        self.state |= {"scheme": scheme, "learned": learned, "labels": ["O"]}
        self.state["default"] = counts.most_common(1)[0][0]
        if scheme == "none":
            if learned != "none":
                raise UserError(
                    f"options.convert_to: is {learned}, but the tags "
                    f"({', '.join(sorted(counts)[:3])}, ...) spell no spans; "
                    "leave it out, or set options.scheme"
                )
            self.state["labels"] = sorted(counts)
            return
        kinds = {
            tagging_schemes.split_tag(tag)[1]
            for tag in counts
            if tag != tagging_schemes.OUTSIDE
        }
        self.state["labels"] = list(tagging_schemes.labels(kinds, learned))
        self._check(examples)
        wrong = [
            sentence
            for sentence in examples
            if not tagging_schemes.is_valid(sentence.tags or (), scheme)
        ]
        if wrong:
            _log.warning(
                "%s: the tags of %d sentences, of which this is the first, "
                "are not valid %s; they are read as conlleval reads them",
                wrong[0].place, len(wrong), scheme,
            )  # fmt: skip

    def _detect(self, examples: Sequence[Sentence]) -> str:
        scheme = tagging_schemes.detect(s.tags or () for s in examples)
        if scheme != "none":
            return scheme
        places = {
            tag: (sentence, i)
            for sentence in reversed(examples)
            for i, tag in enumerate(sentence.tags or ())
        }
        like = {t for t in places if tagging_schemes.looks_like_spans(t)}
        if like <= {tagging_schemes.OUTSIDE} and (
            spelling.share_like_spans(places) <= _MOST
        ):
            return scheme
        inside = places.keys() - {tagging_schemes.OUTSIDE}
        like -= {tagging_schemes.OUTSIDE}
        odd = min(places.keys() - like - {tagging_schemes.OUTSIDE} or inside)
        other = max(inside - {odd}, default=tagging_schemes.OUTSIDE)
        raise UserError(
            f"{places[odd][0].place_of(places[odd][1])}: the tags do not fit "
            f"one scheme: '{odd}' beside '{other}'; correct them, or set "
            "options.scheme to one of "
            + ", ".join(tagging_schemes.SCHEMES)
            + " (none: tags that spell no spans)"
        )

    def example(self, record: Mapping[str, Any], place: str) -> Sentence:
        """Returns a sentence from `tokens` (a list), or from `text`."""
        found = self.asked(record, place)
        if not found.tokens:
            what = "the text" if found.text is not None else "tokens: the list"
            raise UserError(f"{place}: {what} is empty")
        return found

    def asked(self, record: Mapping[str, Any], place: str) -> Sentence:
        """Makes a sentence; a text without a word has no tags."""
        name = "tokens"
        if name not in record and isinstance(record.get("words"), list):
            name = "words"
        tokens = record.get(name)
        if tokens is not None:
            if isinstance(tokens, str):
                tokens = printed(tokens, f"{place}: tokens")
            if not isinstance(tokens, list | tuple) or not all(
                isinstance(token, str) for token in tokens
            ):
                raise UserError(
                    f"{place}: tokens: expected a list of texts, got "
                    f"{tokens!r:.60}"
                )
            return Sentence(tuple(tokens), place=place)
        text = next((record[n] for n in TEXTS if n in record), None)
        if not isinstance(text, str):
            raise UserError(
                f"{place}: expected a column 'text', or 'tokens', got "
                f"{', '.join(record) or 'none'}"
            )
        words, starts = split_words(text)
        return Sentence(words, text=text, starts=starts, place=place)

    def record(self, item: Any) -> Mapping[str, Any]:
        """Makes a record from a text, a list of words, or a mapping with
        one.
        """
        if isinstance(item, list | tuple):
            return {"tokens": list(item)}
        return super().record(item)

    # --- the model's side --------------------------------------------------

    def head(self) -> TaskHeadConfig:
        """Returns a head with scores of the labels for each token."""
        labels = tuple(self.state["labels"])
        return TaskHeadConfig("token", len(labels), labels)

    def features(
        self, tokenizer: Tokenizer, examples: Sequence[Sentence], training: bool
    ) -> Features:
        """Returns rows `[CLS] words [SEP]`, labels at each word's first
        piece.
        """
        labels = None
        if training:
            numbers = {tag: i for i, tag in enumerate(self.state["labels"])}
            labels = np.array(
                [
                    numbers.get(tag, IGNORED)
                    for sentence in examples
                    for tag in tagging_schemes.convert(
                        sentence.tags or (), self.state["learned"]
                    )
                ],
                "int32",
            )
        tokens = [sentence.tokens for sentence in examples]
        found = unit_features(
            tokenizer, tokens, self.options.max_seq_length, labels
        )
        if training and found.examples is not None:
            unseen = len(examples) - len(set(found.examples.tolist()))
            if unseen:
                _log.warning(
                    "%d training sentences have no known token, and are left "
                    "out", unseen,
                )  # fmt: skip
        return found

    def loss(self, outputs: Any, batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns the loss, [B]: cross-entropy, each word weighing the same."""
        labels = batch["labels"]  # [B, L]
        tagged = tf.cast(labels >= 0, tf.float32)
        words = tf.nn.sparse_softmax_cross_entropy_with_logits(
            labels=tf.maximum(labels, 0), logits=outputs.logits
        )
        return tf.reduce_sum(words * tagged, axis=-1) * batch["scale"]

    def outputs(self, outputs: Any) -> dict[str, tf.Tensor]:
        """Returns all labels' scores where a search needs them, else the
        best.
        """
        log_probs = tf.nn.log_softmax(outputs.logits)  # [B, L, K]
        if self.grammar() is not None:
            return {"log_probs": log_probs}
        return {
            "label": tf.argmax(log_probs, axis=-1, output_type=tf.int32),
            "log_prob": tf.reduce_max(log_probs, axis=-1),
        }

    def grammar(self) -> tagging_schemes.Grammar | None:
        """Returns the valid sequences of labels; None where all are valid."""
        learned = self.state["learned"]
        if learned == "none" or not self.options.constrained:
            return None
        return tagging_schemes.grammar(self.state["labels"], learned)

    # --- answers -----------------------------------------------------------

    def predictions(
        self,
        examples: Sequence[Sentence],
        features: Features,
        outputs: Sequence[Mapping[str, Any]],
    ) -> list[Prediction]:
        """Returns `tokens`, `tags` and `entities` of each sentence.

        An entity has its `type`, its start and end in the given text (given
        tokens count as joined by spaces), its `text`, and the product of its
        tags' probabilities.
        """
        labels, log_probs = tagging_answers.word_labels(
            features.extra, outputs, self.grammar(), self.default_label()
        )
        scheme, learned = self.state["scheme"], self.state["learned"]
        names, splits = self.state["labels"], features.extra.splits
        found = []
        for sentence, start, end in zip(examples, splits, splits[1:]):
            tags = [names[label] for label in labels[start:end]]
            if learned != scheme:
                tags = tagging_schemes.convert(tags, scheme)
            found.append(
                tagging_answers.prediction(
                    sentence, tags, log_probs[start:end], scheme
                )
            )
        return found

    def default_label(self) -> int:
        """Returns the label of words without a token."""
        names = self.state["labels"]
        if self.state["learned"] == "none":
            return names.index(self.state["default"])
        outside = tagging_schemes.OUTSIDE
        return names.index(outside) if outside in names else 0

    def scores(
        self, examples: Sequence[Sentence], predictions: Sequence[Prediction]
    ) -> dict[str, float]:
        """Returns entity F1, precision, recall, and the accuracy of words."""
        gold, given = tagging_answers.known_tags(examples, predictions)
        if not gold:
            return {}
        found = {}
        scheme = self.state["scheme"]
        if scheme != "none":
            found = tagging_answers.entity_scores(
                gold, given, scheme, self.options.scorer
            )
        return found | {"accuracy": tagging_answers.accuracy(gold, given)}

    def files(
        self,
        split: str,
        examples: Sequence[Sentence],
        predictions: Sequence[Prediction],
    ) -> dict[str, bytes]:
        """Returns a column file for `conlleval`, and scores by type."""
        text = tagging_answers.column_text(examples, predictions)
        found = {f"{split}_predictions.txt": text}
        gold, given = tagging_answers.known_tags(examples, predictions)
        if gold and self.state["scheme"] != "none":
            report = tagging_answers.type_report(gold, given)
            found[f"{split}_types.txt"] = report
        return {name: text.encode("utf-8") for name, text in found.items()}

    def classes(self, examples: Sequence[Sentence]) -> dict[str, int]:
        """Counts the words of each tag, or the spans of each type."""
        counts: collections.Counter[str] = collections.Counter()
        for sentence in examples:
            tags = sentence.tags or ()
            if self.state.get("scheme") == "none":
                counts.update(tags)
            else:
                counts.update(s.type for s in tagging_schemes.spans(tags))
        return dict(counts.most_common())

    def one_answer(
        self, examples: Sequence[Sentence], predictions: Sequence[Prediction]
    ) -> str | None:
        """Returns the tag that all words get; see `Task.one_answer`."""
        gold, given = tagging_answers.known_tags(examples, predictions)
        said = {tag for tags in given for tag in tags}
        true = {tag for tags in gold for tag in tags}
        return said.pop() if len(said) == 1 and len(true) > 1 else None

    def details(
        self, examples: Sequence[Sentence], predictions: Sequence[Prediction]
    ) -> dict[str, dict[str, float]]:
        """Returns precision, recall and F1 of each type of entity."""
        gold, given = tagging_answers.known_tags(examples, predictions)
        if not gold or self.state["scheme"] == "none":
            return {}
        return tagging_answers.type_scores(gold, given)

    def constant(
        self, train: Sequence[Sentence], held_out: Sequence[Sentence]
    ) -> list[Prediction]:
        """Predicts the most frequent tag for every word."""
        tag = self.state["default"]
        return [
            {"tokens": list(s.tokens), "tags": [tag] * len(s.tokens),
             "entities": []}
            for s in held_out
        ]  # fmt: skip


def _usually_spelled(sentences: list[Sentence], path: str) -> list[Sentence]:
    """Returns sentences with tags like "B-PER", however the file spells
    them.
    """
    tags = {tag for sentence in sentences for tag in sentence.tags or ()}
    found = spelling.find(tags)
    if found is None:
        return sentences
    _log.warning(
        "%s: tags are spelled like '%s'; they are read, and predicted, as "
        "'B-PER'", path, found,
    )  # fmt: skip
    known = spelling.plain(tags, found)
    return [
        dataclasses.replace(
            sentence,
            tags=sentence.tags and tuple(known[tag] for tag in sentence.tags),
        )
        for sentence in sentences
    ]


def _with_names(
    sentences: Sequence[Sentence], names: Sequence[str]
) -> list[Sentence]:
    """Returns sentences with the names of tags that are numbers."""
    return [
        dataclasses.replace(
            s,
            tags=s.tags
            and named(s.tags, names, [*map(s.place_of, range(len(s.tags)))]),
        )
        for s in sentences
    ]


def _shown(sentence: Sentence) -> str:
    """Formats the columns of a sentence's first line, for a message."""
    path, _, number = sentence.place.rpartition(":")
    if not (sentence.counted and number.isdigit()):
        return ""
    for at, line in text_lines(path):
        if at == int(number):
            cells = line.split("\t") if "\t" in line else line.split()
            return f" (the line has {', '.join(map(repr, cells)):.200})"
    return ""


def _or(given: int | None, usual: int | None) -> int | None:
    return usual if given is None else given
