"""The settings of a run, kept in its directory and compared at each start."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from electra_tf import files
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
    translate: Callable[[dict[str, Any]], dict[str, Any]] = dict,
) -> None:
    """Writes the settings into a new run; compares them in an old one.

    Args:
      run_dir: holds config.json, or will.
      run_config: JSON values; None does nothing.
      write: whether a new run is given them.
      translate: old settings, perhaps of an older version, with the names of
        today.

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
        before = dict(json.loads(files.read_text(path)))
    except (TypeError, ValueError) as error:
        raise UserError(f"{path} is not JSON ({error})") from error
    before = translate(before)
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
