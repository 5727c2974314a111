"""Entry point of the launch plugin: its modes, calls and settings. Imports nothing heavy."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from attrs import frozen

from aileron_core.hookspecs import hookimpl
from aileron_core.records import Mode, Route

if TYPE_CHECKING:
    import click

    from aileron_core.daemon.context import Daemon


@frozen
class _Command:
    """Imports a module when called and gives its ``command``."""

    module: str

    def __call__(self) -> click.Command:
        command: click.Command = importlib.import_module(self.module).command
        return command


@frozen
class _Blueprint:
    """Imports a module when called and gives what its ``blueprint`` makes."""

    module: str

    def __call__(self, daemon: Daemon) -> Any:
        return importlib.import_module(self.module).blueprint(daemon)


_MODES = {
    "launch": "run an agent in a sealed sandbox",
    "sandbox": "compose, build and check the image that agents run in",
    "sessions": "what is and was running: attach, logs, stop, changes",
}


@hookimpl
def aileron_modes() -> list[Mode]:
    """``launch``, ``sandbox`` and ``sessions``."""
    return [
        Mode(name, summary, _Command(f"aileron_launch.commands.{name}"))
        for name, summary in _MODES.items()
    ]


@hookimpl
def aileron_settings() -> type[Any]:
    """``[launch]``."""
    from aileron_launch.settings import Settings

    return Settings


@hookimpl
def aileron_routes() -> list[Route]:
    """The calls that make sessions and look at their changes."""
    return [
        Route("launch", "host", _Blueprint("aileron_launch.routes")),
        Route("images", "host", _Blueprint("aileron_launch.image_routes")),
        Route("changes", "host", _Blueprint("aileron_launch.changes.routes")),
    ]
