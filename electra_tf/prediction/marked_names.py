"""Marks the names in finished parts as an input's or a prediction's.

Which names are free for the predictions is known when all rows have been read.
Until then each name says in its first character which of the two it is.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from electra_tf import files
from electra_tf.prediction import files as prediction_files

INPUT, PREDICTED = "=", "+"
FORM = {"form of the parts": "marked names"}
_ABOUT = "about.json"
_BEFORE = "predicted_"
_ERROR = "error"


def names(columns: Iterable[str]) -> dict[str, str]:
    """Returns marked name -> name: that of a prediction is made free.

    Args:
      columns: all marked names of an output, or of a row.
    """
    columns = list(columns)
    found = {n: n[1:] for n in columns if n.startswith(INPUT)}
    taken = set(found.values())
    for marked in columns:
        if marked.startswith(PREDICTED):
            name = marked[1:]
            while name in taken:
                name = f"{_BEFORE}{name}"
            found[marked] = name
            taken.add(name)
    return found


def renew(partial: str) -> None:
    """Marks the names in parts of an earlier version, which are an output's.

    Where they are marked it does nothing. Killed meanwhile, it continues the
    next time.

    Args:
      partial: the directory of the parts, which may be missing.
    """
    path = files.join(partial, _ABOUT)
    if not files.exists(path):
        return
    try:
        about = json.loads(files.read_text(path))
    except ValueError:
        return  # it is begun again
    if not isinstance(about, dict) or FORM.items() <= about.items():
        return
    for name in files.list_directory(partial):
        if name.endswith(".jsonl"):
            _renew_part(files.join(partial, name))
    files.write_text(path, prediction_files.dumps(about | FORM) + "\n")


def _renew_part(path: str) -> None:
    first, *lines = files.read_text(path).removesuffix("\n").split("\n")
    head = json.loads(first)
    inputs, outputs = head["inputs"], head["outputs"]
    if all(n.startswith((INPUT, PREDICTED)) for n in (*inputs, *outputs)):
        return
    rows = [_marked(json.loads(line), inputs, outputs) for line in lines]
    head["inputs"] = [f"{INPUT}{name}" for name in inputs]
    head["outputs"] = list(
        dict.fromkeys(n for row in rows for n in row if n[0] == PREDICTED)
    )
    text = [prediction_files.dumps(each) for each in (head, *rows)]
    files.write_text(path, "".join(f"{line}\n" for line in text))


def _marked(
    row: Mapping[str, Any], inputs: list[str], outputs: list[str]
) -> dict[str, Any]:
    found = {}
    for name, value in row.items():
        own = name.removeprefix(_BEFORE)
        if name in outputs and own != name and own in row:
            found[f"{PREDICTED}{own}"] = value
        elif name not in outputs or f"{_BEFORE}{name}" in row:
            found[f"{INPUT}{name}"] = value
        elif name in inputs and name != _ERROR and row.get(_ERROR):
            found[f"{INPUT}{name}"] = value  # a row without a prediction
        else:
            found[f"{PREDICTED}{name}"] = value
    return found
