"""Hooks with exactly the plugins of a test, and a session to ask them about."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

from aileron_core.plugins.facade import Hooks
from aileron_core.plugins.facts import PluginFact
from aileron_core.plugins.loader import new_manager, register
from aileron_core.records import Session


def hooks_with(*plugins: object, **named: object) -> Hooks:
    """A `Hooks` with these plugins and no other, not even the core's own.

    A plugin is a module or any object with hookimpls. ``named`` gives names; without one it is the
    attribute ``name`` of the plugin, the module's last name, or the class's.

    Raises:
        AileronError: ``plugin-broken``, unlike a real load, which would set the plugin aside.
    """
    manager = new_manager()
    facts = []
    for name, plugin in [*((_name_of(p), p) for p in plugins), *named.items()]:
        register(manager, name, plugin)
        facts.append(PluginFact(name, type(plugin).__module__, "a test", "0"))
    manager.check_pending()
    return Hooks(manager, facts)


def _name_of(plugin: object) -> str:
    if isinstance(plugin, ModuleType):
        return plugin.__name__.rpartition(".")[2]
    return str(getattr(plugin, "name", type(plugin).__name__.lower()))


def session_for(**facts: Any) -> Session:
    """A session with harmless facts; give those that matter to the test."""
    defaults: dict[str, Any] = {
        "id": "s_test",
        "name": "test",
        "agent": "sh",
        "command": ("sh",),
        "workspace": Path("/work"),
        "workspace_mode": "rw",
        "image": "fake/image:1",
        "tier": "byo",
        "backend": "fake",
        "host": "here",
        "created": 1_700_000_000.0,
    }
    return Session(**{**defaults, **facts})
