"""Defines the start of fine-tuning: a checkpoint, or random weights."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras

from electra_tf.errors import UserError
from electra_tf.files import AnyPath
from electra_tf.hub import bert, loading
from electra_tf.hub import checkpoint as checkpoints
from electra_tf.hub.checkpoint import Checkpoint, Lazy, Report, shapes_of
from electra_tf.hub.config import DirectoryConfig
from electra_tf.models import task_networks
from electra_tf.models.config import ModelConfig
from electra_tf.models.task_heads import TaskHeadConfig
from electra_tf.models.task_networks import Seq2Seq
from electra_tf.prediction import task_of_model
from electra_tf.text.tokenizer import Tokenizer
from electra_tf.text.vocab import Vocab, load_vocab

# Dropout in fine-tuning, whatever pre-training used (paper, appendix B).
_DROPOUT = {"hidden_dropout": 0.1, "attention_dropout": 0.1}
_HEAD = "task/"


@dataclasses.dataclass(frozen=True)
class Start:
    """An encoder to start from, with vocabulary and settings.

    Attributes:
      config: its shape, with the dropout of fine-tuning.
      vocab: its vocabulary.
      lower_case: setting of the tokenizer.
      strip_accents: setting of the tokenizer; None as `lower_case`.
      checkpoint: the weights, of only a discriminator; None for random ones.
      new_head: whether to start with a new head even if one fits.
      source: the given path, or None.
    """

    config: ModelConfig
    vocab: Vocab
    lower_case: bool
    strip_accents: bool | None
    checkpoint: Checkpoint | None = None
    new_head: bool = False
    source: str | None = None

    def tokenizer(self) -> Tokenizer:
        """Makes the model's tokenizer."""
        return Tokenizer(self.vocab, self.lower_case, self.strip_accents)

    def continues_with(self, head: TaskHeadConfig) -> bool:
        """Returns whether the checkpoint's head is used."""
        if self.checkpoint is None or self.new_head:
            return False
        there = self.checkpoint.config.task
        return there is not None and task_of_model.fits(there, head)

    def has_pooler_for(self, head: TaskHeadConfig) -> bool:
        """Returns whether a new head's hidden layer starts from a pooler.

        The checkpoint is then BERT's, and the hidden layer has tanh, as the
        pooler does.
        """
        return (
            self.checkpoint is not None
            and bool(self.checkpoint.pooler)
            and not self.continues_with(head)
            and head.hidden_layer
            and head.hidden_activation == "tanh"
        )

    def build(self, head: TaskHeadConfig) -> tuple[keras.Model, Report | None]:
        """Builds the network with its initial weights; call it in a scope.

        Random weights depend on Keras' global seed.

        Returns:
          The network, and the load report; None where all weights are random.

        Raises:
          UserError: the weights do not fit.
        """
        network = task_networks.task_network(self.config, head)
        network.build()
        if self.checkpoint is None:
            return network, None
        checkpoint = self.checkpoint
        if not self.continues_with(head):
            checkpoint = _without_head(checkpoint)
        if self.has_pooler_for(head):
            checkpoint = _with_pooler(checkpoint)
        report = loading.assign(network, checkpoint)
        if isinstance(network, Seq2Seq) and not self.continues_with(head):
            network.start_head()
        return network, report

    def describe(self, head: TaskHeadConfig) -> str:
        """Describes in a sentence where encoder and head come from."""
        if self.checkpoint is None:
            shape = f" (shape and vocabulary of {self.source})"
            return "random weights" + (shape if self.source else "")
        step = self.checkpoint.config.step
        text = f"{self.source}" + (f", at step {step:,}" if step else "")
        if self.continues_with(head):
            return f"{text}, which has this head already; its weights are kept"
        new = "a new head"
        if self.has_pooler_for(head):
            new += " on its pooler"
        if self.checkpoint.config.task is not None:
            why = "asked for" if self.new_head else "the one there differs"
            return f"{text}, with {new} ({why})"
        return f"{text}, with {new}"

    def directory_config(
        self,
        head: TaskHeadConfig,
        step: int,
        fine_tuning: dict[str, Any],
    ) -> DirectoryConfig:
        """Returns the content of the fine-tuned model's config.json."""
        return DirectoryConfig(
            discriminator=self.config,
            generator=None,
            lower_case=self.lower_case,
            strip_accents=self.strip_accents,
            vocab_fingerprint=self.vocab.fingerprint(),
            step=step,
            replaced_token_head=False,
            token_lm_head=False,
            task=head,
            fine_tuning=fine_tuning,
        )


def from_checkpoint(
    path: str,
    model: Any,
    *,
    vocab: AnyPath | None = None,
    overrides: Mapping[str, str] | None = None,
    random_weights: bool = False,
    new_head: bool = False,
) -> Start:
    """Starts from a checkpoint of any format.

    Args:
      path: a directory, a run, a TF1 prefix or a handle; a lone generator's
        encoder is used.
      model: `settings.ModelSettings`; dropout, and what the source does not
        say.
      vocab: a vocabulary file in place of the source's.
      overrides: other settings of the source, as `lower_case`.
      random_weights: whether to take only its shape and vocabulary.
      new_head: see `Start`.

    Raises:
      UserError: the checkpoint is missing, damaged or without vocabulary; or
        settings do not fit.
    """
    given = _given(model)
    if "size" in given:
        raise UserError(
            "model.size: is for a new model; leave it out, or --model"
        )
    overrides = dict(overrides or {})
    for key, value in given.items():
        overrides[f"model.{key}"] = _yaml(value)
    checkpoint = _encoder_of(loading.open_checkpoint(path, overrides, vocab))
    if checkpoint.vocab is None:
        raise UserError(f"{path}: no vocabulary beside it; give --vocab=FILE")
    config = checkpoint.config
    assert config.discriminator is not None  # from `_encoder_of`
    return Start(
        config=dataclasses.replace(
            config.discriminator,
            **{k: given.get(k, rate) for k, rate in _DROPOUT.items()},
        ),
        vocab=checkpoint.vocab,
        lower_case=config.lower_case,
        strip_accents=config.strip_accents,
        checkpoint=None if random_weights else checkpoint,
        new_head=new_head,
        source=path,
    )


def from_random(
    model: Any,
    vocab: str | None,
    lower_case: bool = True,
    strip_accents: bool | None = None,
) -> Start:
    """Starts from random weights.

    Args:
      model: `settings.ModelSettings`, the shape; by default ELECTRA-Small's.
      vocab: a vocabulary file.
      lower_case: setting of the tokenizer.
      strip_accents: how the tokenizer is set.

    Raises:
      UserError: there is no vocabulary, or the shape is not valid.
    """
    if vocab is None:
        raise UserError(
            "--model: name a checkpoint to start from; or, for random "
            "weights, give --vocab=FILE and a model section (model.size)"
        )
    loaded = load_vocab(vocab)
    given = _given(model)
    if given.get("vocab_size", len(loaded)) != len(loaded):
        raise UserError(
            f"model.vocab_size: {given['vocab_size']}, but {vocab} has "
            f"{len(loaded)} tokens; set it to that, or give the vocabulary "
            "that these settings were made with"
        )
    given["vocab_size"] = len(loaded)
    config = ModelConfig.of_size(given.pop("size", "small"), **given)
    return Start(config, loaded, lower_case, strip_accents)


def _given(model: Any) -> dict[str, Any]:
    values = {f.name: getattr(model, f.name) for f in dataclasses.fields(model)}
    return {name: value for name, value in values.items() if value is not None}


def _yaml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _encoder_of(checkpoint: Checkpoint) -> Checkpoint:
    """Returns the checkpoint as a discriminator's, with its head if any."""
    config = checkpoint.config
    alone = config.discriminator is None and config.generator is not None
    if not alone or config.is_two_tower:
        return checkpoints.select(checkpoint, "discriminator")
    checkpoint = checkpoints.select(checkpoint, "generator")
    weights, found = checkpoint.weights, shapes_of(checkpoint.weights)
    there = {
        name.replace("generator/encoder/", "discriminator/encoder/"): name
        for name in found
        if not name.startswith("generator/head/")
    }
    config = dataclasses.replace(
        checkpoint.config,
        discriminator=checkpoint.config.generator,
        generator=None,
        replaced_token_head=False,
        token_lm_head=False,
    )
    return dataclasses.replace(
        checkpoint,
        config=config,
        weights=Lazy(
            lambda name: weights[there[name]],
            {ours: found[name] for ours, name in there.items()},
        ),
        slots=None,
    )


def _without_head(checkpoint: Checkpoint) -> Checkpoint:
    weights, found = checkpoint.weights, shapes_of(checkpoint.weights)
    return dataclasses.replace(
        checkpoint,
        config=dataclasses.replace(
            checkpoint.config, task=None, fine_tuning=None
        ),
        weights=Lazy(
            lambda name: weights[name],
            {n: s for n, s in found.items() if not n.startswith(_HEAD)},
        ),
    )


def _with_pooler(checkpoint: Checkpoint) -> Checkpoint:
    """Adds BERT's pooler to the weights, as the head's hidden layer."""
    weights, pooler = checkpoint.weights, checkpoint.pooler
    return dataclasses.replace(
        checkpoint,
        weights=Lazy(
            lambda name: pooler[name] if name in pooler else weights[name],
            {**shapes_of(weights), **shapes_of(pooler)},
        ),
        leftover=tuple(
            name for name in checkpoint.leftover if not bert.is_pooler(name)
        ),
    )
