"""``aileron audit``: the record of what happened and was decided."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import click

from aileron_core.errors import EXIT_CANNOT_CREATE, EXIT_FAILED, ErrorCode

if TYPE_CHECKING:
    from aileron_core.cli.app import App

EXPORT_FAILED = ErrorCode(
    "export-failed", EXIT_CANNOT_CREATE, "The file for the exported record cannot be written."
)


@click.group()
def command() -> None:
    """The record: one line for everything that happened, chained so that a change shows."""


@command.command("list")
@click.option("--session", metavar="ID", help="Only this session's.")
@click.option(
    "--type", "kind", metavar="TYPE", help="Only these; 'session.' for all that begin so."
)
@click.option("--after", type=int, metavar="N", help="Only those after this number.")
@click.option("-n", "--limit", default=100, show_default=True, help="At most this many.")
@click.pass_obj
def list_records(
    app: App, session: str | None, kind: str | None, after: int | None, limit: int
) -> None:
    """The newest records, oldest of them first."""
    found = app.request("GET", _path(session=session, type=kind, after=after, limit=limit))
    rows = [{**entry, "id": entry["seq"], "state": entry["type"]} for entry in found]
    if app.json:
        app.out.data(rows)
        return
    app.out.table(
        [{**row, "what": _what(row), "time": _time(row)} for row in rows],
        ("seq", "time", "type", "session", "what"),
        empty="nothing is on record",
    )


def _path(**query: Any) -> str:
    given = urlencode({name: value for name, value in query.items() if value is not None})
    return f"/v1/audit?{given}"


@command.command()
@click.argument("number", type=int)
@click.pass_obj
def show(app: App, number: int) -> None:
    """One record, whole."""
    app.out.data(app.request("GET", f"/v1/audit/{number}"))


@command.command()
@click.option("--after", type=int, metavar="N", help="Begin after this number, not now.")
@click.pass_obj
def follow(app: App, after: int | None) -> None:
    """Records as they are made, until Ctrl-C."""
    path = "/v1/events" if after is None else f"/v1/events?after={after}"
    for entry in app.client().stream("GET", path):
        if app.json:
            app.out.data(entry)
        else:
            session = entry["session"] or "-"
            app.out.line(f"{entry['seq']} {_time(entry)} {entry['type']} {session} {_what(entry)}")


@command.command()
@click.pass_obj
def verify(app: App) -> int:
    """Check every line of the record against the one before; exit 1 when something is wrong."""
    found = app.client().request("GET", "/v1/audit/verification", timeout=None)
    if app.json:
        app.out.data(found)
    elif found["sound"]:
        app.out.line(f"verified: {found['records']} records, none removed, changed or reordered")
    else:
        for problem in found["findings"]:
            app.out.line(f"line {problem['line']}: {problem['problem']}")
        app.out.line("NOT sound: the record was changed, or is damaged")
    return 0 if found["sound"] else EXIT_FAILED


@command.command()
@click.option("--output", "-o", type=click.Path(path_type=Path), help="A file; else stdout.")
@click.option("--first", type=int, default=1, show_default=True, help="The first record.")
@click.option("--last", type=int, help="The last record; else all there are.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["json", "csv"]),
    default="json",
    show_default=True,
    help="Lines of JSON, or comma-separated values.",
)
@click.pass_obj
def export(app: App, output: Path | None, first: int, last: int | None, form: str) -> None:
    """The record as lines of JSON, or as a table."""
    path = f"/v1/audit/export?first={first}" + (f"&last={last}" if last is not None else "")
    entries = app.client().stream("GET", path)
    lines = _csv(entries) if form == "csv" else (json.dumps(entry) for entry in entries)
    if output is None:
        for line in lines:
            click.echo(line)
        return
    try:
        with output.open("x", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
    except OSError as error:
        raise EXPORT_FAILED(f"cannot write {output}", why=error.strerror or str(error)) from error


_COLUMNS = ("seq", "time", "type", "session", "host", "data", "hash")


def _csv(entries: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Lines of RFC 4180, without their ends; ``data`` is JSON."""
    yield ",".join(_COLUMNS)
    for entry in entries:
        cells = {**entry, "data": json.dumps(entry["data"]), "session": entry["session"] or ""}
        yield ",".join(_quoted(str(cells[name])) for name in _COLUMNS)


def _quoted(cell: str) -> str:
    # A spreadsheet would take a cell that begins like this for a formula.
    safe = f"'{cell}" if cell.startswith(("=", "+", "-", "@")) else cell
    needs = any(mark in safe for mark in ',"\r\n')
    return '"' + safe.replace('"', '""') + '"' if needs else safe


def _time(entry: dict[str, Any]) -> str:
    return datetime.fromtimestamp(entry["time"]).astimezone().isoformat(timespec="seconds")


def _what(entry: dict[str, Any]) -> str:
    """What a record's data says, on one line."""
    data = {key: value for key, value in entry["data"].items() if value not in (None, "", [], {})}
    text = " ".join(f"{key}={value}" for key, value in data.items())
    return text if len(text) <= 120 else f"{text[:119]}…"
