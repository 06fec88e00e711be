"""Opens the checkpoint that pre-training starts from."""

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.files import AnyPath
from electra_tf.hub import directory, loading, vocab_extension
from electra_tf.hub.checkpoint import Checkpoint, Lazy, Report, shapes_of
from electra_tf.hub.config import DirectoryConfig
from electra_tf.keras_api.settings import PretrainSettings, recorded
from electra_tf.models.config import GeneratorConfig, ModelConfig
from electra_tf.pretraining.objectives import base as objectives
from electra_tf.pretraining.pretrainer import ElectraPretrainer
from electra_tf.text.vocab import Vocab
from electra_tf.training import checkpoints
from electra_tf.training.settings import recorded_settings

# Keys that a checkpoint decides; the rest of a ModelConfig is about training.
_SHAPE = (
    "vocab_size", "embedding_size", "hidden_size", "num_layers", "num_heads",
    "intermediate_size", "max_positions", "type_vocab_size", "gelu",
    "layer_norm_epsilon",
)  # fmt: skip
# The same of a GeneratorConfig.
_GENERATOR = (
    "kind", "embeddings", "wrap_around", "hidden_fraction", "layers_fraction",
)  # fmt: skip
_TABLES, _GENERATOR_TABLES = "embeddings/", "generator/embeddings/"


def read(
    paths: Sequence[AnyPath],
    overrides: Mapping[str, str] | None = None,
    vocab: AnyPath | Vocab | None = None,
    extend_vocab: AnyPath | None = None,
    with_optimizer: bool = False,
) -> Checkpoint:
    """Opens the checkpoint to start from, of any format.

    Args:
      paths: one path; or two, of which the second has only a generator, as in
        Hugging Face's form.
      overrides: what the source does not say; see `hub.config.parse`.
      vocab: a vocabulary, or its file, in place of the source's.
      extend_vocab: file of tokens to append to its vocabulary.
      with_optimizer: whether to look for the optimizer's slots beside it too.

    Raises:
      UserError: a checkpoint cannot be read, or two do not fit together.
    """
    checkpoint = loading.open_checkpoint(paths[0], overrides, vocab)
    if with_optimizer:
        checkpoint = _with_slots(checkpoint)
    for path in paths[1:]:
        other = loading.open_checkpoint(path, overrides, vocab)
        checkpoint = _joined(checkpoint, other)
    if extend_vocab is None:
        return checkpoint
    return vocab_extension.extended(checkpoint, os.fspath(extend_vocab))


def _with_slots(checkpoint: Checkpoint) -> Checkpoint:
    """Adds the optimizer's slots, if the model is in the run that trained it.

    A model directory has none; the run's checkpoint of the same step has.
    """
    folder, _, name = checkpoint.source.rpartition("/")
    run_dir, _, model = folder.rpartition("/")
    if checkpoint.slots is not None or (
        (model, name) != ("model", directory.WEIGHTS)
    ):
        return checkpoint
    opened = checkpoints.open_slots(
        checkpoints.path_at(run_dir or ".", checkpoint.config.step)
    )
    if opened is None:
        return checkpoint
    held, stems = opened
    own = {directory.weight_name(path): stem for path, stem in stems.items()}
    names = {
        stored: own[name]
        for stored, name in directory.stored_names(own).items()
    }
    return dataclasses.replace(
        checkpoint,
        slots=Lazy(
            lambda name: (held[f"{names[name]}_m"], held[f"{names[name]}_v"]),
            {name: held.shapes[f"{stem}_m"] for name, stem in names.items()},
        ),
    )


def _joined(first: Checkpoint, second: Checkpoint) -> Checkpoint:
    """Joins a discriminator's checkpoint and a generator's in one."""
    if first.config.discriminator is None:
        first, second = second, first
    if (
        first.config.discriminator is None
        or first.config.generator is not None
        or second.config.discriminator is not None
        or second.config.generator is None
    ):
        raise UserError(
            f"--init_from: {first.source} and {second.source}; expected a "
            "discriminator alone and a generator alone"
        )
    vocab, other = first.vocab, second.vocab
    if vocab is not None and other is not None and vocab.tokens != other.tokens:
        raise UserError(
            f"--init_from: {first.source} and {second.source} have different "
            "vocabularies"
        )
    tables = f"{_TABLES}word_embeddings"
    held = shapes_of(second.weights)
    equal = np.array_equal(first.weights[tables], second.weights[tables])
    renamed = {
        _untied(name): name
        for name in held
        if not (equal and name.startswith(_TABLES))
    }
    shapes = dict(shapes_of(first.weights))
    shapes |= {name: held[there] for name, there in renamed.items()}

    def weight(name: str) -> np.ndarray:
        if name in renamed:
            return second.weights[renamed[name]]
        return first.weights[name]

    return dataclasses.replace(
        first,
        config=dataclasses.replace(
            first.config,
            generator=second.config.generator,
            generator_kind=second.config.generator_kind,
            generator_embeddings="shared" if equal else "untied",
            token_lm_head=second.config.token_lm_head,
        ),
        weights=Lazy(weight, shapes),
        slots=None,
        leftover=first.leftover + second.leftover,
        assumed=first.assumed + second.assumed,
        source=f"{first.source} and {second.source}",
    )


def _untied(name: str) -> str:
    if name.startswith(_TABLES):
        return _GENERATOR_TABLES + name.removeprefix(_TABLES)
    return name


def fit_settings(
    settings: PretrainSettings, checkpoint: Checkpoint
) -> PretrainSettings:
    """Returns the settings with the shapes of the checkpoint's networks.

    Dropout and the like remain as in the settings, and so does a network that
    the checkpoint lacks.

    Raises:
      UserError: no settings describe the generator's shape.
    """
    about, objective = checkpoint.config, objectives.make(settings.objective)
    model, generator = settings.model, settings.generator
    masked_lm = not objective.discriminates
    if not masked_lm and _is_encoder(about, generator):
        about = dataclasses.replace(
            about, generator=None, generator_kind="separate"
        )
    source = about.discriminator or (about.generator if masked_lm else None)
    if source is not None:
        model = _reshaped(model, source)
    else:
        # A generator only: its vocabulary is the run's.
        assert about.generator is not None
        model = dataclasses.replace(
            model, vocab_size=about.generator.vocab_size
        )
    if not masked_lm and not about.generator_traits.has_weights:
        generator = dataclasses.replace(generator, kind="uniform")
    elif not masked_lm and about.generator is not None:
        generator = _generator(generator, model, checkpoint)
        made = objective.generator_kind(generator).shape(model)
        unlike = [
            f"{name} {getattr(about.generator, name)}, not "
            f"{getattr(made, name)}"
            for name in _SHAPE
            if getattr(about.generator, name) != getattr(made, name)
        ]
        if unlike:
            raise UserError(
                f"{checkpoint.source}: its generator has {', '.join(unlike)}, "
                "which a generator beside such a discriminator cannot have; "
                "start from the discriminator alone"
            )
    return dataclasses.replace(settings, model=model, generator=generator)


def replaced(
    asked: PretrainSettings, fitted: PretrainSettings
) -> tuple[str, ...]:
    """Returns what `fit_settings` changed: "model.num_layers 6, not 12".

    Args:
      asked: the settings before.
      fitted: its result.
    """
    found = []
    for section, names in (("model", _SHAPE), ("generator", _GENERATOR)):
        before, after = getattr(asked, section), getattr(fitted, section)
        for name in set(names) - {"vocab_size"}:  # always the vocabulary's
            old, new = getattr(before, name), getattr(after, name)
            if new != old and old is not None:
                found.append(f"{section}.{name} {new}, not {old}")
    return tuple(sorted(found))


@contextlib.contextmanager
def naming_replaced(
    asked: PretrainSettings, fitted: PretrainSettings
) -> Iterator[None]:
    """Adds to an error about settings what `fit_settings` changed in them.

    Args:
      asked: the settings before.
      fitted: its result, which are checked inside.

    Raises:
      UserError: raised in place of the error.
    """
    try:
        yield
    except UserError as error:
        changed = replaced(asked, fitted)
        if not changed:
            raise
        raise UserError(
            f"{error}; the checkpoint decided {', '.join(changed)}: change "
            "other keys, or start from another checkpoint"
        ) from error


def _is_encoder(about: DirectoryConfig, wanted: GeneratorConfig) -> bool:
    """Returns whether a masked LM, as BERT's, starts only the discriminator.

    It starts the generator too only where that shares the encoder.
    """
    return (
        about.is_tied
        and about.pretraining is None  # not our run, which names its objective
        and not about.replaced_token_head
        and not wanted.traits.shares_encoder
    )


def _reshaped(model: ModelConfig, source: ModelConfig) -> ModelConfig:
    shape = {name: getattr(source, name) for name in _SHAPE}
    return dataclasses.replace(
        model, local_start=False, match_heads=0, words_apart=False, **shape
    )


def _generator(
    wanted: GeneratorConfig, model: ModelConfig, checkpoint: Checkpoint
) -> GeneratorConfig:
    about = checkpoint.config
    assert about.generator is not None  # its shape is taken
    if wanted.embeddings == "disentangled" or (
        about.discriminator is None and about.generator_traits.encoders == 1
    ):
        embeddings = wanted.embeddings
    else:
        embeddings = about.generator_embeddings
    return dataclasses.replace(
        wanted,
        kind=about.generator_kind,
        embeddings=embeddings,
        wrap_around=about.wrap_around,
        hidden_fraction=about.generator.hidden_size / model.hidden_size,
        layers_fraction=about.generator.num_layers / model.num_layers,
    )


def check_vocab(checkpoint: Checkpoint, vocab: Vocab, source: str) -> None:
    """Refuses data that was built with another vocabulary.

    Args:
      checkpoint: a checkpoint from `read`.
      vocab: the data's.
      source: the data, for messages.

    Raises:
      UserError: the two differ; the message shows where.
    """
    if checkpoint.vocab is None:
        return  # only sizes can be compared, with the model's
    ours, theirs = checkpoint.vocab.tokens, vocab.tokens
    if ours == theirs:
        return
    place = next(
        (i for i, pair in enumerate(zip(ours, theirs)) if pair[0] != pair[1]),
        min(len(ours), len(theirs)),
    )
    raise UserError(
        f"{source} was built with another vocabulary than that of "
        f"{checkpoint.source}: {len(theirs)} tokens against {len(ours)}, the "
        f"first difference in line {place + 1}; build the data with the "
        "checkpoint's (`electra-tf convert --to=electra_tf` writes it as "
        "vocab.txt, with --extend_vocab if tokens are appended)"
    )


def load(
    model: ElectraPretrainer, checkpoint: Checkpoint, with_optimizer: bool
) -> Report:
    """Loads the checkpoint into a compiled pre-trainer.

    Args:
      model: a pre-trainer with the shapes from `fit_settings`.
      checkpoint: a checkpoint from `read`.
      with_optimizer: whether to load the optimizer's slots and step too.

    Raises:
      UserError: a shape differs, or the checkpoint has no slots.
    """
    slots = iterations = None
    if with_optimizer:
        iterations = model.optimizer.iterations
        slots = loading.slot_variables(
            model.optimizer, model.trainable_variables
        )
    checkpoint = _arranged(model, checkpoint)
    report = loading.warm_start(model, checkpoint, slots, iterations)
    frozen = model.generator_config.frozen
    if frozen and any(name.startswith("generator/") for name in report.new):
        raise UserError(
            f"generator.frozen: {checkpoint.source} has no generator; a "
            "frozen one has to come from a checkpoint (--init_from)"
        )
    return report


def _arranged(model: ElectraPretrainer, checkpoint: Checkpoint) -> Checkpoint:
    """Renames weights where a network has another part in the run."""
    about = checkpoint.config
    rename: dict[str, str | None] = {}
    for name in checkpoint.weights:
        if not model.objective.discriminates:
            if about.discriminator is None:
                # A masked LM that continues as one.
                rename[name] = name.replace(
                    "generator/encoder/", "discriminator/encoder/"
                )
            elif not about.generator_traits.shares_encoder and name.startswith(
                "generator/"
            ):
                rename[name] = None
        elif _is_encoder(about, model.generator_config):
            if name.startswith("generator/"):
                rename[name] = None
        elif (
            about.discriminator is None
            and model.generator_config.embeddings == "untied"
        ):
            rename[name] = _untied(name)
    if not rename:
        return checkpoint
    names = {
        ours: name
        for name in checkpoint.weights
        if (ours := rename.get(name, name)) is not None
    }
    dropped = tuple(n for n in checkpoint.weights if n not in names.values())

    def renamed(values: Mapping, shapes: Mapping) -> Lazy:
        there = {ours: name for ours, name in names.items() if name in values}
        return Lazy(
            lambda name: values[there[name]],
            {ours: shapes[name] for ours, name in there.items()},
        )

    shapes = shapes_of(checkpoint.weights)
    slots = checkpoint.slots
    return dataclasses.replace(
        checkpoint,
        weights=renamed(checkpoint.weights, shapes),
        slots=None if slots is None else renamed(slots, shapes),
        leftover=checkpoint.leftover + dropped,
    )


def resumed_settings(
    settings: PretrainSettings, run_dir: str
) -> PretrainSettings | None:
    """Returns settings with the shapes of the run to resume, else None.

    So the checkpoint that the run started from may be gone by then.
    """
    if checkpoints.latest(run_dir) is None:
        return None
    where = files.join(run_dir, "config.json")
    kept = recorded(recorded_settings(where), where)
    return dataclasses.replace(
        settings,
        model=_with_shape(settings.model, kept.model),
        generator=dataclasses.replace(
            kept.generator, frozen=settings.generator.frozen
        ),
    )


def _with_shape(model: ModelConfig, kept: ModelConfig) -> ModelConfig:
    return dataclasses.replace(
        _reshaped(model, kept),
        local_start=kept.local_start,
        match_heads=kept.match_heads,
        words_apart=kept.words_apart,
    )
