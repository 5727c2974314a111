"""``aileron sessions``: what is and was running. Imports click and the standard library."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import click

from aileron_core.cli.app import App
from aileron_core.cli.output import clean
from aileron_launch.terminal import Outcome, attach
from aileron_launch.tty import is_terminal, terminal_size

_COLUMNS = ("id", "name", "state", "agent", "workspace", "age", "status", "reason")


@click.group()
def command() -> None:
    """See sessions, attach to them, stop them, and use what they changed."""


@command.command("list")
@click.option("--all", "-a", "everything", is_flag=True, help="Those that have ended too.")
@click.pass_obj
def list_sessions(app: App, everything: bool) -> None:
    """Every session that runs."""
    sessions = app.request("GET", f"/v1/sessions?all={'true' if everything else 'false'}")
    if app.json:
        app.out.data(sessions)
    else:
        app.out.table([_row(one) for one in sessions], _COLUMNS, empty="no session runs")


@command.command()
@click.argument("session")
@click.pass_obj
def show(app: App, session: str) -> None:
    """One session, by id, the beginning of an id, or name."""
    app.out.record(_find(app, session))


@command.command()
@click.option("-f", "--follow", is_flag=True, help="Go on with what is printed from now on.")
@click.argument("session")
@click.pass_obj
def logs(app: App, session: str, follow: bool) -> int:
    """What a session has printed (its last 16 MiB)."""
    found = _find(app, session)
    hello = {"session": found["id"], "mode": "logs", "follow": follow}
    return _attach(app, hello, has_terminal=False, has_stdin=False).status


@command.command("attach")
@click.argument("session")
@click.pass_obj
def attach_session(app: App, session: str) -> int:
    """Be a running session's terminal; ctrl-p ctrl-q leaves it running."""
    found = _find(app, session)
    has_terminal = is_terminal()
    outcome = _attach(app, {"session": found["id"], "mode": "attach"}, has_terminal=has_terminal)
    if outcome.is_detached:
        app.out.say(f"\raileron: detached; aileron sessions attach {found['name']}")
    return outcome.status


@command.command(
    "exec", context_settings={"allow_interspersed_args": False, "ignore_unknown_options": False}
)
@click.option("--env", multiple=True, metavar="NAME=VALUE", help="A variable for the program.")
@click.option("--workdir", default="", metavar="DIR", help="Where it starts; else the workspace.")
@click.argument("session")
@click.argument("argv", nargs=-1, type=click.UNPROCESSED, metavar="COMMAND...")
@click.pass_obj
def exec_command(
    app: App, /, session: str, argv: Sequence[str], env: Sequence[str], workdir: str
) -> int:
    """Run another program in a running session, as its agent; a shell when none is given."""
    found = _find(app, session)
    if argv[:1] == ("--",):  # as `launch -- COMMAND` takes it; no program is called so
        argv = argv[1:]
    hello = {
        "session": found["id"],
        "mode": "exec",
        "argv": list(argv) or ["/bin/sh"],
        "cwd": workdir,
        "env": {**_terminal_type(app), **dict(_pair(item) for item in env)},
    }
    return _attach(app, hello, has_terminal=is_terminal()).status


@command.command()
@click.option("--time", "grace", default=10.0, show_default=True, help="Seconds before SIGKILL.")
@click.argument("sessions", nargs=-1, required=True)
@click.pass_obj
def stop(app: App, sessions: Sequence[str], grace: float) -> None:
    """End sessions: SIGTERM, then SIGKILL."""
    body = {"grace": grace, "by": "aileron sessions stop"}
    stopped = []
    for name in sessions:
        found = _find(app, name)
        answer = app.client().request(
            "POST", f"/v1/sessions/{found['id']}/stop", body, timeout=grace + 120
        )
        stopped.append(answer)
        app.out.line(str(found["id"]))
    if app.json:
        app.out.data(stopped)


@command.command()
@click.option("-f", "--force", is_flag=True, help="End it first when it runs.")
@click.argument("sessions", nargs=-1, required=True)
@click.pass_obj
def rm(app: App, sessions: Sequence[str], force: bool) -> None:
    """Forget ended sessions: their records, logs and change sets."""
    removed = []
    for name in sessions:
        found = _find(app, name)
        if force and found["ended"] is None:
            body = {"grace": 0.0, "by": "aileron sessions rm"}
            app.request("POST", f"/v1/sessions/{found['id']}/stop", body)
        app.request("DELETE", f"/v1/sessions/{found['id']}")
        removed.append({"id": found["id"], "state": "removed"})
        app.out.line(str(found["id"]))
    if app.json:
        app.out.data(removed)


# --- what an overlay workspace has changed ------------------------------------------------------


@command.command()
@click.option("--stat", "brief", is_flag=True, help="Only which files, not what in them.")
@click.argument("session")
@click.pass_obj
def diff(app: App, session: str, brief: bool) -> None:
    """What a session with --workspace overlay changed."""
    found = _find(app, session)
    wanted = "false" if brief else "true"
    report = app.request("GET", f"/v1/sessions/{found['id']}/changes?diff={wanted}")
    if app.json:
        app.out.data(report)
        return
    for change in report["changes"]:
        app.out.line(_change_line(change))
    if not report["changes"]:
        app.out.say("no changes are kept aside")
    if report["diff"]:
        app.out.line()
        app.out.line(report["diff"].rstrip("\n"))


@command.command()
@click.option("--force", is_flag=True, help="Overwrite what changed on the host meanwhile.")
@click.argument("session")
@click.pass_obj
def apply(app: App, session: str, force: bool) -> None:
    """Carry out a session's changes in its workspace."""
    found = _find(app, session)
    done = app.request("POST", f"/v1/sessions/{found['id']}/changes/apply", {"force": force})
    if app.json:
        app.out.data(done)
        return
    for path in done["applied"]:
        app.out.line(clean(path))
    for change in done["skipped"]:
        app.out.warn(f"not applied: {_change_line(change)}")
    if not done["applied"]:
        app.out.say("nothing to apply")


@command.command()
@click.argument("session")
@click.pass_obj
def discard(app: App, session: str) -> None:
    """Throw a session's changes away."""
    found = _find(app, session)
    done = app.request("DELETE", f"/v1/sessions/{found['id']}/changes")
    app.out.result(done, f"{done['discarded']} changes discarded")


# --- how ----------------------------------------------------------------------------------------


def _find(app: App, reference: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = app.request("GET", f"/v1/sessions/{quote(reference, safe='')}")
    return found


def _attach(
    app: App, hello: Mapping[str, Any], *, has_terminal: bool, has_stdin: bool = True
) -> Outcome:
    rows, columns = terminal_size() if has_terminal else (0, 0)
    whole = {**hello, "tty": has_terminal, "stdin": has_stdin, "rows": rows, "columns": columns}
    return attach(
        app.paths.console,
        whole,
        notice=app.out.say,
        has_terminal=has_terminal,
        has_stdin=has_stdin,
    )


def _row(session: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **session,
        "age": _age(time.time() - session["created"]),
        "status": session["exit_status"],
    }


def _age(seconds: float) -> str:
    """A time span for people: the two largest units."""
    for size, unit, rest, small in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "m"),
        (60, "m", 1, "s"),
    ):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}{int(seconds % size // rest)}{small}"
    return f"{int(seconds)}s"


def _change_line(change: Mapping[str, Any]) -> str:
    why = change["skipped"] or change["conflict"]
    return clean(f"{change['kind']:<9} {change['path']}" + (f"  ({why})" if why else ""))


def _pair(item: str) -> tuple[str, str]:
    name, separator, value = item.partition("=")
    if not separator or not name:
        raise click.BadParameter(f"{item!r} is not NAME=VALUE")
    return name, value


def _terminal_type(app: App) -> dict[str, str]:
    term = app.environ.get("TERM", "")
    return {"TERM": term} if is_terminal() and term.isprintable() and term else {}
