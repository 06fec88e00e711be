"""Maps names of tasks to their classes and options, imported on demand.

The options of these tasks are available without importing TensorFlow.
"""

import difflib
import importlib
import typing
from collections.abc import Collection, Mapping
from typing import Any

from electra_tf import config, files
from electra_tf.errors import UserError

if typing.TYPE_CHECKING:
    from electra_tf.tasks.task import Task

# A name is a family, for some families with a member: "glue/rte". The values
# are the paths of the task's class and of its options.
FAMILIES = {
    "classification": (
        "texts.classification:Classification",
        "texts.options:ClassificationOptions",
    ),
    "regression": (
        "texts.classification:Regression", "texts.options:RegressionOptions",
    ),
    "glue": ("glue.task:Glue", "glue.sets:GlueOptions"),
    "squad": ("qa.task:QuestionAnswering", "qa.options:QAOptions"),
    "xquad": ("qa.task:XQuAD", "qa.options:QAOptions"),
    "mrqa": ("qa.task:Mrqa", "qa.options:QAOptions"),
    "chinese_qa": ("qa.task:ChineseQA", "qa.options:ChineseQAOptions"),
    "tagging": ("tagging.task:Tagging", "tagging.options:TaggingOptions"),
    "ranking": ("ranking.task:Ranking", "ranking.options:RankingOptions"),
    "translation": (
        "seq2seq.task:Translation", "seq2seq.options:TranslationOptions",
    ),
    "abstractive_summarization": (
        "seq2seq.task:AbstractiveSummarization",
        "seq2seq.options:SummarizationOptions",
    ),
    "extractive_summarization": (
        "summarization.task:ExtractiveSummarization",
        "summarization.options:SummaryOptions",
    ),
    "multitask": (
        "multitask.task:Multitask", "multitask.options:MultitaskOptions",
    ),
}  # fmt: skip

# Families that have no members.
_ALONE = (
    "classification", "regression", "extractive_summarization", "multitask",
)  # fmt: skip


def check_member(name: str) -> None:
    """Refuses a member of a family that has none: "classification/rte".

    Stored models with such a name, which meant nothing, are still read.

    Raises:
      UserError: it is one; the message suggests what may be meant.
    """
    family, slash, member = name.partition("/")
    if not slash or _own(name)[0] or family not in _ALONE:
        return
    meant = f"glue/{member}" if member in _of_glue() else family
    raise UserError(f"task '{name}' is not known; did you mean '{meant}'?")


def task_class(name: str) -> "type[Task]":
    """Returns the class of a task.

    Args:
      name: a family, "family/member", or "file.py:Class" for a task of your own
        in a Python file.

    Raises:
      UserError: no such task; the message suggests the nearest name.
    """
    path, attribute = _own(name)
    if path:
        return _from_file(path, attribute)
    return _found(_family(name)[0])


def options_class(name: str) -> type:
    """Returns the class of a task's options, without importing TensorFlow.

    Args:
      name: as for `task_class`.

    Raises:
      UserError: as for `task_class`.
    """
    path, attribute = _own(name)
    if path:
        return _from_file(path, attribute).Options
    return _found(_family(name)[1])


def stored_options(
    name: str, values: Mapping[str, Any], made_for: str | None = None
) -> Any:
    """Restores a task's options as saved by a model or a run.

    Keys of older versions are accepted under their old names.

    Args:
      name: name of the task.
      values: the options, as JSON values.
      made_for: the task that they were saved for; where it is another one,
        options that only that task has are left out.

    Raises:
      UserError: the options do not fit the task.
    """
    cls = options_class(name)
    if made_for not in (None, name):
        known: set[str] = set()
        for field, kind in typing.get_type_hints(
            cls, include_extras=True
        ).items():
            known |= {field, *config.setting_of(kind).formerly}
        values = {key: v for key, v in values.items() if key in known}
    return config.from_dict(cls, values, where="options")


def _own(name: str) -> tuple[str, str]:
    """Returns file and class of a task "file.py:Class", else empty texts."""
    path, colon, attribute = name.rpartition(":")
    return (path, attribute) if colon and path.endswith(".py") else ("", "")


def _family(name: str) -> tuple[str, str]:
    family = name.partition("/")[0]
    if family not in FAMILIES:
        close = difflib.get_close_matches(family, FAMILIES, n=1)
        if name.lower().replace("-", "") in _of_glue():
            close = [f"glue/{name.lower().replace('-', '')}"]
        hint = f"did you mean '{close[0]}'?" if close else (
            f"known: {', '.join(FAMILIES)}; or FILE.py:CLASS"
        )  # fmt: skip
        raise UserError(f"task '{name}' is not known; {hint}")
    return FAMILIES[family]


def _of_glue() -> Collection[str]:
    """Returns the members of GLUE, often asked for without the family."""
    return importlib.import_module("electra_tf.tasks.glue.sets").SETS


def _found(place: str) -> type:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(f"electra_tf.tasks.{module}"), name)


def _from_file(path: str, attribute: str) -> "type[Task]":
    from electra_tf.tasks.task import Task

    parent: type[Any] = Task  # abstract, which `type[Task]` does not admit
    return files.class_of_file(path, attribute, parent, "task")
