"""``aileron daemon``: start, stop and watch the authority. Imports only what starts fast."""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aileron_core.client import Client
from aileron_core.errors import EXIT_UNAVAILABLE, ErrorCode

if TYPE_CHECKING:
    from aileron_core.cli.app import App

DAEMON_LINGERS = ErrorCode("daemon-lingers", EXIT_UNAVAILABLE, "The daemon has not ended in time.")

_PATIENCE = 60.0  # seconds beyond the sessions' deadline: containers are removed meanwhile
_PAUSE = 0.02  # seconds between two looks at whether its log has grown


@click.group()
def command() -> None:
    """The authority: one daemon per user. Commands that need it start it."""


@command.command()
@click.pass_obj
def start(app: App) -> None:
    """Start the daemon, unless it runs."""
    status = app.request("GET", "/v1/status")
    app.out.result(status, f"the daemon runs (pid {status['pid']}, {status['version']})")
    _tell_recovered(app, status)


@command.command()
@click.option(
    "--deadline", default=10.0, show_default=True, help="Seconds that sessions may go on."
)
@click.pass_obj
def stop(app: App, deadline: float) -> None:
    """End all sessions and the daemon; nothing to do when none runs."""
    client = Client(app.paths, start=False)
    if not client.is_running():
        app.out.result({"state": "absent"}, "no daemon runs")
        return
    pid = int(client.request("POST", "/v1/shutdown", {"deadline": deadline})["pid"])
    if not _ends(pid, deadline + _PATIENCE):
        raise DAEMON_LINGERS(
            f"the daemon (pid {pid}) has not ended",
            hints=["aileron daemon logs", f"kill {pid}"],
        )
    app.out.result({"state": "stopped", "pid": pid}, "the daemon has ended")


@command.command()
@click.pass_obj
def status(app: App) -> None:
    """Say whether the daemon runs, and what it does; exit 69 when it does not."""
    found = Client(app.paths, start=False).request("GET", "/v1/status")
    if app.json:
        app.out.data(found)
        return
    app.out.record(
        {
            "pid": found["pid"],
            "version": found["version"],
            "state": found["state"],
            "host": found["host"],
            "sessions": len(found["sessions"]),
            "audit records": found["audit_records"],
            "memory": f"{found['memory'] / 1e6:.0f} MB",
            "socket": str(app.paths.socket),
        }
    )
    for name in found["broken_plugins"]:
        app.out.warn(f"the plugin {name} is broken: aileron plugins show {name}")
    _tell_recovered(app, found)


def _tell_recovered(app: App, status: dict[str, Any]) -> None:
    for line in status["recovered"]:
        app.out.say(f"aileron: found and ended: {line}")


@command.command()
@click.option("--deadline", type=float, help="Seconds; sessions are ended then. Unset: no limit.")
@click.pass_obj
def drain(app: App, deadline: float | None) -> None:
    """Take no new session and wait for those there are; the daemon stays and refuses new ones."""
    client = Client(app.paths, start=False)
    timeout = None if deadline is None else deadline + _PATIENCE
    answer = client.request("POST", "/v1/drain", {"deadline": deadline}, timeout=timeout)
    app.out.result(answer, "drained" if answer["drained"] else f"{answer['sessions']} are left")


@command.command()
@click.option("-f", "--follow", is_flag=True, help="Go on as lines are written.")
@click.option("-n", "--lines", default=100, show_default=True, help="How many to begin with.")
@click.pass_obj
def logs(app: App, follow: bool, lines: int) -> None:
    """What the daemon says of itself, newest last."""
    for line in _log_lines(app.paths.daemon_log, lines, follow=follow):
        if app.json:
            app.out.data(_entry(line))
        else:
            app.out.line(_shown(_entry(line)))


def _log_lines(path: Path, count: int, *, follow: bool) -> Iterator[str]:
    """The last ``count`` lines of a log, then its new ones; a log turned over is begun again."""
    if not path.exists() and not follow:
        return
    while not path.exists():
        time.sleep(_PAUSE)
    file = path.open(encoding="utf-8", errors="replace")
    try:
        there = file.read().splitlines()
        yield from there[max(0, len(there) - count) :]
        while follow:
            if line := file.readline():
                yield line.rstrip("\n")
            elif path.exists() and path.stat().st_ino != os.fstat(file.fileno()).st_ino:
                file.close()
                file = path.open(encoding="utf-8", errors="replace")
            else:
                time.sleep(_PAUSE)
    finally:
        file.close()


def _entry(line: str) -> dict[str, Any]:
    """A line of the log as an object; one that is none (a traceback of the start) as its text."""
    try:
        entry = json.loads(line)
    except ValueError:
        return {"event": line}
    return entry if isinstance(entry, dict) else {"event": line}


def _shown(entry: dict[str, Any]) -> str:
    rest = {k: v for k, v in entry.items() if k not in ("timestamp", "level", "event", "logger")}
    exception = str(rest.pop("exception", ""))
    words = [str(entry.get("timestamp", "")), str(entry.get("level", "")), str(entry.get("event"))]
    words += [f"{key}={value}" for key, value in rest.items()]
    return " ".join(word for word in words if word) + (f"\n{exception}" if exception else "")


def _ends(pid: int, seconds: float) -> bool:
    """Wait until the process has ended (pidfd_open(2) polls readable then); False: it has not."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([process], [], [], seconds)[0])
    finally:
        os.close(process)
