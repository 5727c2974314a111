"""Variables and flags, as the settings that they stand for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aileron_core.config.convert import BadValue, Key, fields_of, from_text
from aileron_core.config.layers import PREFIX
from aileron_core.nearest import did_you_mean

# What a sandbox sets inside (docs/contract.md): facts about the session, not settings.
RESERVED = frozenset(
    PREFIX + name
    for name in (
        "API_URL",
        "TOKEN",
        "SESSION_ID",
        "TOOLS_FILE",
        "SHIMS_DIR",
        "SANDBOX_IMAGE",
        "SANDBOX_TIER",
        "SANDBOX_RUNTIME",
    )
)


def environment_values(
    environ: Mapping[str, str], tables: Mapping[str, type[Any]], opaque: frozenset[str]
) -> dict[Key, tuple[Any, str]]:
    """``AILERON_LAUNCH_IMAGE=x`` as ``{("launch", "image"): ("x", "AILERON_LAUNCH_IMAGE")}``.

    Raises:
        BadValue: a variable that begins so and stands for no setting.
    """
    found: dict[Key, tuple[Any, str]] = {}
    names: dict[str, tuple[Key, Any]] | None = None
    for variable in sorted(environ):
        if not variable.startswith(PREFIX) or variable in RESERVED:
            continue
        names = _variables(tables) if names is None else names
        if variable in names:
            key, kind = names[variable]
            found[key] = (from_text(kind, environ[variable], key), variable)
        elif not any(variable.startswith(variable_of((name,)) + "_") for name in opaque):
            raise BadValue(
                (variable,), "there is no such setting", did_you_mean(variable, names), unknown=True
            )
    return found


def variable_of(key: Key) -> str:
    """The variable that stands for a key: ``AILERON_SHELL_INTERCEPT_HOLD``."""
    return PREFIX + "_".join(str(part) for part in key).upper().replace("-", "_")


def _variables(tables: Mapping[str, type[Any]]) -> dict[str, tuple[Key, Any]]:
    return {
        variable_of(key): (key, kind)
        for name, cls in tables.items()
        for key, kind in _leaves((name,), cls)
    }


def _leaves(prefix: Key, cls: type[Any]) -> list[tuple[Key, Any]]:
    found: list[tuple[Key, Any]] = []
    for name, one in fields_of(cls).items():
        if one.nested is not None:
            found += _leaves((*prefix, name), one.nested)
        else:
            found.append(((*prefix, name), one.type))
    return found


def flag_values(
    flags: Mapping[str, Any], tables: Mapping[str, type[Any]]
) -> dict[Key, tuple[Any, str]]:
    """``{"launch.image": "x"}`` as `environment_values` gives it; None means not given."""
    kinds = {
        ".".join(map(str, k)): (k, t) for n, cls in tables.items() for k, t in _leaves((n,), cls)
    }
    found: dict[Key, tuple[Any, str]] = {}
    for name, value in flags.items():
        if value is None:
            continue
        if name not in kinds:
            raise BadValue(
                (name,), "there is no such setting", did_you_mean(name, kinds), unknown=True
            )
        key, kind = kinds[name]
        found[key] = (from_text(kind, value, key) if isinstance(value, str) else value, "a flag")
    return found
