"""What is known about plugins, and what can be wrong with them."""

from __future__ import annotations

from attrs import frozen

from aileron_core.errors import EXIT_CONFIG, EXIT_SOFTWARE, EXIT_UNAVAILABLE, ErrorCode

PLUGIN_CLASH = ErrorCode(
    "plugin-clash", EXIT_CONFIG, "Two distributions have a plugin of one name."
)
PLUGIN_UNKNOWN = ErrorCode("plugin-unknown", EXIT_CONFIG, "No plugin of that name is installed.")
PLUGIN_ESSENTIAL = ErrorCode(
    "plugin-essential", EXIT_CONFIG, "A part of the core cannot be switched off."
)
PLUGIN_BROKEN = ErrorCode(
    "plugin-broken", EXIT_SOFTWARE, "A plugin cannot be imported, or breaks the rules for hooks."
)
PLUGIN_STALE = ErrorCode(
    "plugin-stale", EXIT_UNAVAILABLE, "A plugin was switched on after the daemon started."
)
BACKEND_DISABLED = ErrorCode(
    "backend-disabled", EXIT_UNAVAILABLE, "The plugin that gives the backend is switched off."
)
PLUGIN_FAILED = ErrorCode("plugin-failed", EXIT_SOFTWARE, "A plugin failed while it was asked.")
PLUGIN_CONFLICT = ErrorCode(
    "plugin-conflict", EXIT_CONFIG, "Two plugins give the same name to different things."
)

CORE = "core"
"""The name of the core's own plugin; it is always on."""


@frozen
class EntryPoint:
    """One line of the group ``aileron.plugins`` of an installed distribution."""

    name: str
    value: str
    """``module`` or ``module:object``."""
    distribution: str
    version: str


@frozen
class PluginFact:
    """A plugin that is installed: whence, on or off, and why."""

    name: str
    module: str
    distribution: str
    version: str
    enabled: bool = True
    why: str = "on by default"
    broken: str = ""
    """What is wrong with it, or ""."""


def leave_out(name: str) -> str:
    """The mend for a plugin that stands in the way."""
    return f"leave it out: aileron --disable {name} …, or aileron plugins disable {name}"
