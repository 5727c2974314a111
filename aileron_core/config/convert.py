"""From TOML values (and text of variables and flags) to the types of settings."""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal
from weakref import WeakKeyDictionary

import attrs
from attrs import frozen

from aileron_core.config.setting import Setting, setting_of
from aileron_core.nearest import did_you_mean

Key = tuple[str | int, ...]
ORIGIN = "origin"
"""A nested table's field of this name gets ``file:line``; it is no key."""


@frozen
class Place:
    """Where a value stands: what relative paths and origins refer to."""

    base: Path
    """Relative paths start here."""
    home: str
    """For ``~``."""
    where: Callable[[Key], str]
    """The origin of a key, for people."""


class BadValue(Exception):  # noqa: N818 - a finding, turned into an AileronError by the loader
    """A value that does not fit."""

    def __init__(self, key: Key, problem: str, hint: str = "", *, unknown: bool = False) -> None:
        super().__init__(problem)
        self.key = key
        self.problem = problem
        self.hint = hint
        self.unknown = unknown


@frozen
class Field:
    """One key of a table."""

    name: str
    type: Any
    setting: Setting
    default: Any
    nested: type[Any] | None
    """The attrs class, when the key is a table of its own."""


def fields_of(cls: type[Any]) -> Mapping[str, Field]:
    """The keys of an attrs class.

    Raises:
        TypeError: an annotation cannot be resolved.
    """
    found = _known.get(cls)
    if found is None:
        found = _known[cls] = _fields_of(cls)
    return found


_known: WeakKeyDictionary[type[Any], Mapping[str, Field]] = WeakKeyDictionary()
"""The daemon reads configuration at every launch; annotations cost more than all the rest."""


def _fields_of(cls: type[Any]) -> Mapping[str, Field]:
    try:
        hints = typing.get_type_hints(cls)
    except NameError as error:
        raise TypeError(f"{cls.__name__}: {error}; annotations are needed when it runs") from error
    return {
        one.name: Field(
            one.name,
            hints[one.name],
            setting_of(one),
            one.default,
            hints[one.name] if attrs.has(hints[one.name]) else None,
        )
        for one in attrs.fields(cls)
        if one.init and one.name != ORIGIN
    }


def convert(kind: Any, value: Any, key: Key, place: Place) -> Any:
    """``value`` as the type ``kind``.

    Raises:
        BadValue: it does not fit; the exception's key is the exact place.
        TypeError: configuration cannot have this type (the plugin's fault).
    """
    origin = typing.get_origin(kind)
    if kind is Any:
        return value
    if origin is Literal:
        return _choice(typing.get_args(kind), value, key)
    if origin in (typing.Union, types.UnionType):
        return _union(typing.get_args(kind), value, key, place)
    if origin in (tuple, frozenset, list):
        return _sequence(origin, typing.get_args(kind)[0], value, key, place)
    if origin is not None and issubclass(origin, Mapping):
        return _mapping(typing.get_args(kind)[1], value, key, place)
    if isinstance(kind, type):
        return _plain(kind, value, key, place)
    raise TypeError(f"{'.'.join(map(str, key))}: configuration cannot have the type {kind}")


def _plain(kind: type[Any], value: Any, key: Key, place: Place) -> Any:
    if attrs.has(kind):
        return convert_table(kind, value, key, place)
    if issubclass(kind, enum.Enum):
        return kind(_choice(tuple(item.value for item in kind), value, key))
    if kind is Path:
        return _path(_expect(str, value, key), key, place)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind in _NAMES:
        return _expect(kind, value, key)
    raise TypeError(f"{'.'.join(map(str, key))}: configuration cannot have the type {kind}")


_NAMES = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "a table",
}


def _expect(kind: type[Any], value: Any, key: Key) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise BadValue(key, f"it is {describe(value)}, not {_NAMES[kind]}")
    return value


def describe(value: Any) -> str:
    """What kind of value this is, for people; never the value itself, which may be a secret."""
    for kind in (bool, str, int, float, list, dict):
        if isinstance(value, kind):
            return _NAMES[kind]
    return f"a {type(value).__name__}"


def _choice(choices: tuple[Any, ...], value: Any, key: Key) -> Any:
    for choice in choices:
        if type(choice) is type(value) and choice == value:
            return choice
    known = [str(choice) for choice in choices]
    shown = repr(value[:60]) if isinstance(value, str) else describe(value)
    hint = did_you_mean(value, known) if isinstance(value, str) else ""
    raise BadValue(key, f"it is {shown}, not one of {', '.join(known)}", hint)


def _union(kinds: tuple[Any, ...], value: Any, key: Key, place: Place) -> Any:
    if value is None and types.NoneType in kinds:
        return None
    real = [kind for kind in kinds if kind is not types.NoneType]
    for kind in real[:-1]:
        try:
            return convert(kind, value, key, place)
        except BadValue:
            continue
    return convert(real[-1], value, key, place)


def _sequence(made: type[Any], kind: Any, value: Any, key: Key, place: Place) -> Any:
    if not isinstance(value, (list, tuple)):
        raise BadValue(key, f"it is {describe(value)}, not a list")
    return made(convert(kind, item, (*key, i), place) for i, item in enumerate(value))


def _mapping(kind: Any, value: Any, key: Key, place: Place) -> Mapping[str, Any]:
    table = _expect(dict, value, key)
    return {name: convert(kind, item, (*key, name), place) for name, item in table.items()}


def _path(text: str, key: Key, place: Place) -> Path:
    if "\0" in text:
        raise BadValue(key, "a path cannot hold a NUL")
    if text == "~" or text.startswith("~/"):
        return Path(place.home + text[1:])
    return place.base / text


def convert_table(cls: type[Any], value: Any, key: Key, place: Place) -> Any:
    """A whole nested table as an instance of its attrs class."""
    table = _expect(dict, value, key)
    known = fields_of(cls)
    given = {}
    for name, item in table.items():
        if name not in known:
            raise unknown_key(name, known, key)
        given[name] = convert(known[name].type, item, (*key, name), place)
    for name, one in known.items():
        if one.default is attrs.NOTHING and name not in given:
            raise BadValue(key, f"the key {name!r} is missing")
    return build(cls, given, key, place.where(key))


def unknown_key(name: str, known: Mapping[str, Any], key: Key) -> BadValue:
    """That a table has no such key."""
    hint = did_you_mean(name, known, what="keys")
    return BadValue((*key, name), "there is no such setting", hint, unknown=True)


def build(cls: type[Any], given: Mapping[str, Any], key: Key, origin: str) -> Any:
    """The instance; a validator's complaint becomes a `BadValue`."""
    more = {ORIGIN: origin} if any(one.name == ORIGIN for one in attrs.fields(cls)) else {}
    try:
        return cls(**given, **more)
    except (ValueError, TypeError) as error:
        raise BadValue(key, str(error)) from error


# --- text of variables and flags ----------------------------------------------------------------

_TRUE = ("1", "true", "yes", "on")
_FALSE = ("0", "false", "no", "off", "")


def from_text(kind: Any, text: str, key: Key) -> Any:
    """The TOML value that ``text`` stands for; lists are separated by commas.

    Raises:
        BadValue: it stands for none, or the type cannot be written as text.
    """
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        return _union_from_text(typing.get_args(kind), text, key)
    if origin in (tuple, frozenset, list):
        inner = typing.get_args(kind)[0]
        return [from_text(inner, part.strip(), key) for part in text.split(",") if part.strip()]
    if kind is bool:
        return _bool_from_text(text, key)
    if kind in (int, float):
        return _number_from_text(kind, text, key)
    if (origin is not None and origin is not Literal) or attrs.has(kind):
        raise BadValue(key, "a table cannot be given as text", "write it to a file")
    return text


def _union_from_text(kinds: tuple[Any, ...], text: str, key: Key) -> Any:
    if not text and types.NoneType in kinds:
        return None
    real = [kind for kind in kinds if kind is not types.NoneType]
    for kind in real[:-1]:
        try:
            return from_text(kind, text, key)
        except BadValue:
            continue
    return from_text(real[-1], text, key)


def _bool_from_text(text: str, key: Key) -> bool:
    if text.lower() not in _TRUE + _FALSE:
        raise BadValue(key, "it is not true or false")
    return text.lower() in _TRUE


def _number_from_text(kind: type[int] | type[float], text: str, key: Key) -> int | float:
    try:
        return kind(text)
    except ValueError:
        raise BadValue(key, f"it is not {_NAMES[kind]}") from None
