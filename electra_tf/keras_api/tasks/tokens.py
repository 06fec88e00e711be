"""Defines what models of pre-trained heads share: masking in training."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras
import tensorflow as tf

from electra_tf import config as configs
from electra_tf.errors import UserError
from electra_tf.files import AnyPath
from electra_tf.finetuning.fine_tuner import StepPlan
from electra_tf.generation import loading
from electra_tf.hub import config as directory_configs
from electra_tf.hub import pretrained
from electra_tf.hub.checkpoint import Part
from electra_tf.hub.config import DirectoryConfig
from electra_tf.keras_api.data import special_ids
from electra_tf.keras_api.tasks import given, inputs, streams
from electra_tf.keras_api.tasks.base import TaskModel
from electra_tf.models import randomness, task_networks
from electra_tf.pretraining import masking
from electra_tf.pretraining.settings import MaskingConfig
from electra_tf.tasks.batches import longest
from electra_tf.tasks.features import Features
from electra_tf.tasks.task import Task
from electra_tf.tasks.texts.task import pair_rows
from electra_tf.text.tokenizer import Tokenizer as GraphTokenizer
from electra_tf.text.vocab import Vocab

# Stream of an example's random keys, apart from dropout's.
_MASK = 7001


@dataclasses.dataclass(frozen=True)
class _Options:
    max_seq_length: int


class _Texts:
    """Stands in for a task: rows of one text each."""

    state: ClassVar[dict[str, Any]] = {}

    def __init__(self, name: str, max_seq_length: int):
        self.name = name
        self.options = _Options(max_seq_length)

    def head(self) -> None:
        """Refuses: there is no head of fine-tuning."""

    def features(
        self, tokenizer: GraphTokenizer, examples: Sequence[str], training: bool
    ) -> Features:
        """Returns rows `[CLS] text [SEP]`, truncated; see `Task.features`."""
        length = self.options.max_seq_length
        return pair_rows(tokenizer, examples, None, length)


@dataclasses.dataclass(frozen=True)
class _Start:
    """Stands in for `finetuning.start.Start` with a pre-trained network."""

    network: Any
    vocab: Vocab
    config: DirectoryConfig
    checkpoint: Any = None

    @property
    def lower_case(self) -> bool:
        return self.config.lower_case

    @property
    def strip_accents(self) -> bool | None:
        return self.config.strip_accents

    def build(self, head: None) -> tuple[Any, Any]:
        return self.network, getattr(self.network, "load_report", None)


class TokenModel(TaskModel):
    """Trains on texts that are masked differently in each step."""

    part: ClassVar[Part]
    what: ClassVar[str]
    # Attributes: the metrics, unless others are compiled.
    usual_metrics: ClassVar[tuple[str, ...]] = ("accuracy",)

    def __init__(
        self,
        network: Any,
        *,
        masking: MaskingConfig,
        max_seq_length: int,
        seed: int = 42,
        dtype: Any = None,
        name: str | None = None,
    ):
        """Takes a network; users call `from_pretrained`.

        Args:
          network: a built network of `hub.pretrained`, with its tokenizer.
          masking: settings of masking.
          max_seq_length: tokens of a row.
          seed: seed of masks, dropout and the order of rows.
          dtype: see `CompiledTask`.
          name: name of the model.
        """
        vocab = network.tokenizer.vocab
        start: Any = _Start(network, vocab, network.directory_config)
        task: Any = _Texts(self.what, max_seq_length)
        super().__init__(
            task, start, learned=True, seed=seed, dtype=dtype, name=name
        )
        self.masking = masking
        self.accuracy = keras.metrics.Mean(name="accuracy")

    @classmethod
    def takes(cls, task: Task) -> bool:
        """See `SavedTask.takes`: it supports no task."""
        return False

    def read(self, x: Any, y: Any = None) -> list[Any]:
        """See `CompiledTask.read`; the texts are the answers."""
        if y is not None:
            raise UserError(
                f"y: {type(self).__name__} learns from texts alone; leave it "
                "out"
            )
        first, second = inputs.texts(x)
        if second is not None:
            raise UserError("x: expected texts by themselves, got pairs")
        return list(first)

    def has_answers(self, x: Any, y: Any) -> bool:
        """See `TaskModel.has_answers`: the texts are the answers."""
        return True

    def _held_out(
        self, data: Any, batch_size: int | None
    ) -> tf.data.Dataset | None:
        """Reads held-out data without y: a list contains texts, not x and y."""
        forms = (*inputs.STREAMS, given.HeldOut, tuple)
        if isinstance(data, forms) or data is None:
            return super()._held_out(data, batch_size)
        return super()._held_out((data,), batch_size)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The loss, then the compiled metrics, or else the default ones."""
        found = super().metrics
        if not self._has_metrics:
            return found
        usual = [id(getattr(self, name)) for name in self.usual_metrics]
        return [metric for metric in found if id(metric) not in usual]

    def scores(self, x: Any, y: Any = None) -> dict[str, float]:
        """Computes loss and accuracy of masked copies of texts.

        Args:
          x: texts, or a dataset of them.
          y: not used.
        """
        del y
        return self.evaluate(x, verbose=0, return_dict=True)

    def rates(self, decay: float) -> Any:
        """See `CompiledTask.rates`: by default all layers have the same."""
        assert self._train is not None
        own = self._train.layerwise_lr_decay or 1.0
        share = task_networks.layer_rates(own, self.network.config.num_layers)
        return lambda path: 1.0 if "/head/" in path else share(path)

    def _steps_planned(
        self, features: Features, batch_size: int, steps: int
    ) -> StepPlan:
        """Plans steps; masking needs rows of one length."""
        plan = super()._steps_planned(features, batch_size, steps)
        multiple = max(plan.pad_to_multiple, longest(features))
        return dataclasses.replace(plan, pad_to_multiple=multiple)

    def masked(
        self, batch: Mapping[str, tf.Tensor], keys: tf.Tensor | None
    ) -> tuple[masking.MaskedBatch, tf.Tensor]:
        """Masks a batch.

        Args:
          batch: rows; those of different lengths are padded.
          keys: random keys, [B] uint32; None derives them from positions in the
            batch.

        Returns:
          The masked batch, and the keys.
        """
        if keys is None:
            places = tf.range(tf.shape(batch["input_ids"])[0])
            keys = randomness.example_keys(tf.cast(places, tf.int64), self.seed)
        pad = {"input_ids": self.tokenizer.vocab.pad_id}
        fixed = {
            name: _fixed(
                batch[name],
                self.task.options.max_seq_length,
                pad.get(name, 0),
            )
            for name in ("input_ids", "input_mask", "segment_ids")
        }
        special = special_ids(self.tokenizer.vocab)
        salted = randomness.salted(keys, _MASK)
        return masking.mask(fixed, self.masking, special, salted), keys

    def save_pretrained(self, path: AnyPath) -> None:
        """Writes the network as a model directory.

        Args:
          path: the directory; an existing model is replaced.

        Raises:
          UserError: the directory cannot be written.
        """
        self.network.save_pretrained(path)

    def get_config(self) -> dict[str, Any]:
        """Returns what makes the model again, except its weights."""
        config = {
            "directory": directory_configs.to_json(
                self.network.directory_config
            ),
            **self.start.vocab.to_config(),
            "masking": configs.to_dict(self.masking),
            "max_seq_length": self.task.options.max_seq_length,
            **self._adaptations(),
            "seed": self.seed,
            "dtype": self.dtype_policy.name,
            "name": self.name,
        }
        return json.loads(json.dumps(config))

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None):
        """Makes the model from a config, with weights to be loaded.

        Args:
          config: result of `get_config`.
          custom_objects: not used.
        """
        del custom_objects
        kept = (
            "directory", "vocab", "added_tokens", "lora", "trained_parts",
        )  # fmt: skip
        values = {n: value for n, value in config.items() if n not in kept}
        directory, vocab = config["directory"], Vocab.from_config(config)
        network = blank_network(directory, vocab, cls.part, values["dtype"])
        values["masking"] = configs.from_dict(
            MaskingConfig, values["masking"], where="masking"
        )
        made = cls(network, **values)
        made._adapt(config)
        return made

    def described(self) -> str:
        """Describes the model's purpose."""
        return self.what


def blank_network(
    directory: dict[str, Any], vocab: Vocab, part: Part, dtype: str
) -> Any:
    """Makes a network whose weights are loaded next.

    Args:
      directory: content of its config.json.
      vocab: its vocabulary.
      part: "generator" or "discriminator".
      dtype: dtype of its computations.
    """
    config = directory_configs.from_json(directory, "the file")
    return pretrained.of_config(config, vocab, part, dtype)


def masking_of(
    given: Mapping[str, Any] | MaskingConfig | None, mask_prob: float | None
) -> MaskingConfig:
    """Parses the arguments of `from_pretrained` about masking.

    Args:
      given: settings, or changes to the defaults.
      mask_prob: share of the tokens to mask; overrides `given`.

    Raises:
      UserError: a setting is unknown, or a value out of bounds.
    """
    found = configs.resolve(MaskingConfig, given)
    if mask_prob is not None:
        found = dataclasses.replace(found, mask_prob=mask_prob)
    return found


def _fixed(values: tf.Tensor, length: int, padding: int) -> tf.Tensor:
    """Returns values with a static length; an unknown one is padded."""
    if values.shape[1] is not None:
        return values
    more = length - tf.shape(values)[1]
    values = tf.pad(values, [[0, 0], [0, more]], constant_values=padding)
    return tf.ensure_shape(values, [None, length])


def per_row(
    loss: tf.Tensor, weights: tf.Tensor, batch: Mapping[str, tf.Tensor]
) -> tf.Tensor:
    """Returns losses of rows, [B], whose mean is that over all tokens.

    Args:
      loss: losses of tokens, [B, N].
      weights: weights of tokens, [B, N].
      batch: the batch; its `sample_weight` [B] is applied, if there is one.
    """
    if streams.WEIGHT in batch:
        loss *= batch[streams.WEIGHT][:, tf.newaxis]
    count = tf.cast(tf.shape(loss)[0], tf.float32)
    total = tf.maximum(tf.reduce_sum(weights), 1.0)
    return tf.reduce_sum(loss * weights, axis=1) * count / total


def check_vocab(path: AnyPath, network: Any) -> None:
    """Refuses a network that was loaded without a vocabulary.

    Args:
      path: where it was loaded from.
      network: out of `hub.pretrained`.

    Raises:
      UserError: the network has no tokenizer.
    """
    if network.tokenizer is None:
        raise UserError(f"{path}: has no vocabulary beside it; give vocab=FILE")


def row_length(network: Any, asked: int | None) -> int:
    """Returns the number of tokens of a row.

    Args:
      network: out of `hub.pretrained`.
      asked: the wanted number; None takes 128, or the model's positions if
        fewer.

    Raises:
      UserError: the model has fewer positions.
    """
    there = network.config.max_positions
    if asked is None:
        return min(128, there)
    if not loading.SPECIALS < asked <= there:
        raise UserError(
            f"max_seq_length: {asked}; expected {loading.SPECIALS + 1} to "
            f"{there}, the model's positions"
        )
    return asked
