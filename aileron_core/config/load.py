"""From layers to a `Config`: every value converted, judged, and with its origin."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import attrs
from attrs import define, field, frozen

from aileron_core.config.convert import (
    BadValue,
    Field,
    Key,
    Place,
    build,
    convert,
    describe,
    fields_of,
    unknown_key,
)
from aileron_core.config.errors import CONFIG_UNKNOWN, CONFIG_UNTRUSTED, CONFIG_VALUE
from aileron_core.config.layers import FileState, Sources, read_sources
from aileron_core.config.tables import Schema
from aileron_core.config.text import environment_values, flag_values
from aileron_core.errors import AileronError
from aileron_core.nearest import did_you_mean
from aileron_core.paths import Paths
from aileron_core.plugins.facts import PLUGIN_BROKEN, leave_out

T = TypeVar("T")
BUILT_IN = "built in"


@frozen
class Value:
    """One setting: what it is and whence it comes."""

    value: Any
    origin: str
    field: Field


@define(eq=False)
class Config:
    """All settings of one moment, with where each comes from."""

    files: tuple[FileState, ...]
    disabled: Mapping[str, str]
    """Plugins that are switched off, with where that is written."""
    _tables: Mapping[str, Any] = field(repr=False)
    _values: Mapping[Key, Value] = field(repr=False)

    def table(self, name: str, cls: type[T]) -> T:
        """A table, as an instance of its class.

        Raises:
            KeyError: there is no such table: its plugin is off.
        """
        found = self._tables[name]
        assert isinstance(found, cls)
        return found

    def origin(self, key: str) -> str:
        """Where ``launch.image`` comes from: ``file:line``, a variable, a flag or ``built in``."""
        return self._values[tuple(key.split("."))].origin

    def items(self) -> Iterator[tuple[str, Any, str]]:
        """``(dotted key, value, origin)``, sorted; values of secret settings as they are."""
        for key in sorted(self._values, key=str):
            one = self._values[key]
            yield ".".join(map(str, key)), one.value, one.origin

    def is_secret(self, key: str) -> bool:
        """The setting's value must not be shown."""
        return self._values[tuple(key.split("."))].field.setting.secret


def load_config(
    schema: Schema,
    *,
    paths: Paths,
    project: Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
    config_file: Path | None = None,
) -> Config:
    """Everything that configuration says, lowest layer first.

    Args:
        schema: the tables there are (`schema_of`).
        paths: where the system's and the user's files are.
        project: the directory whose ``.aileron.toml`` counts.
        environ: variables; only those that begin with ``AILERON_`` are looked at.
        flags: dotted key to value, text or already of its type; None means not given.
        config_file: ``--config FILE``.

    Raises:
        AileronError: ``config-…``, with file and line (or variable) and the nearest right name.
    """
    return resolve(
        schema,
        read_sources(paths, project=project, environ=environ, flags=flags, config_file=config_file),
    )


def resolve(schema: Schema, sources: Sources) -> Config:
    """Like `load_config`, from what was read already."""
    config, problems = examine(schema, sources)
    if problems:
        more = len(problems) - 1
        raise problems[0].with_hints([f"and {more} more: aileron config check"] if more else [])
    return config


def examine(schema: Schema, sources: Sources) -> tuple[Config, list[AileronError]]:
    """The configuration as far as it can be understood, and everything that is wrong with it."""
    work = _Work(schema, sources)
    work.built_in()
    for state in sources.files:
        if state.document is not None:
            work.file(state)
    work.text("environment")
    work.text("flags")
    tables = {name: work.instance(name, cls) for name, cls in schema.tables.items()}
    return Config(sources.files, sources.disabled(), tables, work.values), work.problems


@define
class _Work:
    schema: Schema
    sources: Sources
    values: dict[Key, Value] = field(factory=dict)
    problems: list[AileronError] = field(factory=list)

    # --- built in -----------------------------------------------------------------------------

    def built_in(self) -> None:
        """The defaults of every table."""
        for name, cls in self.schema.tables.items():
            try:
                self._defaults((name,), cls, cls())
            except TypeError as error:
                raise PLUGIN_BROKEN(
                    f"the settings of {name!r} are not usable",
                    why=str(error),
                    hints=[leave_out(name)],
                ) from error

    def _defaults(self, prefix: Key, cls: type[Any], made: Any) -> None:
        for name, one in fields_of(cls).items():
            default = getattr(made, name)
            if one.nested is not None:
                self._defaults((*prefix, name), one.nested, default)
            else:
                self.values[*prefix, name] = Value(default, BUILT_IN, one)

    # --- files --------------------------------------------------------------------------------

    def file(self, state: FileState) -> None:
        """One file's tables, over what is there."""
        assert state.document is not None
        document = state.document
        place = Place(document.path.parent, self._home(), document.where)
        loosened: list[Key] = []
        for name, table in document.data.items():
            if name in self.schema.tables:
                judge = None if state.trusted else loosened
                self._table((name,), self.schema.tables[name], table, place, judge)
            elif name not in self.schema.opaque:
                self._unknown_table(name, place)
        if loosened:
            self.problems.append(_untrusted(state, loosened, place))

    def _home(self) -> str:
        """What ``~`` stands for: the home of whoever typed the command."""
        return self.sources.environ.get("HOME") or str(Path.home())

    def _unknown_table(self, name: str, place: Place) -> None:
        known = [*self.schema.tables, *self.schema.opaque]
        hint = did_you_mean(name, known, what="tables")
        bad = BadValue((name,), "there is no such table", hint, unknown=True)
        self.problems.append(_problem(bad, place.where((name,))))

    def _table(
        self, prefix: Key, cls: type[Any], table: Any, place: Place, loosened: list[Key] | None
    ) -> None:
        if not isinstance(table, dict):
            self._bad(BadValue(prefix, f"it is {describe(table)}, not a table"), place)
            return
        known = fields_of(cls)
        for name, item in table.items():
            key = (*prefix, name)
            try:
                if name not in known:
                    raise unknown_key(name, known, prefix)
                nested = known[name].nested
                if nested is not None:
                    self._table(key, nested, item, place, loosened)
                    continue
                self._set(key, convert(known[name].type, item, key, place), place, loosened)
            except BadValue as bad:
                self._bad(bad, place)

    def _set(self, key: Key, value: Any, place: Place, loosened: list[Key] | None) -> None:
        now = self.values[key]
        if loosened is not None and not _may(now, value):
            loosened.append(key)
            return
        self.values[key] = _merged(now, value, place.where(key))

    def _bad(self, bad: BadValue, place: Place) -> None:
        self.problems.append(_problem(bad, place.where(bad.key)))

    # --- variables and flags ------------------------------------------------------------------

    def text(self, kind: str) -> None:
        """Variables or flags, over what is there."""
        tables = self.schema.tables
        try:
            if kind == "environment":
                given = environment_values(self.sources.environ, tables, self.schema.opaque)
            else:
                given = flag_values(self.sources.flags, tables)
            for key, (value, origin) in given.items():
                self._set_text(key, value, origin)
        except BadValue as bad:
            self.problems.append(_problem(bad, f"the {kind}"))

    def _set_text(self, key: Key, value: Any, origin: str) -> None:
        home = self._home()
        place = Place(self.sources.directory, home, lambda _: origin)
        try:
            made = convert(self.values[key].field.type, value, key, place)
        except BadValue as bad:
            self.problems.append(_problem(bad, origin))
        else:
            self.values[key] = _merged(self.values[key], made, origin)

    # --- instances ----------------------------------------------------------------------------

    def instance(self, name: str, cls: type[Any]) -> Any:
        """The table's record; the defaults when a value is refused by its validator."""
        try:
            return self._build((name,), cls)
        except BadValue as bad:
            self.problems.append(_problem(bad, self._origins(bad.key)))
            return cls()

    def _build(self, prefix: Key, cls: type[Any]) -> Any:
        given = {
            name: self._build((*prefix, name), one.nested)
            if one.nested is not None
            else self.values[*prefix, name].value
            for name, one in fields_of(cls).items()
        }
        return build(cls, given, prefix, self._origins(prefix))

    def _origins(self, prefix: Key) -> str:
        """Where a table's values come from, built-in ones apart."""
        origins = {
            one.origin
            for key, one in self.values.items()
            if key[: len(prefix)] == prefix and one.origin != BUILT_IN
        }
        return ", ".join(sorted(origins)) or BUILT_IN


def _may(now: Value, value: Any) -> bool:
    """Whether an untrusted file may set this value over what is there now."""
    setting = now.field.setting
    if setting.project == "free" or value == now.value:
        return True
    if setting.project != "tighten" or setting.tighter is None:
        return False
    try:
        return setting.tighter(now.value, value) is True
    except Exception:  # noqa: BLE001 - a judge that fails has not said yes
        return False


def _merged(now: Value, value: Any, origin: str) -> Value:
    if now.field.setting.merge == "append" and now.value and value is not None:
        merged = {**now.value, **value} if isinstance(value, dict) else (*value, *now.value)
        both = origin if now.origin == BUILT_IN else f"{origin}, {now.origin}"
        return attrs.evolve(now, value=merged, origin=both)
    return attrs.evolve(now, value=value, origin=origin)


def _problem(bad: BadValue, origin: str) -> AileronError:
    code = CONFIG_UNKNOWN if bad.unknown else CONFIG_VALUE
    name = ".".join(str(part) for part in bad.key)
    hints = [bad.hint] if bad.hint else []
    return code(f"{name} in {origin}: {bad.problem}", hints=hints)


def _untrusted(state: FileState, loosened: list[Key], place: Place) -> AileronError:
    keys = [
        f"{'.'.join(map(str, key))} (line {place.where(key).rpartition(':')[2]})"
        for key in loosened
    ]
    return CONFIG_UNTRUSTED(
        f"{state.path} may not set {', '.join(keys)}",
        why="it comes with the project, and a project may only tighten what holds here",
        hints=[
            f"read it, and if you agree: aileron config trust {state.path.parent}",
            "or set it in your own configuration (aileron config path)",
        ],
    )
