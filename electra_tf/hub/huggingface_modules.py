"""Reads sentence-transformers' folders: an encoder and further modules."""

import json

from electra_tf import files
from electra_tf.errors import UserError

_MODULES = "modules.json"
FILES = (_MODULES,)


def model_folder(directory: str) -> tuple[str, list[str]]:
    """Finds the encoder in a folder of sentence-transformers.

    Older versions store it in a subfolder, such as `0_Transformer`.

    Args:
      directory: a folder, of that library or not.

    Returns:
      The folder of config.json and weights; and sentences on further modules,
      which are not applied.

    Raises:
      UserError: its list of modules is damaged, or points outside the folder.
    """
    file = files.join(directory, _MODULES)
    if not files.exists(file):
        return directory, []
    try:
        content = json.loads(files.read_text(file))
        if not isinstance(content, list) or not content:
            raise ValueError("no modules")
        kinds = [str(m["type"]).rpartition(".")[2] for m in content]
        places = [str(m["path"]) for m in content]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UserError(
            f"cannot read {file}: expected a JSON list of modules, each with "
            "type and path"
        ) from error
    notes = []
    if kinds[1:]:
        notes.append(
            "the encoder alone: sentence-transformers' "
            f"{', '.join(kinds[1:])} behind it are not applied"
        )
    first = places[0]
    if not first or files.exists(files.join(directory, "config.json")):
        return directory, notes
    if "/" in first.strip("/") or "\\" in first or first.startswith("."):
        raise UserError(
            f"{file}: path: expected a folder beside it, got '{first}'"
        )
    return files.join(directory, first), notes
