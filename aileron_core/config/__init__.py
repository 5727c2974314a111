"""Configuration: layered TOML, every value with its origin, nothing unknown accepted."""

from __future__ import annotations

from aileron_core.config.setting import Setting, required, setting, setting_of

__all__ = ["Setting", "required", "setting", "setting_of"]
