"""Configuration: layered TOML, every value with its origin, nothing unknown accepted.

Plugins need `setting` (and `required`) for their tables; importing it costs attrs and nothing else.
The rest is imported when it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from aileron_core.config.setting import Setting, required, setting, setting_of

if TYPE_CHECKING:
    from aileron_core.config.layers import Sources, read_sources
    from aileron_core.config.load import Config, examine, load_config, resolve
    from aileron_core.config.tables import Schema, schema_of

__all__ = [
    "Config",
    "Schema",
    "Setting",
    "Sources",
    "examine",
    "load_config",
    "read_sources",
    "required",
    "resolve",
    "schema_of",
    "setting",
    "setting_of",
]

_WHERE = {
    "Config": "load",
    "Schema": "tables",
    "Sources": "layers",
    "examine": "load",
    "is_trusted": "trust",
    "load_config": "load",
    "read_sources": "layers",
    "resolve": "load",
    "schema_of": "tables",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
