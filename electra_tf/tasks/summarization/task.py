"""Summarizes a text by its own most important sentences.

As in BertSum (Liu & Lapata 2019), every sentence is scored in its context, and
the best ones that do not repeat each other are the summary.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.models.config import SentenceHeadConfig
from electra_tf.models.task_networks import SentenceOutput
from electra_tf.tasks import metrics
from electra_tf.tasks.features import IGNORED, Features, unit_features
from electra_tf.tasks.summarization import articles, selection
from electra_tf.tasks.summarization.articles import Article, join, words
from electra_tf.tasks.summarization.options import Length, SummaryOptions
from electra_tf.tasks.task import FileTask, Prediction
from electra_tf.text.tokenizer import Tokenizer

_log = logging.getLogger(__name__)

_LEAD = Length(sentences=3)


class ExtractiveSummarization(FileTask):
    """Summarizes a document by some of its sentences, in their order.

    `ratio` in `state` is the mean length of summaries relative to documents.
    """

    Options: ClassVar[type] = SummaryOptions
    options: SummaryOptions
    usual_file = "train.jsonl"
    metric = "rouge2"
    default_epochs = 5.0

    def set_up(self) -> None:
        """See `Task.set_up`."""
        self._compare = self.options.baselines

    # --- examples ----------------------------------------------------------

    def read_files(self, paths: Sequence[str], split: str) -> list[Article]:
        """Returns the documents of a table."""
        if not self.trained:
            self.options = articles.with_columns(self.options, paths[0])
        return articles.read(paths[0], self.options, split != "test")

    def identity(self, example: Article) -> str:
        """Returns the document."""
        return example.text

    def fit(self, examples: Sequence[Article]) -> None:
        """Learns how long summaries are."""
        ratios = [
            len(words(article.summary or ""))
            / max(1, sum(len(article.words[i]) for i in article.candidates))
            for article in examples
        ]
        self.state["ratio"] = float(np.clip(np.mean(ratios), 0.01, 1.0))

    def example(self, record: Mapping[str, Any], place: str) -> Article:
        """Makes a document from its column, or from `text`."""
        return articles.article(self._bare(record), place, self.options)

    def asked(self, record: Mapping[str, Any], place: str) -> Article:
        """Makes a document; a text without a sentence has an empty summary."""
        bare = self._bare(record)
        return articles.article(bare, place, self.options, may_be_empty=True)

    def _bare(self, record: Mapping[str, Any]) -> Mapping[str, Any]:
        """Returns the document alone, without its summary."""
        column = self.options.document_column
        if column not in record and "text" in record:
            return {column: record["text"]}
        return {column: record[column]} if column in record else record

    def record(self, item: Any) -> Mapping[str, Any]:
        """Returns a text, or a mapping with one."""
        if isinstance(item, str):
            return {self.options.document_column: item}
        if isinstance(item, Mapping):
            return item
        raise UserError(f"expected a text or a mapping, got {item!r:.60}")

    # --- the model's side --------------------------------------------------

    def head(self) -> SentenceHeadConfig:  # type: ignore[override]
        """Returns a head with a score for each sentence."""
        return SentenceHeadConfig()

    def features(
        self, tokenizer: Tokenizer, examples: Sequence[Article], training: bool
    ) -> Features:
        """Returns windows of sentences, `[CLS] sentence [SEP] [CLS] ...`, as
        BertSum.

        Segment ids are the numbers of sentences in the whole document: the
        network alternates 0 and 1 by them, and knows where in the document it
        is. In training, documents that share nothing with their summaries are
        left out.
        """
        length = self.options.max_seq_length
        if not training:
            texts = [article.texts for article in examples]
            return unit_features(tokenizer, texts, length, framed=True)
        labels = [self._labels(article) for article in examples]
        chosen = [i for i, row in enumerate(labels) if 1 in row]
        if len(chosen) < len(examples):
            place = next(
                a.place for a, row in zip(examples, labels) if 1 not in row
            )
            _log.warning(
                "%d of %d documents are not trained on: no sentence of theirs "
                "shares a word with the summary; the first is %s",
                len(examples) - len(chosen), len(examples), place,
            )  # fmt: skip
        return unit_features(
            tokenizer,
            [examples[i].texts for i in chosen],
            length,
            np.array([x for i in chosen for x in labels[i]], "int32"),
            framed=True,
        )

    def _labels(self, article: Article) -> list[int]:
        """Returns labels of all sentences; a title, never taken, is ignored."""
        candidates = article.candidates
        texts = [article.texts[i] for i in candidates]
        found = selection.labels(texts, article.summary or "")
        return [IGNORED] * candidates.start + list(map(int, found))

    def loss(
        self, outputs: SentenceOutput, batch: Mapping[str, tf.Tensor]
    ) -> tf.Tensor:
        """Returns the loss, [B]: cross-entropy, each sentence weighing the
        same.
        """
        labels = batch["labels"]  # [B, L]
        scored = tf.cast(labels >= 0, tf.float32)
        losses = tf.nn.sigmoid_cross_entropy_with_logits(
            labels=tf.cast(tf.maximum(labels, 0), tf.float32),
            logits=outputs.logits,
        )
        return tf.reduce_sum(losses * scored, axis=-1) * batch["scale"]

    def outputs(self, outputs: SentenceOutput) -> dict[str, tf.Tensor]:
        """Returns probabilities [B, L]; those at [CLS] tokens are used."""
        return {"probabilities": tf.sigmoid(outputs.logits)}

    def quick(self) -> "ExtractiveSummarization":
        """Returns the task without baselines, to be scored while it is
        trained.
        """
        made = type(self)(self.name, self.options, self.data, self.state)
        made.trained, made._compare = self.trained, False
        return made

    # --- answers -----------------------------------------------------------

    def predictions(
        self,
        examples: Sequence[Article],
        features: Features,
        outputs: Sequence[Mapping[str, Any]],
    ) -> list[Prediction]:
        """Returns `summary`, and the `sentences` that make it up.

        A sentence has its `text`, where it starts and ends in the document,
        its number there (from 0), and its probability.
        """
        scores = articles.sentence_scores(
            features.extra, [output["probabilities"] for output in outputs]
        )
        found = []
        for article, row in zip(examples, scores):
            order = sorted(article.candidates, key=lambda i: -row[i])
            taken = self._take(article, order, self.options.trigram_blocking)
            texts = article.texts
            sentences = [
                {
                    "text": texts[i],
                    "start": article.spans[i].start,
                    "end": article.spans[i].end,
                    "number": i,
                    "score": float(row[i]),
                }
                for i in taken
            ]
            found.append(
                {"summary": join([texts[i] for i in taken]),
                 "sentences": sentences}
            )  # fmt: skip
        return found

    def _take(
        self, article: Article, order: Sequence[int], block: bool = False
    ) -> list[int]:
        length = self.options.length(self.state["ratio"])
        return selection.take(order, article.words, length, block)

    def scores(
        self, examples: Sequence[Article], predictions: Sequence[Prediction]
    ) -> dict[str, float]:
        """Returns mean F of ROUGE-1, -2 and -L, and baselines as `lead3/...`.

        `lead` takes the first sentences, and `random` random ones, up to the
        length of our summaries.
        """
        references = [
            article.summary
            for article in examples
            if article.summary is not None
        ]
        if not references or len(references) < len(examples):
            return {}
        stem = self.options.stem
        found = metrics.rouge(
            [p["summary"] for p in predictions], references, stem
        )
        # Predictions that are not a model's have no baselines.
        if self._compare and all("sentences" in p for p in predictions):
            for name, texts in self._baselines(examples).items():
                for metric, value in metrics.rouge(
                    texts, references, stem
                ).items():
                    found[f"{name}/{metric}"] = value
        return found

    def _baselines(self, examples: Sequence[Article]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {"lead3": [], "lead": [], "random": []}
        for article in examples:
            texts, candidates = article.texts, article.candidates
            chance = selection.shuffled(candidates, article.text)
            for name, taken in (
                ("lead3", selection.take(candidates, article.words, _LEAD)),
                ("lead", self._take(article, candidates)),
                ("random", self._take(article, chance)),
            ):
                found[name].append(join([texts[i] for i in taken]))
        return found

    def files(
        self,
        split: str,
        examples: Sequence[Article],
        predictions: Sequence[Prediction],
    ) -> dict[str, bytes]:
        """Returns `summaries.txt`, with a summary on each line."""
        lines = (" ".join(p["summary"].split()) + "\n" for p in predictions)
        return {"summaries.txt": "".join(lines).encode("utf-8")}

    def constant(
        self, train: Sequence[Article], held_out: Sequence[Article]
    ) -> list[Prediction]:
        """Returns the first sentences, up to the length of our summaries."""
        return [{"summary": text} for text in self._baselines(held_out)["lead"]]
