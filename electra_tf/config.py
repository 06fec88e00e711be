"""Settings: frozen dataclasses, filled from YAML and `--set key=value`.

No settings live here. Each room declares its own dataclass with defaults, and
a command composes them into one. This module turns YAML into such a dataclass
and answers mistakes with the file, the line, the key and the nearest known
key. Keys are written with dots: `train.learning_rate`.
"""

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar, Union

import yaml

from electra_tf import files
from electra_tf.errors import UserError

T = TypeVar("T")

# YAML 1.1 reads `1e-3` (no point, or no sign in the exponent) as text.
_NUMBER = re.compile(r"[-+]?(\d[\d_]*\.?\d*|\.\d+)([eE][-+]?\d+)?")
_NOTHING = ("none", "None", "null", "")
_ABSENT = "(absent)"


@dataclasses.dataclass(frozen=True)
class _Source:
    """Where values came from, and the settings they are all meant for."""

    root: type
    default: str
    places: Mapping[str, str]

    def at(self, key: str) -> str:
        """The place of `key`, or of the nearest section around it."""
        while key:
            if key in self.places:
                return self.places[key]
            key = key.rpartition(".")[0]
        return self.default


def load(cls: type[T], path: str | None, overrides: Sequence[str] = ()) -> T:
    """Reads settings from a YAML file and applies overrides to them.

    Args:
      cls: a frozen dataclass; its fields may be dataclasses in turn.
      path: a YAML file, local or remote; None starts from the defaults.
      overrides: `section.key=value` strings, the value written as in YAML;
        later ones win.

    Returns:
      An instance of `cls`. Keys that are not given keep their defaults.

    Raises:
      UserError: unreadable or malformed file, unknown or repeated key, value
        of the wrong type, missing key without a default. It names the place
        (`file:line` or the override) and, for unknown keys, the nearest one.
    """
    values: dict[str, Any] = {}
    places: dict[str, str] = {}
    if path:
        values, places = _read_yaml(path)
    for override in overrides:
        _apply_override(values, places, override)
    source = _Source(cls, path or "settings", places)
    return _build(cls, values, "", source)


def from_dict(
    cls: type[T], values: Mapping[str, Any], where: str = "settings"
) -> T:
    """Fills `cls` from nested dicts, such as `to_dict` or a JSON file gives.

    Args:
      cls: a dataclass.
      values: its fields; nested dataclasses as nested mappings.
      where: what an error message names as the origin, e.g. a file.

    Raises:
      UserError: as for `load`.
    """
    return _build(cls, values, "", _Source(cls, where, {}))


def to_dict(settings: Any) -> dict[str, Any]:
    """A dataclass as nested dicts of plain values (tuples become lists)."""
    return {
        field.name: _plain(getattr(settings, field.name))
        for field in dataclasses.fields(settings)
    }


def differences(
    a: Mapping[str, Any], b: Mapping[str, Any]
) -> list[tuple[str, Any, Any]]:
    """Compares two nested dicts of settings.

    Returns:
      (dotted key, value in a, value in b) for each leaf that differs, sorted
      by key; a leaf that one side lacks shows as "(absent)" there.
    """
    left, right = dict(_leaves(a)), dict(_leaves(b))
    return [
        (key, left.get(key, _ABSENT), right.get(key, _ABSENT))
        for key in sorted(left.keys() | right.keys())
        if left.get(key, _ABSENT) != right.get(key, _ABSENT)
    ]


def known_keys(cls: type) -> list[str]:
    """The dotted keys of all leaves of a settings dataclass, in order."""
    keys = []
    for name, kind in _field_types(cls).items():
        section = _section(kind)
        if section is None:
            keys.append(name)
        else:
            keys.extend(f"{name}.{key}" for key in known_keys(section))
    return keys


def _read_yaml(path: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The file's mapping, and `file:line` for each dotted key in it."""
    text = files.read_text(path)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        places = dict(_key_places(node, "", path))
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "unreadable"
        raise UserError(f"{path}{line}: not valid YAML: {problem}") from error
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise UserError(
            f"{path}: expected 'key: value' lines, got {_describe(values)}"
        )
    return values, places


def _key_places(
    node: yaml.Node | None, prefix: str, path: str
) -> Iterator[tuple[str, str]]:
    """Yields (dotted key, file:line) below `node`; refuses repeated keys."""
    if not isinstance(node, yaml.MappingNode):
        return
    seen: set[str] = set()
    for key_node, value_node in node.value:
        name = str(key_node.value)
        place = f"{path}:{key_node.start_mark.line + 1}"
        if name in seen:
            raise UserError(f"{place}: key '{prefix}{name}' is given twice")
        seen.add(name)
        yield prefix + name, place
        yield from _key_places(value_node, f"{prefix}{name}.", path)


def _apply_override(
    values: dict[str, Any], places: dict[str, str], override: str
) -> None:
    """Writes one `section.key=value` into `values` and `places`."""
    key, equals, text = override.partition("=")
    key = key.strip()
    if not equals or not key:
        raise UserError(f"--set: expected section.key=value, got '{override}'")
    place = f"--set {override}"
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(
            f"{place}: '{text}' is not a YAML value; quote it"
        ) from error
    *sections, leaf = key.split(".")
    target = values
    for depth, name in enumerate(sections):
        inner = target.get(name)
        if inner is None:
            inner = target[name] = {}
            places[".".join(sections[: depth + 1])] = place
        if not isinstance(inner, dict):
            outer = ".".join(sections[: depth + 1])
            raise UserError(f"{place}: '{outer}' is not a section")
        target = inner
    target[leaf] = value
    for old in [k for k in places if k.startswith(f"{key}.")]:
        del places[old]
    places[key] = place


def _build(cls: type[T], values: Any, prefix: str, source: _Source) -> T:
    """Checks `values` against the fields of `cls` and creates it."""
    if not isinstance(values, Mapping):
        section = prefix.rstrip(".") or "settings"
        raise UserError(
            f"{source.at(section)}: {section}: expected a section of "
            f"'key: value', got {_describe(values)}"
        )
    kinds = _field_types(cls)
    arguments: dict[str, Any] = {}
    for name, value in values.items():
        key = f"{prefix}{name}"
        if name not in kinds:
            raise UserError(
                f"{source.at(key)}: unknown key '{key}'; "
                + _nearest(str(name), prefix, cls, source.root)
            )
        section = _section(kinds[name])
        if value is None and section is kinds[name]:
            value = {}  # `train:` with nothing below it
        arguments[name] = _convert(value, kinds[name], key, source)
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        if (
            field.name not in arguments
            and field.default is dataclasses.MISSING
            and field.default_factory is dataclasses.MISSING
        ):
            key = f"{prefix}{field.name}"
            raise UserError(f"{source.at(key)}: key '{key}' is required")
    try:
        return cls(**arguments)
    except (UserError, ValueError) as error:  # from __post_init__
        place = source.at(prefix.rstrip("."))
        section = f"{prefix.rstrip('.')}: " if prefix else ""
        raise UserError(f"{place}: {section}{error}") from error


def _convert(value: Any, kind: Any, key: str, source: _Source) -> Any:
    """`value` as the annotated type `kind`, or a `UserError` naming `key`."""
    if dataclasses.is_dataclass(kind):
        return _build(kind, value, f"{key}.", source)
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        return _convert_union(value, parts, key, source)
    if origin is tuple and isinstance(value, list | tuple):
        if len(parts) == 2 and parts[1] is Ellipsis:
            parts = (parts[0],) * len(value)
        if len(parts) == len(value):
            return tuple(
                _convert(item, part, f"{key}[{i}]", source)
                for i, (item, part) in enumerate(zip(value, parts))
            )
    elif origin is dict and isinstance(value, Mapping):
        return {
            _convert(k, parts[0], key, source): _convert(
                v, parts[1], f"{key}.{k}", source
            )
            for k, v in value.items()
        }
    elif origin is Literal:
        for option in parts:
            if type(value) is type(option) and value == option:
                return option
    else:
        converted = _convert_scalar(value, kind)
        if converted is not None:
            return converted
    message = f"{source.at(key.split('[')[0])}: {key}: expected "
    message += f"{_name(kind)}, got {_describe(value)}"
    if kind is str and isinstance(value, bool | int | float):
        message += "; put it in quotes"
    raise UserError(message)


def _convert_union(
    value: Any, parts: tuple[Any, ...], key: str, source: _Source
) -> Any:
    """The first member of the union that takes `value`."""
    others = [part for part in parts if part is not type(None)]
    if len(others) < len(parts):
        if value is None:
            return None
        if str not in others and value in _NOTHING:
            return None
    if len(others) == 1:
        return _convert(value, others[0], key, source)
    for part in others:
        try:
            return _convert(value, part, key, source)
        except UserError:
            continue
    wanted = " or ".join(_name(part) for part in parts)
    raise UserError(
        f"{source.at(key)}: {key}: expected {wanted}, got {_describe(value)}"
    )


def _convert_scalar(value: Any, kind: Any) -> Any:
    """`value` as a bool, int, float or str; None where it is not one."""
    if kind is Any:
        return value
    if kind in (bool, str):
        return value if isinstance(value, kind) else None
    if kind not in (int, float) or isinstance(value, bool):
        return None
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        digits = value.replace("_", "")
        value = int(digits) if digits.lstrip("+-").isdigit() else float(digits)
    if not isinstance(value, int | float):
        return None
    if kind is float:
        return float(value)
    # 1e6 steps are a million steps; 1.5 steps are a mistake.
    return int(value) if value == value // 1 else None


def _field_types(cls: type) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    return {
        field.name: hints[field.name]
        for field in dataclasses.fields(cls)
        if field.init
    }


def _section(kind: Any) -> type | None:
    """The dataclass that `kind` is, or may be beside None."""
    for part in (kind, *typing.get_args(kind)):
        if dataclasses.is_dataclass(part) and isinstance(part, type):
            return part
    return None


def _nearest(name: str, prefix: str, cls: type, root: type) -> str:
    """Words that lead from an unknown `name` in section `cls` to a known."""
    here = list(_field_types(cls))
    close = difflib.get_close_matches(name, here, n=1)
    if close:
        return f"did you mean '{prefix}{close[0]}'?"
    # The right name in the wrong section.
    leaves = {key.rpartition(".")[2]: key for key in known_keys(root)}
    close = difflib.get_close_matches(name, leaves, n=1)
    if close:
        return f"did you mean '{leaves[close[0]]}'?"
    return f"known here: {', '.join(here)}"


def _name(kind: Any) -> str:
    """An annotated type in words."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return "one of " + ", ".join(repr(part) for part in parts)
    if origin in (Union, types.UnionType):
        return " or ".join(_name(part) for part in parts)
    if origin is tuple:
        if len(parts) == 2 and parts[1] is Ellipsis:
            return f"a list, each {_name(parts[0])}"
        return "a list of " + ", ".join(_name(part) for part in parts)
    words = {
        int: "a whole number", float: "a number", bool: "true or false",
        str: "text", type(None): "null", dict: "a mapping",
    }  # fmt: skip
    return words.get(origin or kind, str(kind))


def _describe(value: Any) -> str:
    """A value from YAML as an error message shows it."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_dict(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _leaves(
    values: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{key}.")
        else:
            yield key, _plain(value)
