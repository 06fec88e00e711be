"""What tasks that write texts have in common: data, loss, search."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.generation import beam_search
from electra_tf.models.decoder import DecoderConfig
from electra_tf.tasks.features import Features
from electra_tf.tasks.losses import smoothed_token_loss
from electra_tf.tasks.seq2seq import features as seq2seq_features
from electra_tf.tasks.seq2seq import pairs, tfds
from electra_tf.tasks.seq2seq.options import Seq2SeqOptions
from electra_tf.tasks.seq2seq.pairs import Pair
from electra_tf.tasks.task import Prediction, Task
from electra_tf.text import detokenize
from electra_tf.text.detokenize import Spacing
from electra_tf.text.tokenizer import Tokenizer
from electra_tf.text.vocab import Vocab

_log = logging.getLogger(__name__)


class Seq2SeqTask(Task):
    """Writes a text for a text, with a decoder on the encoder.

    `data` is a directory of tables or parallel files, or a table; a task
    named "family/set" reads that set of TensorFlow Datasets, with `data` its
    directory. In training a table without others is divided; a model that is
    there already is evaluated on all of it, unless it was trained on a part
    of that very file: then on the other part.
    """

    Options: ClassVar[type] = Seq2SeqOptions
    default_epochs = 20.0

    def __init__(
        self,
        name: str,
        options: Any = None,
        data: str | None = None,
        state: Mapping[str, Any] | None = None,
    ):
        super().__init__(name, options, data, state)
        self._set = name.partition("/")[2]
        self._trained = bool(state)

    # --- examples ----------------------------------------------------------

    def read(self, split: str) -> list[Pair] | None:
        """The pairs of a split; see `Task.read`."""
        if split not in ("train", "validation", "test"):
            return None
        fraction = self.options.validation_fraction
        if self._set:
            found = self._read_set(split)
            if split != "test" and fraction and not self._has_validation():
                found = self._read_set("train")
                return self._part(found or [], split, fraction)
            return found
        whole = self._whole_file()
        if whole is not None:
            if split != "validation":
                return None
            found = pairs.read(whole, self.options, paired=True)
            divided = whole.fingerprint() == self.state.get("divided")
            if divided:
                return self._part(found, split, fraction)
            return found
        source = pairs.find(self.data, self.options, split)
        if source is not None:
            found = pairs.read(source, self.options, paired=split != "test")
            if split != "train" or not fraction or self._has_validation():
                return found
            self.state["divided"] = source.fingerprint()
            return self._part(found, split, fraction)
        if split == "train":
            raise pairs.nothing_to_train_on(self.data, self.options)
        train = None
        if split == "validation" and fraction:
            train = pairs.find(self.data, self.options, "train")
        if train is None:
            return None
        found = pairs.read(train, self.options, paired=True)
        return self._part(found, split, fraction)

    def _read_set(self, split: str) -> list[Pair] | None:
        return tfds.read(self._set, split, self.data)

    def _has_validation(self) -> bool:
        if self._set:
            known = tfds.builder_of(self._set, self.data).info.splits
            return not known or "validation" in known
        return pairs.find(self.data, self.options, "validation") is not None

    def _whole_file(self) -> pairs.Source | None:
        """The table that a trained model is evaluated on."""
        if not self._trained or self.data is None:
            return None
        if not files.exists(self.data) or files.is_directory(self.data):
            return None
        return pairs.Source(self.data)

    def _part(
        self, found: Sequence[Pair], split: str, fraction: float
    ) -> list[Pair]:
        wanted = split == "validation"
        return [p for p in found if pairs.held_out(p, fraction) == wanted]

    def fit(self, examples: Sequence[Pair]) -> None:
        """How the targets space their punctuation."""
        found = detokenize.learn(e.target for e in examples if e.target)
        self.state["spacing"] = [sorted(side) for side in found]

    @property
    def spacing(self) -> Spacing:
        """Of the targets, as `fit` found it."""
        sides = self.state.get("spacing")
        return detokenize.USUAL if sides is None else Spacing(
            *map(frozenset, sides)
        )  # fmt: skip

    def example(self, record: Mapping[str, Any], place: str) -> Pair:
        """From the source's column, or from `text`."""
        column = self.options.source_column
        if column not in record and "text" in record:
            record = {column: record["text"]}
        return pairs.pair(
            {column: record[column]} if column in record else record,
            place, self.options, paired=False,
        )  # fmt: skip

    def record(self, item: Any) -> Mapping[str, Any]:
        """A text, or a mapping with one."""
        if isinstance(item, str):
            return {self.options.source_column: item}
        if isinstance(item, Mapping):
            return item
        raise UserError(f"expected a text or a mapping, got {item!r:.60}")

    # --- the model's side --------------------------------------------------

    def head(self) -> DecoderConfig:  # type: ignore[override]
        """A decoder."""
        return DecoderConfig(
            num_layers=self.options.decoder_layers,
            from_encoder=self.options.from_encoder,
        )

    def features(
        self, tokenizer: Tokenizer, examples: Sequence[Pair], training: bool
    ) -> Features:
        """Sources, in training with targets; empty ones are left out then."""
        options = self.options
        if not training:
            made = seq2seq_features.source_rows(
                tokenizer,
                [example.source for example in examples],
                options.max_seq_length,
            )
            return dataclasses.replace(made, extra=tokenizer.vocab)
        self.state["specials"] = seq2seq_features.specials(tokenizer.vocab)
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
        made = seq2seq_features.source_rows(
            tokenizer,
            [examples[i].source for i in chosen],
            options.max_seq_length,
        )
        targets = seq2seq_features.target_rows(
            tokenizer,
            [examples[i].target for i in chosen],
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
        """The target as far as it is given: without its last token."""
        return {"target_ids": batch["target_ids"][:, :-1]}

    def loss(self, outputs: Any, batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """[B], of all tokens of a target, over the mean target's length.

        So every token weighs the same, whatever stands beside it in a batch.
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
        """None: `infer` searches with the network."""
        raise NotImplementedError("what is written takes the whole network")

    def infer(
        self,
        network: Any,
        input_ids: tf.Tensor,
        input_mask: tf.Tensor,
        segment_ids: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        """The best hypotheses of each row.

        Returns:
          `ids` int32 [B, n_best, T], `lengths` int32 [B, n_best] and `scores`
          float32 [B, n_best].

        Raises:
          UserError: longer targets than the model has positions for.
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
        """Scored while trained by the best token at each step."""
        options = dataclasses.replace(self.options, beam_size=1, n_best=1)
        made = type(self)(self.name, options, self.data, self.state)
        made._trained = self._trained
        return made

    # --- answers -----------------------------------------------------------

    def predictions(
        self,
        examples: Sequence[Pair],
        features: Features,
        outputs: Sequence[Mapping[str, Any]],
    ) -> list[Prediction]:
        """`text` and `score`; `n_best` of them where there are several.

        For a source without tokens an empty text, with a score of 0.
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
        """`texts.txt`, a text a line."""
        lines = (" ".join(p["text"].splitlines()) + "\n" for p in predictions)
        return {"texts.txt": "".join(lines).encode()}

    def constant(
        self, train: Sequence[Pair], held_out: Sequence[Pair]
    ) -> list[Prediction]:
        """The first words of the source, as many as targets have."""
        counts = [len(e.target.split()) for e in train if e.target]
        count = max(1, round(float(np.mean(counts)))) if counts else 1
        return [
            {"text": " ".join(example.source.split()[:count]), "score": 0.0}
            for example in held_out
        ]


def answered(
    examples: Sequence[Pair], predictions: Sequence[Prediction]
) -> tuple[list[str], list[str]] | None:
    """Texts and references; None unless every example has its target."""
    targets = [example.target for example in examples]
    if not targets or any(target is None for target in targets):
        return None
    return [p["text"] for p in predictions], [t or "" for t in targets]
