"""``aileron config``: every setting and where it comes from; what is wrong; whom to trust."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import click

from aileron_core.cli.app import App
from aileron_core.config import Config, examine, schema_of
from aileron_core.config.layers import PROJECT_FILE, FileState
from aileron_core.config.load import BUILT_IN
from aileron_core.config.trust import distrust, trust
from aileron_core.errors import EXIT_CONFIG, EXIT_NO_INPUT, AileronError, ErrorCode
from aileron_core.nearest import did_you_mean

CONFIG_NOTHING = ErrorCode(
    "config-nothing", EXIT_NO_INPUT, "There is no such setting, or nothing to trust."
)

_TRUSTED = (PROJECT_FILE, ".devcontainer", ".devcontainer.json")
_PASSWORD = re.compile(r"(?<=://)[^/@\s]+(?=@)")  # user:password of a URL, RFC 3986 section 3.2.1


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    try:
        names = [name for name, _, _ in (ctx.find_object(App) or App()).config().items()]
    except AileronError:  # completing is no moment for errors
        return []
    return [name for name in names if name.startswith(incomplete)]


@click.group()
def command() -> None:
    """See every setting, with the file and line that it comes from."""


@command.command()
@click.argument("key", required=False, shell_complete=_complete)
@click.option("--changed", is_flag=True, help="Leave out what is built in.")
@click.pass_obj
def show(app: App, key: str | None, changed: bool) -> None:
    """Every setting, or those under KEY."""
    config = app.config()
    rows = [row for row in _rows(config) if key is None or _is_under(row["id"], key)]
    if key is not None and not rows:
        names = [name for name, _, _ in config.items()]
        hint = did_you_mean(key, {*names, *(name.partition(".")[0] for name in names)})
        raise CONFIG_NOTHING(f"there is no setting {key!r}", hints=[hint])
    if changed:
        rows = [row for row in rows if row["state"] == "set"]
    app.out.table(rows if app.json else map(_line, rows), ["setting", "value", "origin"])


@command.command()
@click.pass_obj
def check(app: App) -> int:
    """Say everything that is wrong with the configuration; status 78 if anything is."""
    problems = _problems(app)
    if app.json:
        app.out.data({"ok": not problems, "errors": [one.to_dict() for one in problems]})
    else:
        for one in problems:
            app.out.error(one)
        if not problems:
            app.out.line("the configuration is fine")
    return EXIT_CONFIG if problems else 0


@command.command()
@click.pass_obj
def path(app: App) -> None:
    """The files that are looked for, lowest first."""
    rows = [_file_row(state) for state in app.sources.files]
    app.out.table(rows, ["kind", "path", "state"])


@command.command("trust")
@click.argument("directory", required=False, type=click.Path(path_type=Path))
@click.option("--revoke", is_flag=True, help="Trust it no longer.")
@click.pass_obj
def trust_project(app: App, directory: Path | None, revoke: bool) -> None:
    """Let a project's own files loosen things, as they are now.

    Pins the content of DIRECTORY's .aileron.toml and .devcontainer; any change ends the trust.
    """
    root = app.cwd / (directory or ".")
    there = [one for one in (root / name for name in _TRUSTED) if one.exists() or one.is_symlink()]
    if revoke:
        done = [one for one in (root / name for name in _TRUSTED) if distrust(app.paths, one)]
    else:
        done = [one for one in there if trust(app.paths, one) is not None]
    if not done:
        what = "nothing was trusted" if revoke else f"it has none of {', '.join(_TRUSTED)}"
        raise CONFIG_NOTHING(f"nothing to do in {root}", why=what)
    word = "no longer trusted" if revoke else "trusted"
    app.out.result(
        [{"id": str(one), "state": word} for one in done],
        "\n".join(f"{one}: {word}" for one in done),
    )


def _problems(app: App) -> list[AileronError]:
    """Everything that is wrong; of files that cannot be read, the first."""
    try:
        schema = schema_of(app.hooks)
    except AileronError as error:
        return [error]
    _, problems = examine(schema, app.sources)
    return problems


def _rows(config: Config) -> Iterator[dict[str, Any]]:
    for key, value, origin in config.items():
        state = "built in" if origin == BUILT_IN else "set"
        shown = _shown(value)
        if config.is_secret(key):
            shown = "(set)" if value else None
        yield {"id": key, "value": shown, "origin": origin, "state": state}


def _line(row: dict[str, Any]) -> dict[str, Any]:
    return {"setting": row["id"], "value": row["value"], "origin": row["origin"]}


def _shown(value: Any) -> Any:
    """The value as JSON has it; fields that are declared secret, and passwords in URLs, are not."""
    if attrs.has(type(value)):
        return {
            one.name: "(set)" if _is_secret(one) else _shown(getattr(value, one.name))
            for one in attrs.fields(type(value))
        }
    if isinstance(value, (list, tuple, frozenset)):
        return [_shown(item) for item in value]
    if isinstance(value, dict):
        return {name: _shown(item) for name, item in value.items()}
    if isinstance(value, (str, Path)):
        return _PASSWORD.sub("***", str(value))
    return value


def _is_secret(one: attrs.Attribute[Any]) -> bool:
    from aileron_core.config.setting import setting_of

    return setting_of(one).secret


def _is_under(key: str, wanted: str) -> bool:
    return key == wanted or key.startswith(wanted + ".")


def _file_row(state: FileState) -> dict[str, Any]:
    there = "read" if state.exists else "absent"
    if state.exists and state.kind == "project":
        there = "read, trusted" if state.trusted else "read, may only tighten"
    return {"id": str(state.path), "kind": state.kind, "path": str(state.path), "state": there}
