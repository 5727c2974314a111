"""Which tables exist: the core's own and those of plugins."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from aileron_core.config.setting import setting
from aileron_core.plugins.facade import Hooks
from aileron_core.plugins.facts import CORE


@frozen
class PluginsSettings:
    """``[plugins]``."""

    disable: tuple[str, ...] = setting(
        (), "Plugins that are switched off: their modules are not even imported."
    )


@frozen
class Schema:
    """What configuration may say."""

    tables: Mapping[str, type[Any]]
    """Table name to the attrs class whose fields are its keys."""
    opaque: frozenset[str] = frozenset()
    """Tables that may be there and are not looked at: of plugins that are off or broken."""


_CORE_TABLES = {
    "policy": ("aileron_core.policy.settings", "PolicySettings"),
    "daemon": ("aileron_core.daemon.settings", "DaemonSettings"),
}


def core_tables() -> dict[str, type[Any]]:
    """The core's own tables."""
    found: dict[str, type[Any]] = {"plugins": PluginsSettings}
    for table, (module, name) in _CORE_TABLES.items():
        if importlib.util.find_spec(module) is not None:
            found[table] = getattr(importlib.import_module(module), name)
    return found


def schema_of(hooks: Hooks) -> Schema:
    """The tables of the core and of every plugin that is on."""
    tables = {**hooks.settings(), **core_tables()}
    names = {fact.name for fact in hooks.plugins} - {CORE}
    return Schema(tables, frozenset(names - tables.keys()))
