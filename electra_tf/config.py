"""Provides settings: frozen dataclasses, filled from YAML and `--set`.

Each package declares its own dataclass on `Settings`. A field's annotation has
its meaning and the allowed values:

    batch_size: Annotated[int, Setting("Examples per update.", at_least=1)] = 32

This module checks all settings, however they are made; an error names the file,
the line, the key and the nearest known key: `train.learning_rate`.
"""

import dataclasses
import difflib
import functools
import math
import numbers
import operator
import os
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union

import yaml

from electra_tf import files
from electra_tf.errors import UserError

T = TypeVar("T")

# Settings from a caller: an instance, nested dicts, or a YAML file.
Config = Any
# `section.key=value` texts, or dotted keys with values.
Overrides = Sequence[str] | Mapping[str, Any]

# YAML 1.1 reads `1e-3` (no point, or no sign in the exponent) as text.
_NUMBER = re.compile(r"[-+]?(\d[\d_]*\.?\d*|\.\d+)([eE][-+]?\d+)?")
_NOTHING = ("none", "None", "null", "")


@dataclasses.dataclass(frozen=True)
class Setting:
    """The meaning of a field, and its allowed values.

    Attributes:
      text: one line that describes it.
      at_least: lowest allowed number.
      above: exclusive lower bound.
      at_most: highest allowed number.
      below: exclusive upper bound.
      infinite: whether infinite numbers have a meaning.
      formerly: older names of the key, which old files may have.
    """

    text: str = ""
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    infinite: bool = False
    formerly: tuple[str, ...] = ()

    def bounds(self) -> str:
        """Describes which numbers are allowed; empty where all are."""
        return " and ".join(
            f"{name.replace('_', ' ')} "
            f"{value if isinstance(value, int) else f'{value:g}'}"
            for name in ("at_least", "above", "at_most", "below")
            if (value := getattr(self, name)) is not None
        )

    def wanted(self, value: float) -> str:
        """Describes what is allowed in place of a number that is not."""
        if abs(value) == math.inf and not self.infinite:
            return "a finite number"
        return self.bounds() or "a number"

    def allows(self, value: float) -> bool:
        """Returns whether a number is within the bounds; NaN never is."""
        if abs(value) == math.inf and not self.infinite:
            return False
        return value == value and all(
            bound is None or holds(value, bound)
            for bound, holds in (
                (self.at_least, operator.ge), (self.above, operator.gt),
                (self.at_most, operator.le), (self.below, operator.lt),
            )
        )  # fmt: skip


class Settings:
    """The base of settings dataclasses, which checks fields by annotation.

    A subclass that checks several fields together does so in `__post_init__`,
    after `super().__post_init__()`.
    """

    def __post_init__(self) -> None:
        cls: type = type(self)
        source = _Source(cls, "", {})
        for name, kind in _field_types(cls).items():
            value = getattr(self, name)
            checked = _convert(value, kind, name, source)
            if checked is not value:
                object.__setattr__(self, name, checked)


class Key(NamedTuple):
    """A key of a settings class, for the reference."""

    key: str  # dotted
    kind: str  # its type in words
    default: str  # as in YAML; "required" where there is none
    bounds: str  # "" where any value of the type is allowed
    text: str  # its description


@dataclasses.dataclass(frozen=True)
class _Source:
    """The source of values, and the settings class that they are for."""

    root: type
    default: str
    places: Mapping[str, str]

    def at(self, key: str) -> str:
        """Returns the place of `key`, or of the nearest enclosing section.

        It ends in ": " and is empty where unknown.
        """
        while key:
            if key in self.places:
                return f"{self.places[key]}: "
            key = key.rpartition(".")[0]
        return f"{self.default}: " if self.default else ""


def resolve(
    cls: type[T],
    config: Config = None,
    overrides: Overrides = (),
    **sections: Any,
) -> T:
    """Makes settings from any form that a caller may have.

    Args:
      cls: a frozen dataclass; its fields may be dataclasses in turn.
      config: an instance of `cls`, nested dicts, a YAML file's path (local or
        remote), or None for the defaults.
      overrides: `section.key=value` strings, the value written as in YAML, or
        a mapping of dotted keys to values. They win over everything else,
        later ones over earlier ones.
      **sections: keys for each section, a mapping or dataclass, which override
        `config`.

    Returns:
      An instance of `cls`. Keys that are not given keep their defaults.

    Raises:
      UserError: the file is unreadable or malformed, a key is unknown, repeated
        or missing without a default, or a value has a wrong type or is out of
        bounds. The place (`file:line` or the override) is named, and for
        unknown keys the nearest one.
    """
    values: dict[str, Any] = {}
    places: dict[str, str] = {}
    default = "settings"
    if isinstance(config, str | os.PathLike):
        (values, places), default = _read_yaml(str(config)), str(config)
    elif dataclasses.is_dataclass(config) or isinstance(config, Mapping):
        values = _plain(config)
    elif config is not None:
        raise UserError(
            "config: expected a settings object, a mapping or the path of a "
            f"YAML file, got {_describe(config)}"
        )
    for section, given in sections.items():
        given = {} if given is None else _plain(given)
        if not isinstance(given, Mapping):
            raise UserError(
                f"{section}: expected a mapping of keys to values, got "
                f"{_describe(given)}"
            )
        for name, value in given.items():
            _write(values, places, f"{section}.{name}", value, f"{section}=")
    _apply_overrides(values, places, overrides)
    return _build(cls, values, "", _Source(cls, default, places))


def from_dict(
    cls: type[T], values: Mapping[str, Any], where: str = "settings"
) -> T:
    """Fills `cls` from nested dicts, such as those of `to_dict` or a JSON file.

    Args:
      cls: a dataclass.
      values: its fields; nested dataclasses as nested mappings.
      where: the origin, such as a file, for messages.

    Raises:
      UserError: see `resolve`.
    """
    return _build(cls, values, "", _Source(cls, where, {}))


def to_dict(settings: Any) -> dict[str, Any]:
    """Turns a dataclass into nested dicts; its tuples become lists."""
    return {
        field.name: _plain(getattr(settings, field.name))
        for field in dataclasses.fields(settings)
    }


def describe(cls: type, prefix: str = "") -> list[Key]:
    """Lists every key of a settings class and its sections, in order.

    Args:
      cls: a dataclass.
      prefix: prefix of the keys, such as "train.".
    """
    found = []
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for name, kind in _field_types(cls).items():
        section = _section(kind)
        if section is not None:
            found += describe(section, f"{prefix}{name}.")
            continue
        setting = setting_of(kind)
        default, text = _default(fields[name]), " ".join(setting.text.split())
        found.append(
            Key(prefix + name, _name(kind), default, setting.bounds(), text)
        )
    return found


def setting_of(kind: Any) -> Setting:
    """Returns the `Setting` of an annotation, or an empty one."""
    for extra in getattr(kind, "__metadata__", ()):
        if isinstance(extra, Setting):
            return extra
    if typing.get_origin(kind) in (Union, types.UnionType):
        for part in typing.get_args(kind):
            if (found := setting_of(part)) != Setting():
                return found
    return Setting()


def _read_yaml(path: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Reads a file's mapping, and `file:line` of each dotted key."""
    if path.startswith("configs/") and not files.exists(path):
        raise UserError(
            f"cannot read {path}: no such file; configs/ is in the repository "
            "of electra_tf, and pip does not install it: run the command in a "
            "clone, or give the file's full path"
        )
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
    values = {} if values is None else values
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


def _apply_overrides(
    values: dict[str, Any], places: dict[str, str], overrides: Overrides
) -> None:
    """Writes overrides of either form into `values` and `places`."""
    if isinstance(overrides, Mapping):
        for key, value in overrides.items():
            _write(values, places, key, _plain(value), f"overrides '{key}'")
        return
    if isinstance(overrides, str):
        overrides = [overrides]
    for override in overrides:
        key, equals, text = override.partition("=")
        key = key.strip()
        if not equals or not key:
            raise UserError(
                f"--set: expected section.key=value, got '{override}'"
            )
        place = f"--set {override}"
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UserError(
                f"{place}: '{text}' is not a YAML value; quote it"
            ) from error
        _write(values, places, key, value, place)


def _write(
    values: dict[str, Any],
    places: dict[str, str],
    key: str,
    value: Any,
    place: str,
) -> None:
    """Writes one value at a dotted key, replacing an existing one."""
    *sections, leaf = key.split(".")
    target = values
    for depth, name in enumerate(sections):
        if (inner := target.get(name)) is None:
            inner = target[name] = {}
            places[".".join(sections[: depth + 1])] = place
        if not isinstance(inner, dict):
            outer = ".".join(sections[: depth + 1])
            raise UserError(f"{place}: '{outer}' is not a section")
        target = inner
    target.pop(leaf, None)  # the last one wins, under old and new names
    target[leaf] = value
    for old in [k for k in places if k.startswith(f"{key}.")]:
        del places[old]
    places[key] = place


def _build(cls: type[T], values: Any, prefix: str, source: _Source) -> T:
    """Checks `values` against the fields of `cls` and creates it."""
    if not isinstance(values, Mapping):
        section = prefix.rstrip(".") or "settings"
        raise UserError(
            f"{source.at(section)}{section}: expected a section of "
            f"'key: value', got {_describe(values)}"
        )
    plain: type = cls  # for `functools.cache`, which cannot take type[T]
    kinds, names_today = _field_types(plain), _current_names(plain)
    arguments: dict[str, Any] = {}
    for given, value in values.items():
        key, name = f"{prefix}{given}", names_today.get(given, given)
        if name not in kinds:
            raise UserError(
                f"{source.at(key)}unknown key '{key}'; "
                + _nearest(str(given), prefix, cls, source.root)
            )
        if name in arguments and source.at(key).startswith(source.default):
            raise UserError(
                f"{source.at(key)}'{prefix}{name}' is given twice, once by an "
                "older name; leave one of them out"
            )
        if value is None and _section(kinds[name]) is kinds[name]:
            value = {}  # an empty section, `train:`
        arguments[name] = _convert(value, kinds[name], key, source)
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        if (
            field.name not in arguments
            and field.default is dataclasses.MISSING
            and field.default_factory is dataclasses.MISSING
        ):
            key = f"{prefix}{field.name}"
            raise UserError(f"{source.at(key)}key '{key}' is required")
    try:
        return cls(**arguments)
    except (UserError, ValueError) as error:  # from __post_init__
        section = prefix.rstrip(".")
        text = str(error)
        head = text.partition(":")[0]
        key = next(
            (f"{prefix}{name}" for name in kinds if name == head), section
        )
        if section and not text.startswith(prefix):
            joint = "." if key != section else ": "
            text = f"{section}{joint}{text}"
        elif text.startswith(prefix):
            key = head if head in source.places else section
        raise UserError(f"{source.at(key)}{text}") from error


def _convert(value: Any, kind: Any, key: str, source: _Source) -> Any:
    """Converts `value` to the annotated type, or raises a `UserError`."""
    if typing.get_origin(kind) is Annotated:
        setting = setting_of(kind)
        value = _convert(value, typing.get_args(kind)[0], key, source)
        for part in value if isinstance(value, tuple) else (value,):
            if _is_number(part) and not setting.allows(part):
                raise UserError(
                    f"{source.at(key)}{key}: expected {setting.wanted(part)}, "
                    f"got {_describe(part)}"
                )
        return value
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if isinstance(value, kind):
            return value
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
    elif origin in (dict, Mapping) and isinstance(value, Mapping):
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
    message = f"{source.at(key.split('[')[0])}{key}: expected "
    message += f"{_name(kind)}, got {_describe(value)}"
    if kind is str and isinstance(value, bool | int | float):
        message += "; put it in quotes"
    if origin is tuple and isinstance(value, str):
        message += f"; put it in brackets: [{value:.60}]"
    raise UserError(message)


def _convert_union(
    value: Any, parts: tuple[Any, ...], key: str, source: _Source
) -> Any:
    """Converts `value` to the first member of a union that accepts it."""
    others = [part for part in parts if part is not type(None)]
    if len(others) < len(parts):
        if value is None:
            return None
        if str not in map(_bare, others) and value in _NOTHING:
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
        f"{source.at(key)}{key}: expected {wanted}, got {_describe(value)}"
    )


def _convert_scalar(value: Any, kind: Any) -> Any:
    """Converts `value` to a bool, int, float or str, or returns None."""
    if kind is Any:
        return value
    if kind in (bool, str):
        return value if isinstance(value, kind) else None
    if kind not in (int, float):
        # To Python 3.10 tuple[int, ...] is a type as well.
        plain = typing.get_origin(kind) is None and isinstance(kind, type)
        return value if plain and isinstance(value, kind) else None
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        digits = value.replace("_", "")
        value = int(digits) if digits.lstrip("+-").isdigit() else float(digits)
    if not _is_number(value):
        return None
    if kind is float:
        return float(value)
    # 1e6 steps are a million steps; 1.5 steps are a mistake.
    return int(value) if value == value // 1 else None


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _bare(kind: Any) -> Any:
    """Returns an annotation without its `Setting`."""
    annotated = typing.get_origin(kind) is Annotated
    return typing.get_args(kind)[0] if annotated else kind


@functools.cache
def _field_types(cls: type) -> dict[str, Any]:
    hints = typing.get_type_hints(cls, include_extras=True)
    return {
        field.name: hints[field.name]
        for field in dataclasses.fields(cls)
        if field.init
    }


@functools.cache
def _current_names(cls: type) -> dict[str, str]:
    """Returns older name -> current name, for the fields of `cls`."""
    return {
        older: name
        for name, kind in _field_types(cls).items()
        for older in setting_of(kind).formerly
    }


def _section(kind: Any) -> type | None:
    """Returns the dataclass in `kind`, which may also allow None."""
    for part in (kind, *typing.get_args(kind)):
        if dataclasses.is_dataclass(part) and isinstance(part, type):
            return part
    return None


def _nearest(name: str, prefix: str, cls: type, root: type) -> str:
    """Suggests a known key for an unknown `name` in section `cls`."""
    here = list(_field_types(cls))
    leaves = {each.key.rpartition(".")[2]: each.key for each in describe(root)}
    found = _close(name, here)
    if found:
        return f"did you mean '{prefix}{found}'?"
    found = _close(name, leaves)  # the right name in the wrong section
    if found:
        return f"did you mean '{leaves[found]}'?"
    return f"known here: {', '.join(here)}"


def _close(name: str, known: typing.Iterable[str]) -> str | None:
    """Returns the most similar name, or one with all words of `name`."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return close[0]
    words = set(name.split("_"))
    holds = [one for one in known if words <= set(one.split("_"))]
    return min(holds, key=len) if holds else None


def _default(field: dataclasses.Field) -> str:
    """Formats the default of a field as in YAML."""
    value = field.default
    if field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    if value is dataclasses.MISSING:
        return "required"
    text = yaml.safe_dump(_plain(value), default_flow_style=True, width=1e9)
    return text.removesuffix("\n").removesuffix("\n...")


def _name(kind: Any) -> str:
    """Describes an annotated type."""
    kind = _bare(kind)
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return "one of " + ", ".join(repr(part) for part in parts)
    if origin in (Union, types.UnionType):
        names = " or ".join(map(_name, parts)).split(" or ")
        return " or ".join(dict.fromkeys(names))  # a union may be in a union
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return "a mapping of " + ", ".join(_field_types(kind))
    if origin is tuple:
        if len(parts) == 2 and parts[1] is Ellipsis:
            return f"a list, each {_name(parts[0])}"
        return "a list of " + ", ".join(_name(part) for part in parts)
    words = {
        int: "a whole number", float: "a number", bool: "true or false",
        str: "text", type(None): "null", dict: "a mapping", Any: "any value",
    }  # fmt: skip
    return words.get(origin or kind, str(kind))


def _describe(value: Any) -> str:
    """Formats a value from YAML for an error message."""
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "true", False: "false"}[value]
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
