"""``aileron plugins``: which plugins exist, from which distribution, on or off, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from aileron_core.cli.app import App
from aileron_core.nearest import did_you_mean
from aileron_core.plugins.facts import CORE, PLUGIN_ESSENTIAL, PLUGIN_UNKNOWN, PluginFact
from aileron_core.plugins.scan import scan

if TYPE_CHECKING:
    from aileron_core.plugins.facade import Hooks


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    app = ctx.find_object(App) or App()
    return [name for name in _installed(app) if name.startswith(incomplete)]


@click.group()
def command() -> None:
    """See plugins, and switch them on and off."""


@command.command("list")
@click.pass_obj
def list_plugins(app: App) -> None:
    """Every installed plugin."""
    hooks = app.hooks
    hooks.modes()  # a plugin that fails when asked is broken, too
    rows = [_row(fact, hooks) for fact in hooks.plugins]
    app.out.table(rows, ["name", "state", "distribution", "version", "why"])


@command.command()
@click.argument("name", shell_complete=_complete)
@click.pass_obj
def show(app: App, name: str) -> None:
    """One plugin: where it is from, and what it adds."""
    facts = {fact.name: fact for fact in app.hooks.plugins}
    if name not in facts:
        raise _unknown(name, facts)
    app.out.record(
        {
            **_row(facts[name], app.hooks),
            "module": facts[name].module,
            "hooks": app.hooks.implemented(name),
            "modes": app.hooks.modes_of(name),
        }
    )


@command.command()
@click.argument("names", nargs=-1, required=True, shell_complete=_complete)
@click.pass_obj
def disable(app: App, names: Sequence[str]) -> None:
    """Switch plugins off, in your configuration file."""
    installed = _installed(app)
    for name in names:
        if name == CORE:
            raise PLUGIN_ESSENTIAL("the plugin 'core' cannot be disabled")
        if name not in installed:
            raise _unknown(name, installed)
    _change(app, on=(), off=names)


@command.command()
@click.argument("names", nargs=-1, required=True, shell_complete=_complete)
@click.pass_obj
def enable(app: App, names: Sequence[str]) -> None:
    """Switch plugins on, in your configuration file."""
    installed, disabled = _installed(app), app.sources.disabled()
    for name in names:
        if name not in installed and name not in disabled:
            raise _unknown(name, installed)
    _change(app, on=names, off=())


def _change(app: App, *, on: Sequence[str], off: Sequence[str]) -> None:
    """Rewrite the list; it starts as what holds below the user's file, which it will cover."""

    from aileron_core.config.edit import change_disabled  # tomlkit, 20 ms

    def change(names: list[str]) -> None:
        names[:] = [name for name in names if name not in on]
        names.extend(name for name in off if name not in names)

    file = app.paths.user_config
    changed = change_disabled(file, change, list(app.sources.disabled()))
    app.forget()
    still = app.disabled
    for name in (*on, *off):
        if (name in still) == (name in off):
            state = "off" if name in off else "on"
            app.out.say(f"{name} is {state}" + ("" if changed else " already"))
        else:
            app.out.warn(f"{name} is still {still.get(name) or 'on: another layer decides'}")
    if app.json:
        app.out.data({"file": str(file), "changed": changed, "disabled": sorted(still)})


def _row(fact: PluginFact, hooks: Hooks) -> dict[str, Any]:
    state = "broken" if fact.broken else "on" if fact.enabled else "off"
    idle = state == "on" and not hooks.implemented(fact.name)
    return {
        "id": fact.name,
        "name": fact.name,
        "state": state,
        "distribution": fact.distribution,
        "version": fact.version,
        "why": f"{fact.broken or fact.why}{'; adds nothing yet' if idle else ''}",
    }


def _installed(app: App) -> list[str]:
    return [point.name for point in scan(app.paths.cache)]


def _unknown(name: str, known: Any) -> Exception:
    hint = did_you_mean(name, known, what="installed plugins")
    return PLUGIN_UNKNOWN(f"no plugin {name!r}", hints=[hint])
