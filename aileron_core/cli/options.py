"""The global options, understood before the mode and after it.

People write ``aileron sessions list --json``; so each command gets them too, unless it has one of
that name itself. They are hidden there: ``aileron --help`` lists them once.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from aileron_core import __version__
from aileron_core.cli.app import App

_EPILOG = "Global options (aileron --help) may stand here too."


def group_options() -> list[click.Parameter]:
    """The global options of ``aileron`` itself."""
    version = click.Option(
        ["--version"], is_flag=True, expose_value=False, is_eager=True, help="Show the version.",
        callback=_show_version,
    )  # fmt: skip
    return [*_options(hidden=False), version]


def add_globals(command: click.Command) -> click.Command:
    """Give the command, and all below it, the global options it has not got."""
    if isinstance(command, click.Group):
        for below in command.commands.values():
            add_globals(below)
    taken = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
    if "--json" in taken and any(getattr(p, "is_global", False) for p in command.params):
        return command
    for option in _options(hidden=True):
        if not taken.intersection(option.opts):
            command.params.append(option)
    command.epilog = command.epilog or _EPILOG
    return command


class _Global(click.Option):
    """A global option, told apart from a command's own."""

    is_global = True


def _options(*, hidden: bool) -> list[click.Parameter]:
    def option(*names: str, help: str, change: Callable[[App, Any], None], **more: Any) -> _Global:  # noqa: A002 - click's own word
        return _Global(
            list(names),
            help=help,
            hidden=hidden,
            expose_value=False,
            is_eager=True,
            callback=_applied(change),
            **more,
        )

    return [
        option("--config", help="One more configuration file, read last.", change=_set_config,
               metavar="FILE", type=click.Path(path_type=Path)),
        option("--disable", help="Leave a plugin out (repeatable).", change=_set_disable,
               metavar="NAME", multiple=True),
        option("--json", help="Machine-readable output.", change=_set_json, is_flag=True),
        option("--quiet", help="Only results and errors.", change=_set_quiet, is_flag=True),
        option("-v", "--verbose", help="Say more (repeatable).", change=_set_verbose, count=True),
    ]  # fmt: skip


def _applied(change: Callable[[App, Any], None]) -> Callable[..., None]:
    def callback(ctx: click.Context, param: click.Parameter, value: Any) -> None:
        if value:
            change(ctx.find_object(App) or App(), value)

    return callback


def _set_config(app: App, value: Path) -> None:
    app.config_file = app.cwd / value
    app.forget()


def _set_disable(app: App, value: tuple[str, ...]) -> None:
    app.disable = (*app.disable, *(name for name in value if name not in app.disable))
    app.forget()


def _set_json(app: App, value: bool) -> None:
    app.out.json = value


def _set_quiet(app: App, value: bool) -> None:
    app.out.quiet = value


def _set_verbose(app: App, value: int) -> None:
    app.out.verbose = max(value, app.out.verbose)


def _show_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    app = ctx.find_object(App)
    if value and app is not None and not ctx.resilient_parsing:
        app.out.result({"version": __version__}, f"aileron {__version__}")
        ctx.exit(0)
