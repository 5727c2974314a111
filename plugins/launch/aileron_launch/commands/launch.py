"""``aileron launch``: prepare a sandbox and be its terminal."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click
from attrs import define

from aileron_core.cli.app import App
from aileron_core.client import Client
from aileron_core.errors import EXIT_USAGE, AileronError, ErrorCode
from aileron_launch.tty import is_terminal, terminal_size

if TYPE_CHECKING:
    from aileron_launch.terminal import Outcome

OPTION_UNUSABLE = ErrorCode(
    "option-unusable", EXIT_USAGE, "An option of launch asks for what this installation has not."
)

_SETTINGS = ("image", "build", "workspace", "memory", "cpus", "pids", "timeout")
"""Options that are settings of ``[launch]`` under the same name."""
_ENFORCING = ("proxy", "shell-intercept")
_SWITCH = click.Choice(["auto", "on", "off"])


@click.command(
    context_settings={"allow_interspersed_args": False, "ignore_unknown_options": False},
    epilog="Everything after AGENT goes to the agent as it is.",
)
@click.option("--sandbox", default="auto", metavar="BACKEND", help="What runs the sandbox.")
@click.option("--image", metavar="REF", help="host, base, devcontainer or an image reference.")
@click.option("--build", type=click.Choice(["auto", "always", "never"]), help="When to build.")
@click.option("--proxy", type=_SWITCH, default="auto", help="The way out through the daemon.")
@click.option("--shell-intercept", type=_SWITCH, default="auto", help="Judge every program start.")
@click.option("--policy", metavar="NAME|FILE", help="The policy to enforce.")
@click.option(
    "--workspace", type=click.Choice(["rw", "ro", "overlay"]), help="How the workspace is seen."
)
@click.option("--mount", "mounts", multiple=True, metavar="SRC[:DST[:ro|rw]]", help="Show more.")
@click.option("--env", multiple=True, metavar="NAME[=VALUE]", help="A variable for the agent.")
@click.option("--publish", multiple=True, metavar="[HOST:]PORT", help="A port, on your loopback.")
@click.option("--memory", metavar="SIZE", help="For example 2g; swap included.")
@click.option("--cpus", type=float, metavar="N", help="For example 1.5.")
@click.option("--pids", type=int, metavar="N", help="Processes and threads.")
@click.option("--timeout", metavar="TIME", help="For example 1h30m; the agent is ended then (124).")
@click.option("--name", metavar="NAME", help="What to call the session.")
@click.option("--detach", is_flag=True, help="Print the session's id and return.")
@click.option("--dry-run", is_flag=True, help="Print what would be done; nothing is touched.")
@click.option("--connection", metavar="NAME", help="Another host's backend.")
@click.argument("args", nargs=-1, type=click.UNPROCESSED, metavar="[AGENT] [ARGS]...")
@click.pass_obj
def command(app: App, /, args: tuple[str, ...], **options: Any) -> int:
    """Run AGENT (claude, codex, …, or any command; a shell when none is given) in a sealed sandbox.

    The current directory is its workspace. Options come before AGENT: what follows is AGENT's own.
    """
    request = make_request(app, args, options)
    if options["dry_run"]:
        app.out.data(app.request("POST", "/v1/plan", request))
        return 0
    session = make_session(app, request)
    if request["detach"]:
        app.out.result(session, str(session["id"]))
        return 0
    try:
        return run(app, session, request)
    except KeyboardInterrupt:  # in the moment before signals are the agent's
        Interruption(Client(app.paths, start=False), str(session["id"])).ask()
        raise


# --- the request --------------------------------------------------------------------------------


def make_request(app: App, args: tuple[str, ...], options: Mapping[str, Any]) -> dict[str, Any]:
    """The `LaunchRequest` of a command line, as JSON.

    Raises:
        AileronError: ``option-unusable``.
    """
    has_terminal = is_terminal()
    rows, columns = terminal_size() if has_terminal else (0, 0)
    given, passed = split_env(options["env"], app.environ)
    aileron = {name: value for name, value in app.environ.items() if name.startswith("AILERON_")}
    return {
        "agent": args[0] if args else None,
        "args": list(args[1:]),
        "cwd": str(app.cwd),
        "config": str(app.config_file) if app.config_file else None,
        "disable": sorted(app.disable),
        "waive": sorted(switched_off(app, options)),
        "flags": flags_of(options),
        "environment": {**aileron, **passed},
        "env": given,
        "search_path": app.environ.get("PATH", ""),
        "home": app.environ.get("HOME", ""),
        "mounts": list(options["mounts"]),
        "publish": list(options["publish"]),
        "name": options["name"],
        "detach": options["detach"],
        "tty": has_terminal,
        "stdin": has_terminal or not options["detach"],
        "rows": rows,
        "columns": columns,
        "term": app.environ.get("TERM", ""),
        "uid": os.getuid(),
        "gid": os.getgid(),
        "connection": options["connection"],
    }


def flags_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that were given as options, by their dotted names."""
    flags = {f"launch.{name}": options[name] for name in _SETTINGS if options[name] is not None}
    if options["policy"] is not None:
        flags["policy.use"] = options["policy"]
    if options["sandbox"] in ("host", "off"):
        raise OPTION_UNUSABLE(
            f"--sandbox {options['sandbox']} would run the agent without a sandbox",
            why="this version runs agents in sandboxes only",
            hints=["--image host runs what is installed on this machine, in a sandbox"],
        )
    if options["sandbox"] != "auto":
        flags["launch.backend"] = options["sandbox"]
    return flags


def switched_off(app: App, options: Mapping[str, Any]) -> Iterator[str]:
    """Plugins that this session goes without; one that is wanted must be there.

    Raises:
        AileronError: ``option-unusable``.
    """
    for name in _ENFORCING:
        wanted = options[name.replace("-", "_")]
        if wanted == "off":
            yield name
        if wanted == "on" and name not in {mode.name for mode in app.hooks.modes()}:
            raise OPTION_UNUSABLE(
                f"--{name} on cannot be had",
                why=f"the plugin {name!r} is off or not part of this version",
                hints=[f"aileron plugins show {name}"],
            )


def split_env(
    given: tuple[str, ...], environ: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """``--env``: what has a value of its own, and what is taken from our environment."""
    own = dict(item.split("=", 1) for item in given if "=" in item)
    names = [item for item in given if "=" not in item]
    return own, {name: environ[name] for name in names if name in environ}


# --- the session --------------------------------------------------------------------------------


@define(eq=False)
class Interruption:
    """Ctrl-C while a session is prepared: the first undoes it, the second leaves at once."""

    client: Client
    session: str | None = None
    is_asked: bool = False

    def __call__(self, number: int, frame: object) -> None:
        """The handler of SIGINT."""
        if self.is_asked or self.session is None:
            raise KeyboardInterrupt
        self.ask()

    def ask(self) -> None:
        """Have the daemon end the session, and wait until it has ended."""
        self.is_asked = True
        with contextlib.suppress(AileronError):
            body = {"by": "Ctrl-C", "grace": 0.0}
            self.client.request("POST", f"/v1/sessions/{self.session}/stop", body)


def make_session(app: App, request: Mapping[str, Any]) -> dict[str, Any]:
    """Have the daemon prepare a session; its summary.

    Raises:
        AileronError: whatever kept it from being made.
        KeyboardInterrupt: a second Ctrl-C; the daemon undoes what there is.
    """
    client = app.client()
    interruption = Interruption(Client(app.paths, start=False))
    before = signal.signal(signal.SIGINT, interruption)
    try:
        for answer in client.stream("POST", "/v1/sessions", request):
            importlib.import_module("aileron_launch.terminal")  # while the daemon is at work
            interruption.session = answer.get("id", interruption.session)
            if "progress" in answer:
                app.out.say(f"aileron: {answer['progress']}")
            if "session" in answer:
                session: dict[str, Any] = answer["session"]
                return session
    except AileronError:
        if interruption.is_asked:
            raise KeyboardInterrupt from None
        raise
    finally:
        signal.signal(signal.SIGINT, before)
    raise _unanswered()


def _unanswered() -> AileronError:
    from aileron_core.client import DAEMON_LOST

    return DAEMON_LOST(
        "the daemon ended before the session was made", hints=["aileron daemon logs"]
    )


def run(app: App, session: Mapping[str, Any], request: Mapping[str, Any]) -> int:
    """Be the session's terminal; the agent's exit status."""
    _say_start(app, session)
    hello = {
        "session": session["id"],
        "mode": "run",
        "stdin": request["stdin"],
        "rows": request["rows"],
        "columns": request["columns"],
    }
    from aileron_launch.terminal import attach

    outcome = attach(
        app.paths.console, hello, notice=app.out.say, has_terminal=bool(request["tty"])
    )
    _say_end(app, session, outcome)
    return outcome.status


def _say_start(app: App, session: Mapping[str, Any]) -> None:
    app.out.say(f"aileron: session {session['name']} ({session['id']}) in {session['image']}")
    for note in session["notes"]:
        app.out.say(f"aileron: {note}")


def _say_end(app: App, session: Mapping[str, Any], outcome: Outcome) -> None:
    if outcome.is_detached:
        app.out.say(f"\raileron: detached; aileron sessions attach {session['name']}")
    elif outcome.reason != "exited" or outcome.status:
        app.out.say(f"aileron: session {session['name']}: {outcome.reason}, {outcome.status}")
