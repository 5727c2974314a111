"""The loader: from installed entry points to a `Hooks`.

pluggy's own loader keeps the first of two plugins with one name in silence, and one bad import ends
everything; here a clash is an error, and a broken plugin is named and set aside.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pluggy
from attrs import evolve

from aileron_core import __version__, hookspecs
from aileron_core.errors import AileronError
from aileron_core.nearest import did_you_mean
from aileron_core.plugins.facade import Hooks
from aileron_core.plugins.facts import (
    CORE,
    PLUGIN_BROKEN,
    PLUGIN_CLASH,
    PLUGIN_ESSENTIAL,
    PLUGIN_UNKNOWN,
    EntryPoint,
    PluginFact,
    leave_out,
)
from aileron_core.plugins.scan import scan

_CORE_POINT = EntryPoint(CORE, "aileron_core.builtin", "aileron-runtime", __version__)
_PREFIX = "aileron_"


def load_hooks(
    disabled: Iterable[str] = (),
    *,
    cache: Path | None = None,
    entry_points: Sequence[EntryPoint] | None = None,
) -> Hooks:
    """Import every plugin that is not switched off, and the core's own.

    Args:
        disabled: names of plugins; a mapping gives each name's origin too (``/path:12``, a flag).
        cache: the directory where the scan is remembered (`Paths.cache`); None: scan anew.
        entry_points: what is installed, when the caller knows better than a scan.

    Raises:
        AileronError: ``plugin-clash``, ``plugin-unknown``, ``plugin-essential``. A plugin that is
            broken is no error here: see `Hooks.broken` and `Hooks.require_whole`.
    """
    installed = scan(cache) if entry_points is None else entry_points
    reasons = _reasons(disabled)
    check_names(reasons, [point.name for point in installed])
    manager = new_manager()
    facts = [
        _load(manager, point, reasons) for point in [_CORE_POINT, *_unique(installed, reasons)]
    ]
    manager.check_pending()
    return Hooks(manager, facts)


def new_manager() -> pluggy.PluginManager:
    """A plugin manager that knows the hooks and no plugin."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    return manager


def check_names(reasons: Mapping[str, str], installed: Sequence[str]) -> None:
    """Refuse a disable list that names something else than an installed plugin.

    Raises:
        AileronError: ``plugin-unknown`` or ``plugin-essential``.
    """
    for name, origin in reasons.items():
        if name == CORE:
            raise PLUGIN_ESSENTIAL("the plugin 'core' cannot be disabled", why=origin)
        if name not in installed:
            raise PLUGIN_UNKNOWN(
                f"no plugin {name!r} to disable",
                why=origin,
                hints=[did_you_mean(name, installed, what="installed plugins")],
            )


def register(manager: pluggy.PluginManager, name: str, plugin: object) -> None:
    """Add a plugin after checking all of it, so that nothing is half registered.

    Raises:
        AileronError: ``plugin-broken``, saying which hook and what is wrong with it.
    """
    for attribute in dir(plugin):
        _check_hook(manager, name, attribute, getattr(plugin, attribute, None))
    try:
        manager.register(plugin, name)
    except (pluggy.PluginValidationError, ValueError) as error:
        raise _broken(name, " ".join(str(error).split())) from error


def _check_hook(manager: pluggy.PluginManager, name: str, attribute: str, value: object) -> None:
    options = getattr(value, hookspecs.PROJECT + "_impl", None)
    specs = hook_names()
    if not isinstance(options, dict):
        if attribute in specs and inspect.isroutine(value):
            raise _broken(name, f"{attribute} is not marked with @hookimpl")
        return
    hook = options.get("specname") or attribute
    if hook not in specs:
        raise _broken(name, f"{hook} is no hook of Aileron; {did_you_mean(hook, specs)}")
    if inspect.iscoroutinefunction(value) or inspect.isasyncgenfunction(value):
        raise _broken(name, f"{hook} is async: hooks are synchronous, return a record instead")
    if options.get("wrapper") or options.get("hookwrapper"):
        raise _broken(name, f"{hook} is a wrapper: a plugin may add to hooks, not change others")


def hook_names() -> list[str]:
    """The names of all hooks."""
    return [name for name in vars(hookspecs) if name.startswith(_PREFIX)]


def _broken(name: str, why: str) -> AileronError:
    return PLUGIN_BROKEN(f"the plugin {name!r} is broken", why=why, hints=[leave_out(name)])


def _reasons(disabled: Iterable[str]) -> Mapping[str, str]:
    if isinstance(disabled, Mapping):
        return disabled
    return dict.fromkeys(disabled, "")


def _unique(installed: Sequence[EntryPoint], disabled: Mapping[str, str]) -> list[EntryPoint]:
    """One entry point a name; of two that are both off, only the first is listed."""
    known: dict[str, EntryPoint] = {CORE: _CORE_POINT}
    for point in installed:
        other = known.setdefault(point.name, point)
        if other is not point and point.name not in disabled:
            raise PLUGIN_CLASH(
                f"two plugins are called {point.name!r}",
                why=f"one is of the distribution {other.distribution}, "
                f"the other of {point.distribution}",
                hints=[f"uninstall one of them: pip uninstall {point.distribution}"],
            )
    del known[CORE]
    return list(known.values())


def _load(
    manager: pluggy.PluginManager, point: EntryPoint, disabled: Mapping[str, str]
) -> PluginFact:
    fact = PluginFact(point.name, point.value, point.distribution, point.version)
    if point.name in disabled:
        origin = disabled[point.name]
        return evolve(fact, enabled=False, why=f"disabled {origin}".rstrip())
    try:
        register(manager, point.name, _import(point.value))
    except AileronError as error:
        return evolve(fact, broken=error.why)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin may fail in any way; it is named
        return evolve(fact, broken=f"{type(error).__name__}: {error}")
    return fact


def _import(value: str) -> object:
    module, _, attributes = value.partition(":")
    found: object = importlib.import_module(module.strip())
    for attribute in filter(None, attributes.strip().split(".")):
        found = getattr(found, attribute)
    return found
