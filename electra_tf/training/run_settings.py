"""The settings of a run, kept in its directory and compared at each start."""

import dataclasses
import json
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from electra_tf import files
from electra_tf.config import setting_of
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
        before = _up_to_date(cls, before)
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


def _up_to_date(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as an older version wrote them, as this one would.

    Names become those of today, and keys that came later get their defaults.
    What `cls` does not know stays.
    """
    kinds = typing.get_type_hints(cls, include_extras=True)
    found = dict(values)
    for field in dataclasses.fields(cls):
        name, kind = field.name, kinds[field.name]
        for older in setting_of(kind).formerly:
            if older in found:
                found[name] = found.pop(older)
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            if isinstance(found.get(name, {}), Mapping):
                found[name] = _up_to_date(kind, found.get(name, {}))
        elif name not in found and field.default is not dataclasses.MISSING:
            found[name] = field.default
    return json.loads(json.dumps(found))  # tuples are lists in JSON


def _flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flatten(inner, f"{prefix}.{key}" if prefix else key)
    else:
        yield prefix, value


def _show(flat: Mapping[str, Any], key: str) -> str:
    return json.dumps(flat[key]) if key in flat else "absent"
