"""What `pretrain` and `evaluate-pretraining` share: settings, data, model."""

import dataclasses
import hashlib
import json
from typing import Any

import tensorflow as tf

from electra_tf import files
from electra_tf.data import manifest, reader
from electra_tf.data import packing as data_packing
from electra_tf.errors import UserError
from electra_tf.models import flops, fused_attention
from electra_tf.models.config import ModelConfig
from electra_tf.pretraining import packing
from electra_tf.pretraining.assembly import encoders_of
from electra_tf.pretraining.masking import MaskingConfig, SpecialIds
from electra_tf.pretraining.pretrainer import ElectraPretrainer, GeneratorConfig
from electra_tf.pretraining.settings import ObjectiveConfig
from electra_tf.text import segment
from electra_tf.text.vocab import Vocab, load_vocab
from electra_tf.training import precision
from electra_tf.training.optimizer import make_optimizer
from electra_tf.training.settings import ComputeConfig, TrainConfig
from electra_tf.training.workers import WHOLE, Share


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """How the examples are read."""

    shuffle: bool = True  # files and examples, anew in each epoch
    # Several examples a row, where they are short: the same losses sooner.
    # train.batch_size goes on counting examples.
    pack_examples: bool = False


@dataclasses.dataclass(frozen=True)
class PretrainTrainConfig(TrainConfig, ComputeConfig):
    """The section `train`: how long, how, and by what the model computes."""


@dataclasses.dataclass(frozen=True)
class PretrainSettings:
    """All that a file in configs/pretrain/ may say."""

    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    generator: GeneratorConfig = dataclasses.field(
        default_factory=GeneratorConfig
    )
    masking: MaskingConfig = dataclasses.field(default_factory=MaskingConfig)
    objective: ObjectiveConfig = dataclasses.field(
        default_factory=ObjectiveConfig
    )
    train: PretrainTrainConfig = dataclasses.field(
        default_factory=PretrainTrainConfig
    )
    data: DataConfig = dataclasses.field(default_factory=DataConfig)


@dataclasses.dataclass(frozen=True)
class PretrainData:
    """A directory or glob of examples, and what is known of it."""

    source: str
    vocab: Vocab
    max_seq_length: int
    lower_case: bool
    strip_accents: bool | None
    held_out: bool  # whether there is a validation split
    fingerprint: str  # of the examples, as far as their counts tell
    skip_corrupt: bool = False  # leave damaged records out and go on
    word_starts: bool = False  # whether they say where words begin

    @property
    def special(self) -> SpecialIds:
        """What masking has to know of the vocabulary."""
        vocab = self.vocab
        return SpecialIds(
            vocab.cls_id, vocab.sep_id, vocab.mask_id, vocab.continues
        )

    def training(
        self,
        settings: PretrainSettings,
        start_step: int,
        share: Share = WHOLE,
        replicas: int = 1,
    ) -> tf.data.Dataset:
        """Endless batches from a step on; of several workers, one's share.

        Args:
          settings: of the run.
          start_step: the first batch's.
          share: this worker's.
          replicas: of this worker, which share its batches.
        """
        batch_size = settings.train.batch_size
        rows_by = None
        if settings.data.pack_examples:
            rows_by = replicas * settings.train.gradient_accumulation
        return reader.pretraining_dataset(
            self.source,
            batch_size=batch_size,
            max_seq_length=self.max_seq_length,
            seed=settings.train.seed,
            start_example=start_step * batch_size,
            shuffle=settings.data.shuffle,
            num_shards=share.count,
            shard_index=share.index,
            skip_corrupt=self.skip_corrupt,
            pack_rows_by=rows_by,
        )

    def validation(
        self, batch_size: int, share: Share = WHOLE
    ) -> tf.data.Dataset:
        """One pass over the held-out examples, or a share of each batch."""
        return reader.pretraining_dataset(
            self.source,
            split="validation",
            batch_size=batch_size,
            max_seq_length=self.max_seq_length,
            shuffle=False,
            repeat=False,
            num_shards=share.count,
            shard_index=share.index,
            drop_remainder=False,
            skip_corrupt=self.skip_corrupt,
        )


def open_data(
    source: str,
    vocab_path: str | None,
    skip_corrupt: bool = False,
    lower_case: bool = True,
    strip_accents: bool | None = None,
) -> PretrainData:
    """Looks at the examples; the vocabulary beside them is the default one.

    Args:
      source: made by build-data; or TFRecords of the original, which need
        `vocab_path`.
      vocab_path: the run's vocabulary, checked against the data's.
      skip_corrupt: leave damaged records out.
      lower_case: how text was treated, where no manifest tells.
      strip_accents: the same; None as lower_case.

    Raises:
      UserError: no examples, no vocabulary, or two that differ.
    """
    if not manifest.is_finished(source):
        # Explains what is missing, if it is.
        found = reader.find_examples(source, skip_corrupt=skip_corrupt)
        if vocab_path is None:
            raise UserError(
                f"--vocab: {source} has no {manifest.FILE}, so it does not "
                "say which vocabulary made it; give the file"
            )
        example = tf.train.Example.FromString(found.first_record())
        ids = example.features.feature["input_ids"].int64_list.value
        vocab = load_vocab(vocab_path)
        if max(ids) >= len(vocab):
            raise UserError(
                f"{source} holds token id {max(ids)}, but {vocab_path} has "
                f"only {len(vocab)} tokens; give the vocabulary the data was "
                "built with"
            )
        return PretrainData(
            source,
            vocab,
            len(ids),
            lower_case,
            strip_accents,
            held_out=False,
            fingerprint=_fingerprint(found.counts),
            skip_corrupt=skip_corrupt,
            word_starts="word_starts" in example.features.feature,
        )
    about = manifest.load_manifest(source)
    vocab = load_vocab(vocab_path or files.join(source, manifest.VOCAB_FILE))
    manifest.check_vocab(about, vocab)
    split = about.splits.get("validation")
    return PretrainData(
        source,
        vocab,
        about.max_seq_length,
        about.lower_case,
        about.strip_accents,
        held_out=split is not None and split.examples > 0,
        fingerprint=_fingerprint(dataclasses.asdict(about)),
        skip_corrupt=skip_corrupt,
        word_starts="word_segmenter" in about.settings,
    )


def _fingerprint(description: Any) -> str:
    text = json.dumps(description, sort_keys=True)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def fit_to_data(
    settings: PretrainSettings, data: PretrainData
) -> PretrainSettings:
    """The settings with the data's vocabulary size, checked against the data.

    Raises:
      UserError: a vocabulary size or position count that cannot be; words
        are to be masked where every token is one; examples are to be packed
        for a generator that reads across the ends of a row.
    """
    if settings.data.pack_examples and settings.generator.wrap_around:
        raise UserError(
            "data.pack_examples, generator.wrap_around: what is beyond the end "
            "of an example is another one then; set one of them to false"
        )
    if settings.masking.unit == "whole_word" and not data.word_starts:
        segment.check_pieces(data.vocab, data.source)
    model, size = settings.model, len(data.vocab)
    if model.vocab_size not in (ModelConfig.vocab_size, size):
        raise UserError(
            f"model.vocab_size is {model.vocab_size}, the vocabulary has "
            f"{size} tokens; leave the key out"
        )
    if data.max_seq_length > model.max_positions:
        raise UserError(
            f"the data's sequences have {data.max_seq_length} tokens, "
            f"model.max_positions is {model.max_positions}; raise it, or "
            "build the data with a smaller --max_seq_length"
        )
    model = dataclasses.replace(model, vocab_size=size)
    return dataclasses.replace(settings, model=model)


def costs(
    settings: PretrainSettings, max_seq_length: int, rows: float | None = None
) -> flops.Costs:
    """Parameters and FLOPs of the run, in the paper's accounting.

    Args:
      settings: of the run.
      max_seq_length: L.
      rows: of a batch, [rows, L]; one an example where None.
    """
    packed = settings.data.pack_examples
    return flops.pretraining_costs(
        settings.model,
        settings.generator,
        seq_length=max_seq_length,
        predictions=packing.slots(
            settings.masking,
            max_seq_length,
            data_packing.places(max_seq_length) if packed else 1,
        ),
        batch_size=rows or settings.train.batch_size,
        num_train_steps=settings.train.num_train_steps,
        objective=settings.objective.kind,
        two_stage_steps=settings.objective.two_stage_steps,
    )


def build_model(
    settings: PretrainSettings, special: SpecialIds
) -> ElectraPretrainer:
    """A compiled pre-trainer; call it in `strategy.scope()`.

    Raises:
      UserError: attention as no device here, or no such model, computes it.
    """
    train = settings.train
    fused_attention.check(train.attention, settings.model.attention_dropout)
    with precision.policy(train.precision):
        model = ElectraPretrainer(
            settings.model,
            settings.generator,
            settings.masking,
            settings.objective,
            special,
            seed=train.seed,
            gradient_accumulation=train.gradient_accumulation,
        )
    for encoder in encoders_of(model.generator, model.discriminator):
        encoder.recompute = train.recompute
        encoder.attention = train.attention
    optimizer = make_optimizer(train, train.num_train_steps)
    model.compile(precision.scaled(optimizer, train.precision))
    return model
