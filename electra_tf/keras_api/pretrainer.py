"""Provides the public pre-trainer: `ElectraPretrainer`."""

import dataclasses
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import keras

from electra_tf import config as configs
from electra_tf.errors import UserError
from electra_tf.files import AnyPath
from electra_tf.hub import directory
from electra_tf.hub.aside import written_aside
from electra_tf.hub.checkpoint import Report
from electra_tf.hub.config import DirectoryConfig
from electra_tf.keras_api import start
from electra_tf.keras_api.data import special_ids
from electra_tf.keras_api.settings import PretrainSettings, recorded
from electra_tf.keras_api.tokenizer import AnyTokenizer
from electra_tf.models import initial, products
from electra_tf.models.config import GeneratorConfig, ModelConfig
from electra_tf.models.saved import plain
from electra_tf.pretraining import pretrainer
from electra_tf.pretraining.settings import MaskingConfig, ObjectiveConfig
from electra_tf.registration import registered
from electra_tf.text.vocab import Vocab, load_vocab
from electra_tf.training import precision
from electra_tf.training.optimizer import (
    loss_scaled,
    make_optimizer,
    precision_policy,
)
from electra_tf.training.settings import TrainConfig

_log = logging.getLogger(__name__)

P = TypeVar("P", bound="ElectraPretrainer")

AnyVocab = AnyPath | Vocab
# Sections of settings: objects, or mappings with some of their keys.
AnyModel = Mapping[str, Any] | ModelConfig | None
AnyGenerator = Mapping[str, Any] | GeneratorConfig | None
AnyMasking = Mapping[str, Any] | MaskingConfig | None
AnyObjective = Mapping[str, Any] | ObjectiveConfig | None
AnyTrain = Mapping[str, Any] | TrainConfig | None


# Key that marks a config saved by Keras, in contrast to settings.
_SAVED = "saved_by_keras"


@registered
class ElectraPretrainer(pretrainer.ElectraPretrainer):
    """Trains a generator and a discriminator together, in `fit`.

        from electra_tf import ElectraPretrainer, pretraining_dataset

        pretrainer = ElectraPretrainer.from_size("tiny", vocab="vocab.txt")
        pretrainer.compile()
        pretrainer.fit(pretraining_dataset("data", batch_size=16))
        pretrainer.save_pretrained("run")

    `fit` takes the steps of the recipe `pretrain`: with the same settings,
    under `keras.utils.set_random_seed` and enabled op determinism, on
    batches of `pretraining_dataset(..., repeat=True)`, weights are the same
    to the last bit on a CPU. Without `repeat` the first epoch is the recipe's
    up to its last full batch; the next one begins with a new batch, where a
    batch of the recipe spans the end of the epoch. The recipe also resumes,
    evaluates and keeps checkpoints as its settings say, where `fit` has Keras'
    callbacks.

    Under a `tf.distribute` strategy make it, and compile it, in its scope.

    Attributes:
      settings: all settings; None where it was made from your own parts, with
        the constructor of `pretraining.pretrainer.ElectraPretrainer`.
      vocab: the vocabulary, or None likewise.
      lower_case: whether the text of its examples was lower-cased.
      strip_accents: whether accents were stripped; None as `lower_case`.
      load_report: what was loaded from a checkpoint, or None.
    """

    settings: PretrainSettings | None = None
    vocab: Vocab | None = None
    lower_case: bool = True
    strip_accents: bool | None = None
    load_report: Report | None = None

    @classmethod
    def from_size(
        cls: type[P],
        size: str,
        *,
        tokenizer: AnyTokenizer | None = None,
        vocab: AnyVocab | None = None,
        model: AnyModel = None,
        generator: AnyGenerator = None,
        masking: AnyMasking = None,
        objective: AnyObjective = None,
        train: AnyTrain = None,
        seed: int | None = None,
    ) -> P:
        """Makes a pre-trainer of a named size with new weights.

        Args:
          size: "tiny", "mini", "small", "base" or "large": what
            configs/pretrain/ has under that name.
          tokenizer: what the data was built with; or
          vocab: the vocabulary, or its file.
          model: changes to the discriminator's shape and dropout.
          generator: changes to what the generator is.
          masking: changes to how tokens are masked.
          objective: changes to what is trained.
          train: changes to how it is trained; `compile` and the networks read
            it, the number of steps for the learning rate's schedule.
          seed: of weights, masks, samples and dropout; `train.seed` if None.

        Raises:
          UserError: no such size or setting, or settings that do not go
            together.
        """
        return cls.from_config(
            PretrainSettings.of_size(size),
            tokenizer=tokenizer,
            vocab=vocab,
            model=model,
            generator=generator,
            masking=masking,
            objective=objective,
            train=train,
            seed=seed,
        )

    @classmethod
    def from_config(
        cls: type[P],
        config: configs.Config = None,
        *,
        overrides: configs.Overrides = (),
        tokenizer: AnyTokenizer | None = None,
        vocab: AnyVocab | None = None,
        lower_case: bool = True,
        strip_accents: bool | None = None,
        model: AnyModel = None,
        generator: AnyGenerator = None,
        masking: AnyMasking = None,
        objective: AnyObjective = None,
        train: AnyTrain = None,
        seed: int | None = None,
        vocab_rows: int | None = None,
    ) -> P:
        """Makes a pre-trainer from settings with new weights.

        Args:
          config: a `PretrainSettings`, nested mappings, or the path of a YAML
            file such as those in configs/pretrain/; None takes the defaults.
          overrides: as `{"train.learning_rate": 1e-3}`, over all the others.
          tokenizer: what the data was built with; or
          vocab: the vocabulary, or its file.
          lower_case: how the text of the examples was treated, where no
            tokenizer tells.
          strip_accents: whether accents were stripped; None as `lower_case`.
          model: changes to the discriminator's shape and dropout.
          generator: changes to what the generator is.
          masking: changes to how tokens are masked.
          objective: changes to what is trained.
          train: changes to how it is trained.
          seed: of weights, masks, samples and dropout; `train.seed` if None.
          vocab_rows: rows of the token table, where a checkpoint's has more
            than the vocabulary has tokens; None makes as many as tokens.

        Raises:
          UserError: see `from_size`; or `vocab_size` differs from the
            vocabulary's size.
        """
        if isinstance(config, Mapping) and _SAVED in config:
            return super().from_config(config)
        settings = configs.resolve(
            PretrainSettings,
            config,
            overrides,
            model=model,
            generator=generator,
            masking=masking,
            objective=objective,
            train=train,
        )
        if seed is not None:
            train_config = dataclasses.replace(settings.train, seed=seed)
            settings = dataclasses.replace(settings, train=train_config)
        if isinstance(tokenizer, str):
            raise UserError(
                f"tokenizer: expected a Tokenizer, got '{tokenizer}'; give "
                "the path of a vocabulary as vocab="
            )
        if tokenizer is not None:
            vocab = vocab if vocab is not None else tokenizer.vocab
            lower_case = tokenizer.lower_case
            strip_accents = tokenizer.strip_accents
        if vocab is None:
            raise UserError(
                "tokenizer: give the tokenizer, or the vocabulary, that the "
                "data was built with"
            )
        if not isinstance(vocab, Vocab):
            vocab = load_vocab(vocab)
        return cls._create(
            settings, vocab, lower_case, strip_accents, vocab_rows
        )

    @classmethod
    def from_pretrained(
        cls: type[P],
        path: AnyPath | Sequence[AnyPath],
        *,
        config: configs.Config = None,
        overrides: configs.Overrides = (),
        vocab: AnyVocab | None = None,
        source_overrides: Mapping[str, str] | None = None,
        extend_vocab: AnyPath | None = None,
        model: AnyModel = None,
        generator: AnyGenerator = None,
        masking: AnyMasking = None,
        objective: AnyObjective = None,
        train: AnyTrain = None,
        seed: int | None = None,
    ) -> P:
        """Makes a pre-trainer that starts from a checkpoint.

        Networks that the checkpoint lacks start from random weights; see
        `load_report`.

        Args:
          path: a model directory or finished run of ours, whose settings are
            taken unless others are given; or a checkpoint of any format, whose
            shapes are taken. Two paths for a discriminator and a separate
            generator.
          config: settings, as for `from_config`.
          overrides: see `from_config`.
          vocab: a vocabulary, or its file, where there is none beside the
            weights.
          source_overrides: what the checkpoint does not say, as
            `{"model.num_heads": "4"}`; see `hub.config.parse`.
          extend_vocab: file of tokens to append to its vocabulary.
          model: see `from_config`.
          generator: see `from_config`.
          masking: see `from_config`.
          objective: see `from_config`.
          train: see `from_config`.
          seed: see `from_config`.

        Raises:
          UserError: the checkpoint is missing or incomplete, or the settings
            are of other networks.
        """
        one = isinstance(path, str) or not isinstance(path, Sequence)
        paths: Any = [path] if one else path
        checkpoint = start.read(paths, source_overrides, vocab, extend_vocab)
        about = checkpoint.config
        if checkpoint.vocab is None:
            raise UserError(
                f"{checkpoint.source}: has no vocabulary beside it; give vocab"
            )
        kept = None
        if about.pretraining is not None and config is None:
            kept = recorded(about.pretraining, checkpoint.source)
        settings = configs.resolve(
            PretrainSettings,
            kept if config is None else config,
            overrides,
            model=model,
            generator=generator,
            masking=masking,
            objective=objective,
            train=train,
        )
        asked = settings
        if (
            kept is None
            or extend_vocab
            or _networks(kept) != _networks(settings)
        ):
            settings = start.fit_settings(settings, checkpoint)
        with start.naming_replaced(asked, settings):
            made = cls.from_config(
                settings,
                vocab=checkpoint.vocab,
                lower_case=about.lower_case,
                strip_accents=about.strip_accents,
                seed=seed,
                vocab_rows=about.vocab_size,
            )
        report = start.load(made, checkpoint, with_optimizer=False)
        made.load_report = dataclasses.replace(
            report, replaced=start.replaced(asked, settings)
        )
        if made.load_report.new:
            _log.warning("%s", made.load_report)
        return made

    @classmethod
    def _create(
        cls: type[P],
        settings: PretrainSettings,
        vocab: Vocab,
        lower_case: bool,
        strip_accents: bool | None,
        vocab_rows: int | None = None,
    ) -> P:
        settings = settings.with_vocab_size(len(vocab), vocab_rows)
        train = settings.train
        train = dataclasses.replace(
            train,
            precision=precision.resolved(
                train.precision, jit_compile=train.jit_compile
            ),
        )
        settings = dataclasses.replace(settings, train=train)
        products.check_attention(
            train.attention, settings.model.attention_dropout
        )
        with precision_policy(train.precision), initial.seeded(train.seed):
            made = cls(
                settings.model,
                settings.generator,
                settings.masking,
                settings.objective,
                special_ids(vocab),
                seed=train.seed,
                gradient_accumulation=train.gradient_accumulation,
            )
        for encoder in made.encoders:
            encoder.recompute = train.recompute
            encoder.attention = train.attention
        made.bfloat16_products = train.precision == precision.PRODUCTS
        made.settings = settings
        made.vocab = vocab
        made.lower_case, made.strip_accents = lower_case, strip_accents
        return made

    def get_config(self) -> dict[str, Any]:
        """Returns what makes the same pre-trainer with new weights."""
        own = self.vocab
        return {
            **super().get_config(),
            _SAVED: True,
            "settings": plain(self.settings),
            **({"vocab": None} if own is None else own.to_config()),
            "lower_case": self.lower_case,
            "strip_accents": self.strip_accents,
        }

    @classmethod
    def _again(cls, values: dict[str, Any]) -> Any:
        names = ("settings", "vocab", "lower_case", "strip_accents")
        settings, vocab, lower, strip = (values.pop(name) for name in names)
        added = values.pop("added_tokens", ())
        del values[_SAVED]
        model = super()._again(values)
        model.settings = settings
        model.vocab = None
        if vocab is not None:
            about = {"vocab": vocab, "added_tokens": added}
            model.vocab = Vocab.from_config(about)
        model.lower_case, model.strip_accents = lower, strip
        return model

    def compile(
        self,
        optimizer: keras.optimizers.Optimizer | str | None = None,
        jit_compile: bool = False,
        **options: bool | int,
    ) -> None:
        """Compiles like `keras.Model.compile`, without losses: it has its own.

        Args:
          optimizer: an optimizer or its name; None takes ELECTRA's, as
            `settings.train` says: a learning rate that rises and then falls
            over `num_train_steps`.
          jit_compile: whether XLA compiles the whole step. Off unless asked
            for: on a CPU that is about ten times slower.
          **options: run_eagerly, steps_per_execution, auto_scale_loss.
        """
        if optimizer is None and self.settings is not None:
            train = self.settings.train
            optimizer = loss_scaled(make_optimizer(train), train.precision)
        super().compile(optimizer, jit_compile, **options)

    def save_pretrained(self, path: AnyPath, step: int | None = None) -> None:
        """Writes both networks, vocabulary and settings as a model directory.

        `from_pretrained`, fine-tuning, `convert` and `evaluate_pretraining`
        read it. It is written under a temporary name and renamed when complete.

        Args:
          path: the directory; an existing model is replaced.
          step: number of updates of the weights; None asks the optimizer.

        Raises:
          ValueError: it was made from your own parts, not by from_size,
            from_config or from_pretrained.
          UserError: the directory cannot be written.
        """
        if self.settings is None or self.vocab is None:
            raise ValueError(
                "a pre-trainer without settings: make it by from_size, "
                "from_config or from_pretrained to save it"
            )
        if step is None:
            step = 0
            if getattr(self, "optimizer", None) is not None:
                step = int(self.optimizer.iterations.numpy())
        record = configs.to_dict(self.settings)
        record["vocab_fingerprint"] = self.vocab.fingerprint()
        self.save_as_run(os.fspath(path), record, step)

    def save_as_run(self, path: str, record: dict[str, Any], step: int) -> None:
        """Writes a model directory like the one at the end of a run.

        Args:
          path: the directory.
          record: the run's settings, as its config.json has them.
          step: number of updates of the weights.
        """
        vocab, generator = self.vocab, self.generator_config
        assert vocab is not None  # a run has one
        kind = "tied" if self.generator_shares_encoder else generator.kind
        traits = generator.traits
        shared = not traits.encoders or generator.embeddings == "shared"
        about = DirectoryConfig(
            discriminator=self.discriminator.config,
            generator=self.generator.config,
            lower_case=self.lower_case,
            strip_accents=self.strip_accents,
            vocab_fingerprint=vocab.fingerprint(),
            step=step,
            pretraining=record,
            generator_kind=kind,
            generator_embeddings="shared" if shared else "untied",
            wrap_around=generator.wrap_around,
            replaced_token_head=self.discriminator.head is not None,
            token_lm_head=traits.has_weights,
        )
        with written_aside(path) as aside:
            networks = [self.discriminator, self.generator]
            directory.save(aside, about, networks, vocab)


def _networks(settings: PretrainSettings) -> tuple[Any, ...]:
    """Returns the settings that decide the networks and their shapes."""
    return settings.model, settings.generator, settings.objective.kind
