"""The group ``aileron``: its subcommands are the modes of plugins, loaded one by one, when used."""

from __future__ import annotations

import sys

import click

from aileron_core import builtin
from aileron_core.cli import options
from aileron_core.cli.app import App
from aileron_core.cli.help_cache import remember
from aileron_core.cli.options import add_globals, group_options
from aileron_core.errors import EXIT_USAGE, AileronError, ErrorCode
from aileron_core.nearest import did_you_mean
from aileron_core.plugins.facade import Hooks
from aileron_core.plugins.facts import PLUGIN_BROKEN, leave_out
from aileron_core.plugins.scan import find_points
from aileron_core.records import Mode

MODE_UNKNOWN = ErrorCode("mode-unknown", EXIT_USAGE, "There is no such mode (subcommand).")
MODE_DISABLED = ErrorCode(
    "mode-disabled", EXIT_USAGE, "The plugin that gives this mode is switched off."
)


class ModeGroup(click.Group):
    """Lists and loads modes lazily: ``--help`` imports no command."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all modes."""
        return sorted(_modes_or_core(ctx.obj))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one mode; the core's own need no plugin, so that they can mend a broken setup."""
        mode = _core_modes().get(cmd_name)
        if mode is None:
            mode = _modes(ctx.obj).get(cmd_name)
            _warn_of_broken(ctx.obj)
        if mode is None:
            if ctx.resilient_parsing or cmd_name.startswith("-"):
                return None
            raise _unknown(ctx.obj, cmd_name)
        return add_globals(_load(mode))

    def get_help(self, ctx: click.Context) -> str:
        """The help text; kept for the next time, if it is that of ``aileron --help`` alone."""
        text = super().get_help(ctx)
        app: App = ctx.obj
        hooks = app.loaded_hooks
        if hooks is not None and not hooks.broken and app.is_plain:
            remember(text + "\n", [*_DEPENDS, *_depends(app, hooks)])
        return text

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The summaries of all modes, without importing one."""
        modes = _modes_or_core(ctx.obj)
        with formatter.section("Modes"):
            formatter.write_dl([(name, modes[name].summary) for name in sorted(modes)])


_DEPENDS = [__file__, *filter(None, (builtin.__file__, options.__file__))]


def _depends(app: App, hooks: Hooks) -> list[str]:
    """The files that the list of modes comes from."""
    modules = (sys.modules.get(fact.module.partition(":")[0]) for fact in hooks.plugins)
    return [
        str(app.paths.system_config),
        str(app.paths.user_config),
        *find_points(app.paths.cache).sources,
        *(module.__file__ for module in modules if module is not None and module.__file__),
    ]


def _modes(app: App) -> dict[str, Mode]:
    return {mode.name: mode for mode in app.hooks.modes()}


def _modes_or_core(app: App) -> dict[str, Mode]:
    """All modes; with a configuration that cannot be read the core's, and a word about it."""
    try:
        return _modes(app)
    except AileronError as error:
        app.out.error(error)
        return _core_modes()


def _core_modes() -> dict[str, Mode]:
    return {mode.name: mode for mode in builtin.aileron_modes()}


def _load(mode: Mode) -> click.Command:
    try:
        return mode.load()
    except ImportError as error:
        raise PLUGIN_BROKEN(
            f"the mode {mode.name!r} cannot be imported", why=f"{type(error).__name__}: {error}"
        ) from error


def _warn_of_broken(app: App) -> None:
    for fact in app.hooks.broken:
        app.out.warn(f"the plugin {fact.name!r} is broken: {fact.broken}; {leave_out(fact.name)}")


def _unknown(app: App, name: str) -> AileronError:
    fact = app.disabled_plugin_of(name)
    if fact is not None:
        return MODE_DISABLED(
            f"the mode {name!r} is not there: the plugin {fact.name!r} is {fact.why}",
            hints=[f"aileron plugins enable {fact.name}"],
        )
    modes = list(_modes(app))
    return MODE_UNKNOWN(f"no mode {name!r}", hints=[did_you_mean(name, modes, what="modes")])


aileron = ModeGroup(
    "aileron",
    help="Run coding agents in sealed containers: one gate, one inbox, one record.",
    params=group_options(),
    no_args_is_help=True,
    context_settings={"help_option_names": ["--help"], "max_content_width": 100},
)
