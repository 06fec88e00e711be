"""Names of tasks -> their classes, imported when they are asked for."""

import difflib
import importlib
import importlib.util
import pathlib
import sys

from electra_tf.errors import UserError
from electra_tf.tasks.task import Task

# A name is a family, and for some families a member: "glue/rte".
FAMILIES = {
    "classification": "texts.classification:Classification",
    "regression": "texts.classification:Regression",
    "glue": "glue.task:Glue",
    "squad": "qa.task:QuestionAnswering",
    "xquad": "qa.xquad:XQuAD",
    "mrqa": "qa.mrqa:Mrqa",
    "chinese_qa": "qa.chinese:ChineseQA",
    "tagging": "tagging.task:Tagging",
    "ranking": "ranking.task:Ranking",
    "translation": "seq2seq.translation:Translation",
    "abstractive_summarization": (
        "seq2seq.summarization:AbstractiveSummarization"
    ),
    "extractive_summarization": "summarization.task:ExtractiveSummarization",
    "multitask": "multitask.task:Multitask",
}


def task_class(name: str) -> type[Task]:
    """The class of a task.

    Args:
      name: a family, "family/member", or "file.py:Class" for a task of one's
        own in a Python file.

    Raises:
      UserError: no such task; the nearest name is told.
    """
    path, colon, attribute = name.rpartition(":")
    if colon and path.endswith(".py"):
        return _from_file(path, attribute)
    family = name.partition("/")[0]
    if family not in FAMILIES:
        close = difflib.get_close_matches(family, FAMILIES, n=1)
        hint = f"did you mean '{close[0]}'?" if close else (
            f"known: {', '.join(FAMILIES)}; or FILE.py:CLASS"
        )  # fmt: skip
        raise UserError(f"task '{name}' is not known; {hint}")
    module, _, attribute = FAMILIES[family].partition(":")
    return getattr(
        importlib.import_module(f"electra_tf.tasks.{module}"), attribute
    )


def _from_file(path: str, attribute: str) -> type[Task]:
    file = pathlib.Path(path)
    if not file.is_file():
        raise UserError(f"task {path}:{attribute}: no such file as {path}")
    module_name = f"electra_tf_task_{file.stem}"
    spec = importlib.util.spec_from_file_location(module_name, file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses look themselves up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UserError(f"{path}: cannot be imported: {error!r}") from error
    found = getattr(module, attribute, None)
    if not (isinstance(found, type) and issubclass(found, Task)):
        raise UserError(
            f"{path}: has no class {attribute} that is an electra_tf "
            "tasks.task.Task"
        )
    return found
