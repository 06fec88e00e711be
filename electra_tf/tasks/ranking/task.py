"""Ranks passages by a cross-encoder that scores a passage for a query."""

import collections
import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from electra_tf.errors import UserError
from electra_tf.models.task_heads import TaskHeadConfig
from electra_tf.tasks import splits
from electra_tf.tasks.features import Features
from electra_tf.tasks.ranking import pairs as ranking_pairs
from electra_tf.tasks.ranking import scores as ranking_scores
from electra_tf.tasks.ranking.options import RankingOptions
from electra_tf.tasks.ranking.pairs import Pair, read_pairs
from electra_tf.tasks.task import FileTask, Prediction
from electra_tf.text.tokenizer import Tokenizer

_log = logging.getLogger(__name__)


class Ranking(FileTask):
    """The ranking task; see `tasks.task.Task`. Its examples are pairs."""

    Options: ClassVar[type] = RankingOptions
    options: RankingOptions
    usual_file = "train.tsv or the like"
    strict_parts = True

    def set_up(self) -> None:
        """See `Task.set_up`."""
        if "/" in self.name:
            raise UserError(
                f"task '{self.name}' is not known; did you mean ranking?"
            )

    @property
    def metric(self) -> str:  # type: ignore[override]
        """The metric that the options name."""
        return self.options.metric

    # --- examples ----------------------------------------------------------

    def read(self, split: str) -> Sequence[Pair] | None:
        """Returns the pairs of a split; see `FileTask.read`."""
        pairs = super().read(split)
        if pairs and split == "validation" and not self.parts_joined:
            self.check_held_out(pairs, self._source(split)[0][0])
        if pairs and split == "train":
            return [*pairs, *self._negatives(pairs)]
        return pairs

    def read_files(self, paths: Sequence[str], split: str) -> list[Pair]:
        """Returns the pairs of a file."""
        if not self.trained:
            self.options = ranking_pairs.with_columns(self.options, paths[0])
        trained = set(paths) <= set(self.find("train"))
        form = self.options.form if trained else "auto"
        return read_pairs(paths[0], self.options, form, split != "test")

    def identity(self, example: Pair) -> str:
        """Returns the query: all its passages are on one side of the split."""
        return example.query

    def draw(
        self, examples: Sequence[Pair], count: int, seed: int
    ) -> Sequence[Pair]:
        """Samples whole queries until they have `count` pairs or more.

        Nothing could be learned from a query with some of its passages missing.
        """
        sizes = collections.Counter(pair.query for pair in examples)
        queries = list(sizes)
        taken, chosen = 0, set()
        for i in np.random.default_rng(seed).permutation(len(queries)):
            if taken >= count:
                break
            chosen.add(queries[i])
            taken += sizes[queries[i]]
        return [pair for pair in examples if pair.query in chosen]

    def stratum(self, examples: Sequence[Pair]) -> str:
        """Returns whether a query's passages are relevant: all, some or
        none.
        """
        least = self.options.relevant_from
        found = {(pair.relevance or 0.0) >= least for pair in examples}
        return "some" if len(found) == 2 else str(found)

    def check_held_out(self, examples: Sequence[Pair], place: str) -> None:
        """Refuses queries without a relevant passage; warns if some are."""
        least = self.options.relevant_from
        queries = {pair.query_id for pair in examples}
        telling = {
            p.query_id for p in examples if (p.relevance or 0.0) >= least
        }
        if len(telling) < len(queries):
            _log.warning(
                "%s: %d of %d validation queries have no relevant passage, and "
                "are not counted",
                place, len(queries) - len(telling), len(queries),
            )  # fmt: skip
        if not telling:
            raise UserError(
                f"{place}: no query for validation has a passage of relevance "
                f"{least:g} or more (options.relevant_from)"
            )

    def _negatives(self, pairs: Sequence[Pair]) -> list[Pair]:
        """Returns the extra file's negatives for the queries trained on."""
        given = self.options.negatives_file
        if given is None:
            return []
        path = splits.locate("train", self.data, given, "negatives_file")
        queries = {pair.query for pair in pairs}
        extra = read_pairs(path or given, self.options)
        kept = [pair for pair in extra if pair.query in queries]
        if not kept:
            raise UserError(
                f"{path}: none of its {len(extra)} passages is for a query of "
                "the training file; queries must be written the same"
            )
        return kept

    def fit(self, examples: Sequence[Pair]) -> None:
        """Refuses pairs from which nothing can be learned."""
        if not self._groups(examples).pairs.size:
            least = self.options.relevant_from
            raise UserError(
                "ranking: no training query has both a passage of relevance "
                f"{least:g} or more (options.relevant_from) and one of less: "
                "nothing to learn"
            )

    def example(self, record: Mapping[str, Any], place: str) -> Pair:
        """Makes a pair from the query's and the passage's column."""
        return ranking_pairs.pair_of(record, self.options.column_names, place)

    def asked(self, record: Mapping[str, Any], place: str) -> Pair:
        """See `Task.asked`."""
        names = self.options.column_names
        return ranking_pairs.pair_of(record, names, place, may_be_empty=True)

    def record(self, item: Any) -> Mapping[str, Any]:
        """Returns (query, passage), or a mapping with both."""
        if isinstance(item, tuple | list) and len(item) == 2:
            columns = self.options.column_names
            return {columns.query: item[0], columns.passage: item[1]}
        if isinstance(item, str):
            raise UserError(
                f"expected a pair of query and passage, got a text {item!r:.40}"
            )
        return super().record(item)

    # --- the model's side --------------------------------------------------

    def head(self) -> TaskHeadConfig:
        """Returns a head with one score."""
        return TaskHeadConfig(
            "sequence",
            num_labels=1,
            hidden_layer=self.options.hidden_layer,
            hidden_activation=self.options.hidden_activation,
        )

    def features(
        self, tokenizer: Tokenizer, examples: Sequence[Pair], training: bool
    ) -> Features:
        """Returns rows; in training groups of G, with `relevance` [units, G].

        The pointwise loss takes the same pairs as single rows without groups,
        with `relevance` [rows], 0 or 1.
        """
        options = self.options
        if not training:
            return self._rows(tokenizer, examples)
        groups = self._groups(examples)
        if groups.unused:
            _log.warning(
                "%d training queries have no positive, or no negative "
                "passage, and are left out", groups.unused,
            )  # fmt: skip
        numbers = groups.pairs
        if options.loss == "pointwise":
            numbers = np.unique(numbers)
        chosen = [examples[i] for i in numbers.ravel()]
        grades = np.array([pair.relevance for pair in chosen], "float32")
        if options.loss == "pointwise":
            relevant = (grades >= options.relevant_from).astype("float32")
            rows = self._rows(tokenizer, chosen)
            return dataclasses.replace(
                rows, rows={"relevance": relevant}, examples=numbers
            )
        return dataclasses.replace(
            self._rows(tokenizer, chosen),
            rows={"relevance": grades.reshape(numbers.shape)},
            group=groups.size,
            examples=numbers.ravel(),
        )

    def _rows(self, tokenizer: Tokenizer, pairs: Sequence[Pair]) -> Features:
        options = self.options
        return ranking_pairs.pair_rows(
            tokenizer, pairs, options.max_seq_length, options.max_query_length
        )

    def _groups(self, pairs: Sequence[Pair]) -> ranking_pairs.Groups:
        options = self.options
        return ranking_pairs.make_groups(
            pairs,
            options.relevant_from,
            options.num_negatives,
            options.groups_per_positive,
            options.negatives_seed,
        )

    def loss(self, outputs: Any, batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns the loss of each group, or pointwise of each row, [B]."""
        relevance = batch["relevance"]
        scores = tf.reshape(outputs.logits, tf.shape(relevance))
        if self.options.loss == "pointwise":
            return ranking_scores.pointwise(scores, relevance)
        return ranking_scores.LOSSES[self.options.loss](scores, relevance)

    def outputs(self, outputs: Any) -> dict[str, tf.Tensor]:
        """Returns `score` [rows]; imported models may give it from 0 to 1."""
        score = outputs.logits[:, 0]
        if self.state.get("activation") == "sigmoid":
            score = tf.sigmoid(score)
        return {"score": score}

    # --- answers -----------------------------------------------------------

    def predictions(
        self,
        examples: Sequence[Pair],
        features: Features,
        outputs: Sequence[Mapping[str, Any]],
    ) -> list[Prediction]:
        """Returns `score` of each pair: a logit, comparable within one
        query.
        """
        return [{"score": float(output["score"])} for output in outputs]

    def scores(
        self, examples: Sequence[Pair], predictions: Sequence[Prediction]
    ) -> dict[str, float]:
        """Returns MRR@10, nDCG@10 and MAP; see `ranking_scores`."""
        queries: dict[str, list[tuple[float, float]]] = {}
        for pair, prediction in zip(examples, predictions):
            if pair.relevance is not None:
                queries.setdefault(pair.query_id, []).append(
                    (prediction["score"], pair.relevance)
                )
        return ranking_scores.ranking_scores(
            (tuple(np.array(rows).T) for rows in queries.values()),
            self.options.relevant_from,
        )

    def files(
        self,
        split: str,
        examples: Sequence[Pair],
        predictions: Sequence[Prediction],
    ) -> dict[str, bytes]:
        """Returns the ranking as a file in TREC's form."""
        scores = [prediction["score"] for prediction in predictions]
        text = ranking_pairs.run_text(examples, scores, "electra_tf")
        return {f"{split}_run.txt": text.encode("utf-8")}

    def constant(
        self, train: Sequence[Pair], held_out: Sequence[Pair]
    ) -> list[Prediction]:
        """Returns a random order, always the same one."""
        draws = np.random.default_rng(0).random(len(held_out))
        return [{"score": float(score)} for score in draws]
