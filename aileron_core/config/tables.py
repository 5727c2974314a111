"""Which tables exist: the core's own and those of plugins."""

from __future__ import annotations

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


def core_tables() -> dict[str, type[Any]]:
    """The core's own tables."""
    from aileron_core.daemon.settings import DaemonSettings
    from aileron_core.policy.settings import PolicySettings

    return {"plugins": PluginsSettings, "policy": PolicySettings, "daemon": DaemonSettings}


def schema_of(hooks: Hooks) -> Schema:
    """The tables of the core and of every plugin that is on."""
    tables = {**hooks.settings(), **core_tables()}
    names = {fact.name for fact in hooks.plugins} - {CORE}
    return Schema(tables, frozenset(names - tables.keys()))
