"""Loads networks from checkpoints, and saves them."""

import contextlib
import dataclasses
import logging
from collections.abc import Mapping
from typing import Any, TypeVar

import keras

from electra_tf.errors import UserError
from electra_tf.files import AnyPath
from electra_tf.hub import directory, loading
from electra_tf.hub.aside import written_aside
from electra_tf.hub.checkpoint import Checkpoint, Part, Report, select
from electra_tf.hub.config import DirectoryConfig, from_json, to_json
from electra_tf.models import encoder, initial, networks, task_networks
from electra_tf.models.config import ModelConfig
from electra_tf.models.saved import Saved
from electra_tf.registration import registered
from electra_tf.text.tokenizer import Tokenizer
from electra_tf.text.vocab import Vocab

_log = logging.getLogger(__name__)

# Warnings that were already given.
_logged: set[tuple[str, tuple[str, ...], tuple[str, ...]]] = set()

M = TypeVar("M", bound="_Pretrained")


class _Pretrained(Saved):
    """Loading and saving for the networks below.

    The result of `from_pretrained` also has a `tokenizer` (None where the
    checkpoint has no vocabulary), the `directory_config` and the `load_report`.
    """

    tokenizer: Tokenizer | None = None
    """The tokenizer of the checkpoint; None where it has no vocabulary."""
    directory_config: DirectoryConfig | None = None
    load_report: Report = Report("a file of Keras", ())
    """What was taken from the checkpoint, assumed, left over and made anew."""
    _part: Part = "discriminator"
    scope: str

    @classmethod
    def from_pretrained(
        cls: type[M],
        path: AnyPath,
        *,
        vocab: AnyPath | Vocab | None = None,
        overrides: Mapping[str, Any] | None = None,
        dtype: str | keras.DTypePolicy | None = None,
        name: str | None = None,
        load_weights: bool = True,
    ) -> M:
        """Loads the network from a checkpoint of any format.

        Args:
          path: a model directory or finished run of ours, a Hugging Face
            directory, a KerasHub preset, a TF1 checkpoint; local, remote, or
            a handle: `hf://org/name`, `kaggle://...`.
          vocab: a vocabulary, or its file, where the checkpoint has none.
          overrides: settings that the source does not say, as
            `{"model.num_heads": 4}`; see `hub.config.parse`.
          dtype: dtype of its computations, as "mixed_bfloat16"; None for the
            global policy.
          name: name of the network, in a model that contains it; None for a
            unique name.
          load_weights: whether to load the weights; if not, the network has the
            same shape and random weights.

        Raises:
          UserError: the checkpoint is missing, incomplete, or lacks this
            network.
        """
        checkpoint = select(
            loading.open_checkpoint(path, overrides, vocab), cls._part
        )
        options = {"name": name or _own_name(cls.scope), "dtype": dtype}
        # Loaded variables need no random initialisation; a variable that the
        # checkpoint lacks does.
        with initial.blank() if load_weights else contextlib.nullcontext():
            model = cls._create(checkpoint, **options)
            model.build()
        if load_weights and not set(directory.named_variables([model])) <= set(
            checkpoint.weights
        ):
            model = cls._create(checkpoint, **options)
            model.build()
        return _loaded(model, checkpoint, load_weights)

    def get_config(self) -> dict[str, Any]:
        """Returns the network's config, with tokenizer and directory config."""
        config, tokenizer = super().get_config(), self.tokenizer
        if tokenizer is not None:
            config["tokenizer"] = {
                **tokenizer.vocab.to_config(),
                "lower_case": tokenizer.lower_case,
                "strip_accents": tokenizer.strip_accents,
            }
        if self.directory_config is not None:
            config["directory_config"] = to_json(self.directory_config)
        return config

    @classmethod
    def _from_values(cls: type[M], values: dict[str, Any]) -> M:
        tokenizer = values.pop("tokenizer", None)
        about = values.pop("directory_config", None)
        made = super()._from_values(values)
        if tokenizer is not None:
            made.tokenizer = Tokenizer(
                Vocab.from_config(tokenizer),
                tokenizer["lower_case"],
                tokenizer["strip_accents"],
            )
        if about is not None:
            made.directory_config = from_json(about, made.name)
        return made

    @classmethod
    def _create(cls, checkpoint: Checkpoint, **options: Any) -> Any:
        """Makes the network, unbuilt."""
        raise NotImplementedError

    def _saved_config(self, config: DirectoryConfig) -> DirectoryConfig:
        """Returns the config of only this network."""
        return config

    def save_pretrained(self, path: AnyPath) -> None:
        """Writes only this network as a model directory of ours.

        Args:
          path: the directory; an existing model is replaced.

        Raises:
          UserError: the directory cannot be written, or there is no vocabulary.
        """
        config = getattr(self, "directory_config", None)
        if config is None:
            raise ValueError("only a network from from_pretrained is saved so")
        if self.tokenizer is None:
            raise UserError(
                f"{path}: a model directory has a vocabulary, and this network "
                "came without one; load it again with vocab=FILE"
            )
        with written_aside(path) as aside:
            directory.save(
                aside, self._saved_config(config), [self], self.tokenizer.vocab
            )


def _there(config: ModelConfig | None) -> ModelConfig:
    """Returns the shape of a network, which `select` has checked."""
    assert config is not None
    return config


def _own_name(name: str) -> str:
    """Returns `name`, with a number added if it was used before."""
    number = keras.backend.get_uid(f"electra_tf_{name}")
    return name if number == 1 else f"{name}_{number - 1}"


def _loaded(
    model: Any, checkpoint: Checkpoint, load_weights: bool = True
) -> Any:
    """Returns the built model with weights, tokenizer, config and report."""
    config = checkpoint.config
    model.load_report = (
        loading.assign(model, checkpoint)
        if load_weights
        else Report(checkpoint.source, ())
    )
    _warn(model.load_report)
    model.tokenizer = None
    if checkpoint.vocab is not None:
        model.tokenizer = Tokenizer(
            checkpoint.vocab, config.lower_case, config.strip_accents
        )
    model.directory_config = config
    return model


def _warn(report: Report) -> None:
    """Warns of new variables and defaults, once for each source."""
    logged = (report.source, report.new, report.assumed)
    if (report.new or report.assumed) and logged not in _logged:
        _logged.add(logged)
        _log.warning("%s", report)


@registered
class Encoder(_Pretrained, encoder.ElectraEncoder):
    """Embeds tokens as vectors: the discriminator's encoder, to fine-tune.

        from electra_tf import Encoder

        encoder = Encoder.from_pretrained("model")
        batch = encoder.tokenizer.encode(["a good cat", "the dog"])
        output = encoder(batch)
        output.sequence_output  # the last layer's states, [2, length, hidden]
        output.first_output  # those at [CLS], [2, hidden]

    `encoder.tokenizer.encode` adds [CLS] and [SEP]; in functional models and
    `tf.data` use `electra_tf.Tokenizer(encoder.tokenizer)`. Inputs and outputs
    are those of `models.encoder.ElectraEncoder`.
    """

    @classmethod
    def _create(cls, checkpoint: Checkpoint, **options: Any) -> Any:
        return cls(_there(checkpoint.config.discriminator), **options)

    def _saved_config(self, config: DirectoryConfig) -> DirectoryConfig:
        return dataclasses.replace(
            config, replaced_token_head=False, task=None, fine_tuning=None
        )


@registered
class Discriminator(_Pretrained, networks.Discriminator):
    """Detects which tokens of a text were replaced.

        from electra_tf import Discriminator

        discriminator = Discriminator.from_pretrained("model")
        batch = discriminator.tokenizer.encode(["the cat ran on the of"])
        discriminator(batch).logits  # [1, length]: above 0 where replaced

    Inputs and outputs are those of `models.networks.Discriminator`; on strings
    there is `electra_tf.ReplacedTokenDetector`. Where the checkpoint has no
    head for it, a new one is made and reported.
    """

    @classmethod
    def _create(cls, checkpoint: Checkpoint, **options: Any) -> Any:
        places: dict[networks.DiscriminatorHead, str] = {
            "replaced_token": "discriminator/head/",
            "token_lm": "discriminator/lm_head/",
            "copy": "discriminator/copy/",
        }
        heads = [
            head
            for head, place in places.items()
            if any(name.startswith(place) for name in checkpoint.weights)
        ]
        return cls(
            _there(checkpoint.config.discriminator),
            with_heads=heads or ["replaced_token"],
            **options,
        )

    def _saved_config(self, config: DirectoryConfig) -> DirectoryConfig:
        return dataclasses.replace(
            config,
            replaced_token_head=self.head is not None,
            task=None,
            fine_tuning=None,
        )


@registered
class Generator(_Pretrained, networks.Generator):
    """Predicts the tokens of a text: ELECTRA's masked language model.

        from electra_tf import Generator, Tokenizer

        generator = Generator.from_pretrained("model")
        tokenizer = Tokenizer(generator.tokenizer, special_tokens=True)
        batch = tokenizer(["the [MASK] sat on the mat"])
        generator(batch).logits  # [1, length, vocabulary]

    Inputs and outputs are those of `models.networks.Generator`; on strings
    there is `electra_tf.MaskedLM`. For a checkpoint with a two-tower generator
    the result is a `TwoTowerGenerator`.
    """

    _part = "generator"

    @classmethod
    def _create(cls, checkpoint: Checkpoint, **options: Any) -> Any:
        config = checkpoint.config
        if config.is_two_tower:
            return TwoTowerGenerator._create(checkpoint, **options)
        return cls(_there(config.generator), **options)


@registered
class TwoTowerGenerator(_Pretrained, networks.TwoTowerGenerator):
    """`TwoTowerGenerator.from_pretrained(PATH)`; see `models.networks`."""

    _part = "generator"

    @classmethod
    def _create(cls, checkpoint: Checkpoint, **options: Any) -> Any:
        config = checkpoint.config
        if not config.is_two_tower:
            raise UserError(
                f"{checkpoint.source}: its generator is "
                f"{config.generator_kind}; load it as Generator"
            )
        return cls(
            _there(config.generator),
            untied=config.is_untied,
            wrap_around=config.wrap_around,
            **options,
        )


def load_task_network(
    path: AnyPath,
    *,
    vocab: AnyPath | Vocab | None = None,
    overrides: Mapping[str, str] | None = None,
) -> keras.Model:
    """Loads a fine-tuned network with its head; see `models.task_networks`.

    Args:
      path: see `from_pretrained`.
      vocab: see `from_pretrained`.
      overrides: see `from_pretrained`.

    Returns:
      The network, with `tokenizer`, `directory_config` and `load_report`.

    Raises:
      UserError: the checkpoint is missing, incomplete, or not fine-tuned.
    """
    checkpoint = select(
        loading.open_checkpoint(path, overrides, vocab), "discriminator"
    )
    config = checkpoint.config
    if config.task is None:
        raise UserError(
            f"{checkpoint.source}: has no task head; expected a fine-tuned "
            "model"
        )
    with initial.blank():
        model = task_networks.task_network(
            _there(config.discriminator), config.task
        )
        model.build()
    return _loaded(model, checkpoint)


def of_config(
    config: DirectoryConfig,
    vocab: Vocab,
    part: Part,
    dtype: str | keras.DTypePolicy | None = None,
) -> Any:
    """Makes the network of a model directory's config, with random weights.

    Args:
      config: `directory_config` of such a network.
      vocab: its vocabulary.
      part: "generator" or "discriminator".
      dtype: dtype of its computations; None for the global policy.

    Returns:
      The built network, with `tokenizer` and `directory_config`.
    """
    cls = Generator if part == "generator" else Discriminator
    model = cls._create(
        Checkpoint(config, {}, vocab), name=_own_name(cls.scope), dtype=dtype
    )
    model.build()
    model.tokenizer = Tokenizer(vocab, config.lower_case, config.strip_accents)
    model.directory_config = config
    return model
