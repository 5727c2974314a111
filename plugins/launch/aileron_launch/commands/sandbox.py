"""``aileron sandbox``: the image that an agent runs in. Imports click and the standard library."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import click

from aileron_core.cli.app import App

F = TypeVar("F", bound=Callable[..., Any])


@click.group()
def command() -> None:
    """Compose the image that an agent runs in: scaffold it, plan it, build it, try it."""


def _choices(function: F) -> F:
    """The options that say which image is meant, as `launch` has them."""
    for option in reversed(
        (
            click.argument("agent", required=False),
            click.option("--image", help="host, base, devcontainer or an image reference."),
            click.option("--sandbox", "backend", help="The backend to use."),
        )
    ):
        function = option(function)
    return function


@command.command()
@click.option("--base", help="The image that the container file starts from.")
@click.option("--force", is_flag=True, help="Overwrite what is there.")
@click.pass_obj
def init(app: App, base: str | None, force: bool) -> None:
    """Write a commented .devcontainer/ for this project."""
    from aileron_launch.images import scaffold

    workspace = app.cwd
    found = scaffold.infer(workspace)
    container = scaffold.render_containerfile(found, base or scaffold.REGISTRY_BASE)
    files = (("devcontainer.json", scaffold.DEVCONTAINER), ("Containerfile", container))
    written = scaffold.write(workspace, files, force=force)
    reasons = [
        {"id": one.file, "state": "found", "reason": one.reason, "packages": list(one.packages)}
        for one in found
    ]
    if app.json:
        app.out.data({"written": [str(path) for path in written], "inferred": reasons})
        return
    for path in written:
        app.out.line(f"wrote {path}")
    for one in found:
        app.out.line(f"{one.file}: {one.reason}, so the image gets {', '.join(one.packages)}")
    if not found:
        app.out.line("no file told of a language: the image has the basics only")
    app.out.line("next: read it, then: aileron config trust && aileron sandbox build")


@command.command()
@_choices
@click.pass_obj
def plan(app: App, agent: str | None, image: str | None, backend: str | None) -> None:
    """Say which image a launch of AGENT would use, why, and how it is made. Builds nothing."""
    made = app.request("POST", "/v1/images/plan", request_of(app, agent, image, backend))
    if app.json:
        app.out.data(made)
        return
    state = "present" if made["present"] else "not on this machine yet"
    app.out.line(f"image    {made['image']} ({state})")
    app.out.line(f"tier     {made['tier']}")
    app.out.line(f"command  {' '.join(made['argv'])}")
    _listed(app, "made by", made["steps"])
    _listed(app, "shows", made["mounts"])
    _listed(app, "note", made["notes"])


def _listed(app: App, title: str, lines: list[str]) -> None:
    for number, line in enumerate(lines):
        app.out.line(f"{title if number == 0 else '':<8} {line}")


@command.command()
@_choices
@click.option("--always", is_flag=True, help="Build it even if it is there.")
@click.pass_obj
def build(
    app: App, agent: str | None, image: str | None, backend: str | None, always: bool
) -> None:
    """Get or build the image that a launch of AGENT would use."""
    body = request_of(app, agent, image, backend, build="always" if always else "auto")
    made = _followed(app, "/v1/images/build", body)
    size = f"{made['size'] / 1e6:.1f} MB"
    app.out.result(made, f"{made['image']} is on this machine (tier {made['tier']}, {size})")


@command.command()
@_choices
@click.pass_obj
def check(app: App, agent: str | None, image: str | None, backend: str | None) -> None:
    """Try in a sandbox whether the image can run AGENT (or a shell)."""
    made = _followed(app, "/v1/images/check", request_of(app, agent, image, backend))
    app.out.result(made, f"{made['image']} runs {made['agent']} (tier {made['tier']})")


def request_of(
    app: App, agent: str | None, image: str | None, backend: str | None, build: str | None = None
) -> dict[str, Any]:
    """The launch that the image would be for, as the API takes it."""
    given = {"launch.image": image, "launch.backend": backend, "launch.build": build}
    own = {name: value for name, value in app.environ.items() if name.startswith("AILERON_")}
    return {
        "agent": agent,
        "cwd": str(app.cwd),
        "config": str(app.config_file) if app.config_file is not None else None,
        "disable": list(app.disable),
        "flags": {name: value for name, value in given.items() if value is not None},
        "environment": own,
        "search_path": app.environ.get("PATH", ""),
        "home": app.environ.get("HOME", ""),
        "uid": os.getuid(),
        "gid": os.getgid(),
    }


def _followed(app: App, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """The result of a call that tells its progress as it goes."""
    show = progress_of(app)
    result: dict[str, Any] = {}
    try:
        for line in app.client().stream("POST", path, body):
            if line.get("progress"):
                show(line["progress"])
            result = line.get("result") or result
    finally:
        show("")
    return result


def progress_of(app: App) -> Callable[[str], None]:
    """Shows lines of progress on stderr: one line that changes on a terminal, else each of them."""
    stream = app.out.stderr
    if app.quiet:
        return lambda line: None
    if not stream.isatty() or app.environ.get("TERM") == "dumb":
        return app.out.say
    turn = _turning()

    def show(line: str) -> None:
        width = shutil.get_terminal_size().columns - 4
        plain = "".join(filter(str.isprintable, line))[: max(width, 8)]
        stream.write(f"\r\x1b[K{next(turn)} {plain}" if plain else "\r\x1b[K")
        stream.flush()

    return show


def _turning() -> Iterator[str]:
    while True:
        yield from "|/-\\"
