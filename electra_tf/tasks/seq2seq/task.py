"""Generates texts: translation, abstractive summaries."""

import dataclasses
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.generation import beam_search
from electra_tf.models.decoder import DecoderConfig
from electra_tf.tasks import metrics, splits
from electra_tf.tasks.features import Features
from electra_tf.tasks.losses import smoothed_token_loss
from electra_tf.tasks.seq2seq import pairs
from electra_tf.tasks.seq2seq.options import (
    Seq2SeqOptions,
    SummarizationOptions,
    TranslationOptions,
)
from electra_tf.tasks.seq2seq.pairs import Pair
from electra_tf.tasks.task import FileTask, Prediction
from electra_tf.text import detokenize, inputs
from electra_tf.text.detokenize import Spacing
from electra_tf.text.tokenizer import Tokenizer
from electra_tf.text.vocab import Vocab

_log = logging.getLogger(__name__)


class Seq2SeqTask(FileTask):
    """Generates a text from a text, with a decoder on the encoder.

    `data` is a directory of tables or parallel files, or a table; a task
    named "family/set" reads that set of TensorFlow Datasets, with `data` its
    directory.
    """

    Options: ClassVar[type] = Seq2SeqOptions
    default_epochs = 20.0

    def set_up(self) -> None:
        """See `Task.set_up`."""
        self._set = self.name.partition("/")[2]

    # --- examples ----------------------------------------------------------

    def read(self, split: str) -> Sequence[Pair] | None:
        """Returns the pairs of a split; see `FileTask.read`."""
        if not self._set or split not in splits.SPLITS:
            return super().read(split)
        if split != "test" and self.options.validation_fraction:
            known = pairs.set_builder(self._set, self.data).info.splits
            if known and "validation" not in known:
                found = pairs.read_set(self._set, "train", self.data)
                return self.part(found or [], split, self._set)
        return pairs.read_set(self._set, split, self.data)

    def read_files(self, paths: Sequence[str], split: str) -> list[Pair]:
        """Returns the pairs of a table, or of two parallel files."""
        if len(paths) == 1 and not self.trained:
            self.options = pairs.with_columns(self.options, paths[0])
        return pairs.read(paths, self.options, paired=split != "test")

    def identity(self, example: Pair) -> str:
        """Returns source and target."""
        return f"{example.source}\0{example.target}"

    def find(self, split: str) -> tuple[str, ...]:
        """Returns a table, or two parallel files where languages are given."""
        options, option = self.options, f"{split}_file"
        languages = options.source_language, options.target_language
        folder = self.data is not None and files.is_directory(self.data)
        if None in languages or not folder or getattr(options, option):
            try:
                return super().find(split)
            except UserError as error:
                if "which file" not in str(error) or None not in languages:
                    raise
                raise UserError(
                    f"{error}; of files in two languages "
                    "options.source_language and options.target_language say "
                    "what their names end in"
                ) from error
        paths = [
            splits.locate(split, self.data, None, option, f".{language}")
            for language in languages
        ]
        if split == "train" and not any(paths):
            paths = [self._only_one(language) for language in languages]
        for path, language in zip(paths, languages):
            if path is None and any(paths):
                raise UserError(
                    f"{self.data}: found no file for {split} that ends in "
                    f".{language}, and one in the other language; both are "
                    "needed"
                )
        found = tuple(path for path in paths if path is not None)
        return found or super().find(split)  # a table, with both

    def _only_one(self, language: str | None) -> str | None:
        """Returns a language's file if it is the only one, whatever its
        name.
        """
        folder = self.data or ""
        found = [
            name
            for name in files.list_directory(folder)
            if inputs.plain_name(name).endswith(f".{language}")
            and not any(splits.tells(name, split) for split in splits.SPLITS)
        ]
        return files.join(folder, found[0]) if len(found) == 1 else None

    @property
    def usual_file(self) -> str:  # type: ignore[override]
        """The usual training files: a table, or two parallel files."""
        options = self.options
        if options.source_language is None:
            return "train.tsv (source<tab>target a line)"
        return (
            f"train.{options.source_language} and "
            f"train.{options.target_language} (a text a line)"
        )

    def fit(self, examples: Sequence[Pair]) -> None:
        """Learns how the targets space their punctuation."""
        found = detokenize.learn(e.target for e in examples if e.target)
        self.state["spacing"] = [sorted(side) for side in found]

    @property
    def spacing(self) -> Spacing:
        """The spacing of the targets' punctuation, as `fit` found it."""
        sides = self.state.get("spacing")
        return detokenize.USUAL if sides is None else Spacing(
            *map(frozenset, sides)
        )  # fmt: skip

    def example(self, record: Mapping[str, Any], place: str) -> Pair:
        """Makes an example from the source's column, or from `text`."""
        column = self.options.source_column
        if column not in record and "text" in record:
            record = {column: record["text"]}
        return pairs.pair(
            {column: record[column]} if column in record else record,
            place, self.options, paired=False,
        )  # fmt: skip

    def record(self, item: Any) -> Mapping[str, Any]:
        """Returns a text, or a mapping with one."""
        if isinstance(item, str):
            return {self.options.source_column: item}
        if isinstance(item, Mapping):
            return item
        raise UserError(f"expected a text or a mapping, got {item!r:.60}")

    # --- the model's side --------------------------------------------------

    def head(self) -> DecoderConfig:  # type: ignore[override]
        """Returns a head with a decoder."""
        return DecoderConfig(
            num_layers=self.options.decoder_layers,
            from_encoder=self.options.from_encoder,
        )

    def features(
        self, tokenizer: Tokenizer, examples: Sequence[Pair], training: bool
    ) -> Features:
        """Returns sources, in training with targets and without empty ones."""
        options = self.options
        if not training:
            made = pairs.source_rows(
                tokenizer,
                [example.source for example in examples],
                options.max_seq_length,
            )
            return dataclasses.replace(made, extra=tokenizer.vocab)
        self.state["specials"] = pairs.specials(tokenizer.vocab)
        chosen = [
            i
            for i, example in enumerate(examples)
            if example.source.strip() and (example.target or "").strip()
        ]
        if len(chosen) < len(examples):
            _log.warning(
                "%d of %d pairs are not trained on: one of their texts is "
                "empty", len(examples) - len(chosen), len(examples),
            )  # fmt: skip
        made = pairs.source_rows(
            tokenizer,
            [examples[i].source for i in chosen],
            options.max_seq_length,
        )
        targets = pairs.target_rows(
            tokenizer,
            [examples[i].target or "" for i in chosen],
            options.max_target_length,
        )
        predicted = targets.lengths - 1  # [CLS] is given
        mean = float(predicted.mean()) if len(predicted) else 1.0
        return dataclasses.replace(
            made,
            rows={
                "num_predicted": predicted.astype("int32"),
                "target_weight": np.full(len(chosen), 1 / mean, "float32"),
            },
            sequences={"target_ids": targets},
            examples=np.array(chosen, "int64"),
        )

    def network_inputs(
        self, batch: Mapping[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """Returns the decoder's input: the target without its last token."""
        return {"target_ids": batch["target_ids"][:, :-1]}

    def loss(self, outputs: Any, batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Returns the loss of each target, [B].

        It is the sum over the target's tokens, divided by the mean length of
        targets: every token weighs the same, whatever else is in its batch.
        """
        losses = smoothed_token_loss(
            outputs.logits,
            batch["target_ids"][:, 1:],
            self.options.label_smoothing,
        )
        real = tf.sequence_mask(
            batch["num_predicted"], tf.shape(losses)[1], losses.dtype
        )
        return batch["target_weight"] * tf.reduce_sum(losses * real, axis=1)

    def outputs(self, outputs: Any) -> dict[str, tf.Tensor]:
        """Returns nothing: `infer` searches with the network."""
        raise NotImplementedError("what is written takes the whole network")

    def infer(
        self,
        network: Any,
        input_ids: tf.Tensor,
        input_mask: tf.Tensor,
        segment_ids: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        """Returns the best hypotheses of each row.

        Returns:
          `ids` int32 [B, n_best, T], `lengths` int32 [B, n_best] and `scores`
          float32 [B, n_best].

        Raises:
          UserError: targets may be longer than the model's positions.
        """
        options, specials = self.options, self.state["specials"]
        positions = network.config.max_positions
        if options.max_target_length >= positions:
            raise UserError(
                f"options.max_target_length: {options.max_target_length}, and "
                f"the model has {positions} positions; set it to "
                f"{positions - 1} or less"
            )
        config = options.search()
        memory = network(
            input_ids, input_mask, segment_ids, training=False
        ).memory
        decoder, batch = network.head, tf.shape(input_ids)[0]
        cache = decoder.empty_cache(batch * config.beam_size, memory.bias.dtype)
        banned = np.arange(network.config.vocab_size) >= specials["size"]
        banned[specials["banned"]] = True
        found = beam_search.search(
            lambda ids, position, cache: decoder.step(
                ids, position, cache, memory
            ),
            cache,
            decoder.cache_shapes(),
            batch,
            config,
            specials["start"],
            specials["end"],
            tf.constant(banned),
        )
        best = options.n_best
        return {
            "ids": found.ids[:, :best],
            "lengths": found.lengths[:, :best],
            "scores": found.scores[:, :best],
        }

    def quick(self) -> "Seq2SeqTask":
        """Returns the task with greedy search, to be scored while it is
        trained.
        """
        options = dataclasses.replace(self.options, beam_size=1, n_best=1)
        made = type(self)(self.name, options, self.data, self.state)
        made.trained = self.trained
        return made

    # --- answers -----------------------------------------------------------

    def predictions(
        self,
        examples: Sequence[Pair],
        features: Features,
        outputs: Sequence[Mapping[str, Any]],
    ) -> list[Prediction]:
        """Returns `text` and `score`; `n_best` of them where there are several.

        A source without tokens gets an empty text and a score of 0.
        """
        found = []
        for length, output in zip(features.lengths, outputs):
            if length <= 2:
                best = [{"text": "", "score": 0.0}]
            else:
                best = [
                    {
                        "text": self._text(features.extra, ids[:count]),
                        "score": float(score),
                    }
                    for ids, count, score in zip(
                        output["ids"], output["lengths"], output["scores"]
                    )
                    if np.isfinite(score)
                ]
            prediction: Prediction = dict(best[0])
            if self.options.n_best > 1:
                prediction["n_best"] = best
            found.append(prediction)
        return found

    def _text(self, vocab: Vocab, ids: np.ndarray) -> str:
        skipped = set(vocab.special_ids) - {vocab.unk_id}
        return detokenize.join(
            [vocab.tokens[i] for i in ids if i not in skipped], self.spacing
        )

    def files(
        self,
        split: str,
        examples: Sequence[Pair],
        predictions: Sequence[Prediction],
    ) -> dict[str, bytes]:
        """Returns `texts.txt`, with a text on each line."""
        lines = (" ".join(p["text"].splitlines()) + "\n" for p in predictions)
        return {"texts.txt": "".join(lines).encode()}

    def constant(
        self, train: Sequence[Pair], held_out: Sequence[Pair]
    ) -> list[Prediction]:
        """Returns the source's first words, as many as targets have."""
        counts = [len(e.target.split()) for e in train if e.target]
        count = max(1, round(float(np.mean(counts)))) if counts else 1
        return [
            {"text": " ".join(example.source.split()[:count]), "score": 0.0}
            for example in held_out
        ]


class Translation(Seq2SeqTask):
    """Translates a text into another language.

    "translation" reads files, "translation/ted_hrlr_translate/pt_to_en" and
    the like sets of TensorFlow Datasets.
    """

    Options: ClassVar[type] = TranslationOptions
    metric = "bleu"

    def scores(
        self, examples: Sequence[Pair], predictions: Sequence[Prediction]
    ) -> dict[str, float]:
        """Returns corpus BLEU and chrF."""
        found = self._scored(examples, predictions)
        return {name: score.value for name, score in found.items()}

    def files(
        self,
        split: str,
        examples: Sequence[Pair],
        predictions: Sequence[Prediction],
    ) -> dict[str, bytes]:
        """Returns `texts.txt`, and `scores.json`: scores with their
        signatures.
        """
        made = super().files(split, examples, predictions)
        found = self._scored(examples, predictions)
        if found:
            content = {name: score._asdict() for name, score in found.items()}
            made["scores.json"] = f"{json.dumps(content, indent=1)}\n".encode()
        return made

    def _scored(
        self, examples: Sequence[Pair], predictions: Sequence[Prediction]
    ) -> dict[str, metrics.Score]:
        known = answered(examples, predictions)
        if known is None:
            return {}
        options = self.options
        lower_case = options.lower_case_scores
        return {
            "bleu": metrics.bleu(
                *known, self._language(), options.bleu_tokenizer, lower_case
            ),
            "chrf": metrics.chrf(*known, lower_case),
        }

    def _language(self) -> str | None:
        if self._set and self.options.target_language is None:
            builder = pairs.set_builder(self._set, self.data)
            return pairs.set_columns(self._set, builder)[1]
        return self.options.target_language


class AbstractiveSummarization(Seq2SeqTask):
    """Summarizes a document in new words.

    "abstractive_summarization" reads files, "abstractive_summarization/xsum"
    and the like sets of TensorFlow Datasets.
    """

    Options: ClassVar[type] = SummarizationOptions
    metric = "rougeL"

    def scores(
        self, examples: Sequence[Pair], predictions: Sequence[Prediction]
    ) -> dict[str, float]:
        """Returns mean F of ROUGE-1, -2 and -L."""
        known = answered(examples, predictions)
        return {} if known is None else metrics.rouge(*known, self.options.stem)


def answered(
    examples: Sequence[Pair], predictions: Sequence[Prediction]
) -> tuple[list[str], list[str | tuple[str, ...]]] | None:
    """Returns texts and references; None unless all examples have targets."""
    targets = [example.target for example in examples]
    if not targets or any(target is None for target in targets):
        return None
    references = [e.references or e.target or "" for e in examples]
    return [p["text"] for p in predictions], references
