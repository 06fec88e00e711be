"""The settings of a run, kept in its directory and compared at each start."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from electra_tf import files
from electra_tf.config import up_to_date
from electra_tf.errors import UserError

# Settings that came later, and what runs from before them did.
_LATER = {
    "train.precision": "float32",
    "train.gradient_accumulation": 1,
    "train.recompute": False,
    "train.attention": "composed",
    "data.pack_examples": False,
}


def check(
    run_dir: str,
    run_config: dict[str, Any] | None,
    write: bool = True,
    cls: type | None = None,
) -> None:
    """Writes the settings into a new run; compares them in an old one.

    Args:
      run_dir: holds config.json, or will.
      run_config: JSON values; None does nothing.
      write: whether a new run is given them.
      cls: the settings class that they were made of. Of an older run, keys
        that have another name by now are compared under that one, and keys
        that came later count as their defaults.

    Raises:
      UserError: the run has other settings; each is named.
    """
    if run_config is None:
        return
    path = files.join(run_dir, "config.json")
    text = json.dumps(run_config, indent=2, sort_keys=True) + "\n"
    if not files.exists(path):
        if write:
            files.write_text(path, text)
        return
    try:
        before = json.loads(files.read_text(path))
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error})") from error
    if cls is not None:
        before = up_to_date(cls, before)
    old, new = dict(_flatten(before)), dict(_flatten(json.loads(text)))
    for key in _LATER.keys() & new.keys():
        old.setdefault(key, _LATER[key])
    changed = [
        f"{key}: {_show(old, key)} there, {_show(new, key)} now"
        for key in sorted(old.keys() | new.keys())
        if _show(old, key) != _show(new, key)
    ]
    if changed:
        raise UserError(
            f"{run_dir} holds a run with other settings ({'; '.join(changed)});"
            " use those, or choose another output directory"
        )


def _flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flatten(inner, f"{prefix}.{key}" if prefix else key)
    else:
        yield prefix, value


def _show(flat: Mapping[str, Any], key: str) -> str:
    return json.dumps(flat[key]) if key in flat else "absent"
