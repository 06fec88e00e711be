"""Loads and saves task models."""

import abc
import copy
import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import tensorflow as tf

from electra_tf import config as configs
from electra_tf.errors import UserError
from electra_tf.files import AnyPath
from electra_tf.finetuning import settings as finetune_settings
from electra_tf.finetuning import start as starts
from electra_tf.finetuning.start import Start
from electra_tf.hub import directory
from electra_tf.hub.aside import written_aside
from electra_tf.hub.config import DirectoryConfig
from electra_tf.keras_api.tasks.compiled import CompiledTask
from electra_tf.keras_api.tasks.given import check_options
from electra_tf.models.adaptation import Adaptable
from electra_tf.models.config import ModelConfig, TaskHeadConfig
from electra_tf.models.saved import save_whole, switch_parts, trained_parts
from electra_tf.prediction import task_of_model
from electra_tf.tasks.registry import stored_options, task_class
from electra_tf.tasks.task import Task
from electra_tf.text.vocab import Vocab

M = TypeVar("M", bound="SavedTask")


@dataclasses.dataclass(frozen=True)
class Given:
    """Arguments that all `from_pretrained` share."""

    options: Mapping[str, Any] | None = None
    max_seq_length: int | None = None
    vocab: AnyPath | None = None
    overrides: Mapping[str, Any] | None = None
    load_weights: bool = True
    seed: int = 42
    dtype: Any = None
    name: str | None = None


class SavedTask(Adaptable, CompiledTask):
    """Opens checkpoints, and writes model directories and `.keras` files."""

    # The argument of `from_pretrained` that starts a new head.
    afresh: ClassVar[str] = "labels=[...]"
    # Options that a fine-tuned model cannot change, besides those of the head.
    learned_options: ClassVar[tuple[str, ...]] = ()

    def enable_lora(self, *args: Any, **named: Any) -> None:
        """Freezes the encoder except for a change of low rank, by LoRA.

        Args:
          *args: rank, targets and alpha; see `Adaptable.enable_lora`.
          **named: the same by name, and verbose.

        Raises:
          UserError: the rank or targets are not valid, or LoRA is enabled
            already.
        """
        super().enable_lora(*args, **named)
        self._memory.inferences.clear()  # traced without LoRA
        self._renew_optimizer()

    def freeze(self, up_to: int | None = None, verbose: bool = True) -> None:
        """Freezes the encoder from below: embeddings, then block by block.

        Args:
          up_to: see `Adaptable.freeze`.
          verbose: whether to print which parameters train.

        Raises:
          UserError: there are fewer blocks.
        """
        self._freeze_encoder(False)
        super().freeze(up_to, verbose)
        self._renew_optimizer()

    def _renew_optimizer(self) -> None:
        """Makes the user's optimizer again, for the weights that train now."""
        if not self._own_optimizer:
            return
        kind, config = type(self.optimizer), self.optimizer.get_config()
        with self.distribute_strategy.scope():
            self.optimizer = kind.from_config(config)
            self.optimizer.build(self.trainable_variables)

    @classmethod
    def _open(
        cls: type[M],
        where: AnyPath,
        task: str,
        state: Mapping[str, Any] | None,
        given: "Given",
        new_head: bool = True,
    ) -> M:
        """Opens a checkpoint, for a new task or for its own task.

        Args:
          where: the checkpoint.
          task: the name of the new task.
          state: state of the new task, with its labels; None takes task,
            options and state of the checkpoint.
          given: the other arguments of `from_pretrained`.
          new_head: whether to use `state` even where the checkpoint has a
            task's head.

        Raises:
          UserError: the checkpoint cannot be opened, or has no task of this
            kind.
        """
        path = os.fspath(where)
        shape, others = {}, {}
        for key, value in (given.overrides or {}).items():
            section, _, field = key.partition(".")
            if section == "model" and field:
                shape[field] = value
            else:
                others[key] = str(value).lower()
        start = starts.from_checkpoint(
            path,
            configs.resolve(finetune_settings.ModelSettings, shape),
            vocab=given.vocab,
            overrides=others,
        )
        assert start.checkpoint is not None  # it was read above
        there = start.checkpoint.config
        options = dict(given.options or {})
        check_options(options)
        if given.max_seq_length is not None:
            options["max_seq_length"] = given.max_seq_length
        head: Any = None
        if there.task is not None and not new_head:
            state = None
        if state is None:
            if there.task is None:
                raise UserError(cls.missing(path))
            about = there.fine_tuning or task_of_model.described(there.task)
            made = cls._same(path, about, options)
            head = there.task
            if options:
                _check_head(there, made, cls.afresh, path)
                before = task_of_model.chosen(about, where=path)
                head = task_of_model.with_options(
                    head, made.head(), before, made.options
                )
        else:
            options = _fitting(task, options, start.config.max_positions)
            resolved: Any = configs.resolve(
                task_of_model.settings_class(task), {}, options=options
            ).options
            made = task_class(task)(task, resolved, None, state)
        most = start.config.max_positions
        asked = options.get("max_seq_length")
        if isinstance(asked, int) and asked > most:
            raise UserError(
                f"max_seq_length: {asked}; expected at most "
                f"{most}, the model's positions"
            )
        if not given.load_weights:
            start = dataclasses.replace(start, checkpoint=None)
        return cls(
            made,
            start,
            head=head,
            learned=state is None,
            seed=given.seed,
            dtype=given.dtype,
            name=given.name,
        )

    @classmethod
    def _same(
        cls, path: str, about: Mapping[str, Any], options: Mapping[str, Any]
    ) -> Task:
        """Makes the task of a fine-tuned model."""
        name = about["task"]
        for key in {*cls.learned_options} & {*options} & {*about["options"]}:
            there = about["options"][key]
            cls.kept(path, f"options.{key}", options[key], there)
        chosen = task_of_model.chosen(
            about, options=options or None, where=path
        )
        found = task_class(name)(name, chosen, None, about["state"])
        if not cls.takes(found):
            raise UserError(
                f"{path}: is a model of {name}, which {cls.__name__} does not "
                "open; to start a new head on its encoder give labels, or "
                "new_head=True; or take another class, or electra_tf.load"
            )
        return found

    @classmethod
    def kept(cls, path: AnyPath, argument: str, given: Any, there: Any) -> None:
        """Refuses an argument that changes what a fine-tuned model has learned.

        Args:
          path: the model.
          argument: the argument's name.
          given: its value.
          there: what the model has.

        Raises:
          UserError: they differ.
        """
        if given != there:
            raise UserError(
                f"{argument}: {given!r:.60}, but the model at {path} was "
                f"trained with {there!r:.60}; leave it out, or start a new "
                f"head with {cls.afresh}"
            )

    @classmethod
    @abc.abstractmethod
    def takes(cls, task: Task) -> bool:
        """Returns whether the class supports a task."""

    @classmethod
    def missing(cls, path: str) -> str:
        """Returns the error for a checkpoint without a head."""
        return (
            f"labels: {path} has no head of its own; name the labels, or give "
            "num_classes"
        )

    def save(
        self,
        filepath: Any,
        overwrite: bool = True,
        zipped: bool | None = None,
        **named: Any,
    ) -> None:
        """Saves the model like `keras.Model.save`, in a `.keras` file.

        Args:
          filepath: the file.
          overwrite: whether to replace an existing file without asking.
          zipped: see Keras.
          **named: as Keras'.

        Raises:
          UserError: the file is HDF5, from which such models cannot be loaded;
            or it cannot be written, and no partial file is left.
        """
        if str(filepath).endswith((".h5", ".hdf5")):
            raise UserError(
                f"{filepath}: a {type(self).__name__} cannot be loaded from "
                "HDF5; name a .keras file, or take save_pretrained(DIRECTORY)"
            )
        save_whole(super().save, filepath, overwrite, zipped, **named)

    @property
    def texts_of_an_input(self) -> int:
        """Returns how many strings an input has, 0 for lists of strings."""
        return 1

    def export(
        self,
        filepath: Any,
        format: str = "tf_saved_model",
        verbose: Any = None,
        input_signature: Any = None,
        **named: Any,
    ) -> None:
        """Exports like `keras.Model.export`: strings in, results of calling
        out.

        For serving, `electra_tf.export` writes a SavedModel with labels, from a
        directory of `save_pretrained`.

        Args:
          filepath: as Keras'.
          format: as Keras'.
          verbose: as Keras'.
          input_signature: see Keras; by default string [batch], or a tuple of
            two for pairs.
          **named: as Keras'.

        Raises:
          UserError: the model is called on lists of words.
        """
        if input_signature is None:
            count = self.texts_of_an_input
            if not count:
                raise UserError(
                    f"export: a {type(self).__name__} is called on lists of "
                    "words; take save_pretrained(DIR) and "
                    "electra_tf.export(DIR, OUTPUT), which reads texts"
                )
            strings = [tf.TensorSpec([None], tf.string) for _ in range(count)]
            input_signature = [strings[0] if count == 1 else tuple(strings)]
        super().export(
            filepath, format, verbose, input_signature=input_signature, **named
        )

    def save_pretrained(self, path: AnyPath) -> None:
        """Writes a model directory, as the command `finetune` does.

        `electra_tf.load`, `finetune`, `evaluate`, `predict`, `convert`,
        `export` and `from_pretrained` read it. It is written under a temporary
        name and renamed when complete.

        Args:
          path: the directory; an existing model is replaced.

        Raises:
          UserError: the directory cannot be written.
        """
        with written_aside(path) as aside:
            directory.save(
                aside, self._directory_config(), [self.network],
                self.start.vocab,
            )  # fmt: skip

    def _directory_config(self) -> DirectoryConfig:
        about = {
            "task": self.task.name,
            "options": dataclasses.asdict(self.task.options),
            "state": copy.deepcopy(self.task.state),
            "metrics": {},
            "settings": {},
        }
        return self.start.directory_config(
            self.task.head(), self._iterations(), about
        )

    def get_config(self) -> dict[str, Any]:
        """Returns what makes the model again, except its weights."""
        start = self.start
        config = {
            "task": self.task.name,
            "options": dataclasses.asdict(self.task.options),
            "state": self.task.state,
            "model": dataclasses.asdict(start.config),
            "head": dataclasses.asdict(self.network.head_config),
            **start.vocab.to_config(),
            "lower_case": start.lower_case,
            "strip_accents": start.strip_accents,
            "source": start.source,
            "learned": self.learned,
            **self._adaptations(),
            "seed": self.seed,
            "dtype": self.dtype_policy.name,
            "name": self.name,
        }
        return json.loads(json.dumps(config))  # makes tuples lists

    @classmethod
    def from_config(
        cls: type[M], config: dict[str, Any], custom_objects: Any = None
    ) -> M:
        """Makes the model from a config, with weights to be loaded.

        Args:
          config: result of `get_config`.
          custom_objects: not used.
        """
        del custom_objects
        options = stored_options(config["task"], config["options"])
        task = task_class(config["task"])(
            config["task"], options, None, config["state"]
        )
        start = Start(
            ModelConfig(**config["model"]),
            Vocab.from_config(config),
            config["lower_case"],
            config["strip_accents"],
            source=config["source"],
        )
        made = cls(
            task,
            start,
            head=TaskHeadConfig(**config["head"]),
            learned=config["learned"],
            seed=config["seed"],
            dtype=config["dtype"],
            name=config["name"],
        )
        made._adapt(config)
        return made

    def _adaptations(self) -> dict[str, Any]:
        """Returns what of the model trains, as part of its config."""
        return {
            "lora": self.network.encoder.lora,
            "trained_parts": trained_parts(self),
        }

    def _adapt(self, config: Mapping[str, Any]) -> None:
        """Applies what of the model trains; older configs lack some of it."""
        if config.get("trained_parts"):
            switch_parts(self, config["trained_parts"])
        self.network.encoder.lora = config.get("lora")


def _check_head(
    there: DirectoryConfig, made: Task, afresh: str, path: str
) -> None:
    """Refuses options that need another head than the checkpoint's."""
    check: Any = task_of_model.check
    if there.fine_tuning is None:  # of another format: without names
        check = task_of_model.check_outputs
    check(
        there.task,
        made.head(),
        f"options: the head of {path} is another one; leave them out, or start "
        f"a new head with {afresh}",
    )


def _fitting(
    task: str, options: dict[str, Any], positions: int
) -> dict[str, Any]:
    """Returns options with a row length that fits the model, if none is
    given.
    """
    usual: Any = task_class(task).Options()
    if "max_seq_length" in options or usual.max_seq_length <= positions:
        return options
    found = {"max_seq_length": positions}
    query = getattr(usual, "max_query_length", None)
    if query is not None:
        found["max_query_length"] = min(query, positions // 3)
    return found | options
