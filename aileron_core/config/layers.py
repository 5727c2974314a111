"""The layers of configuration, lowest first, each read but not yet judged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from attrs import field, frozen

from aileron_core.config.convert import BadValue, Key, fields_of, from_text
from aileron_core.config.errors import CONFIG_UNREADABLE, CONFIG_VALUE
from aileron_core.config.files import Document, read_document
from aileron_core.config.trust import digest, is_trusted
from aileron_core.nearest import did_you_mean
from aileron_core.paths import Paths

PROJECT_FILE = ".aileron.toml"
PREFIX = "AILERON_"
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

Kind = Literal["system", "user", "project", "config", "environment", "flags"]


@frozen
class FileState:
    """A configuration file that is looked for."""

    kind: Kind
    path: Path
    document: Document | None = field(default=None, repr=False)
    trusted: bool = True

    @property
    def exists(self) -> bool:
        """It is there and was read."""
        return self.document is not None


@frozen
class Sources:
    """Everything that configuration is made of, read once."""

    files: tuple[FileState, ...] = ()
    """Lowest first; those that are absent too."""
    environ: Mapping[str, str] = field(factory=dict, repr=False)
    flags: Mapping[str, Any] = field(factory=dict)
    directory: Path = Path("/")
    """What relative paths in variables and flags refer to."""

    def disabled(self) -> dict[str, str]:
        """Plugins that are switched off, with where that is written.

        This is asked before plugins are loaded, hence before there is a schema.

        Raises:
            AileronError: ``config-value`` when it is no list of names.
        """
        found: dict[str, str] = {}
        for state in self.files:
            if state.document is not None and state.trusted:
                names = _disable_list(state.document)
                found = found if names is None else names
        text = self.environ.get(PREFIX + "PLUGINS_DISABLE")
        if text is not None:
            typed = (part.strip() for part in text.split(","))
            found = {name: f"by {PREFIX}PLUGINS_DISABLE" for name in typed if name}
        return found


def _disable_list(document: Document) -> dict[str, str] | None:
    table = document.data.get("plugins", {})
    names = table.get("disable") if isinstance(table, dict) else None
    if names is None:
        return None
    where = document.where(("plugins", "disable"))
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise CONFIG_VALUE(f"plugins.disable in {where} is not a list of names")
    return dict.fromkeys(names, f"in {where}")


def read_sources(
    paths: Paths,
    *,
    project: Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
    config_file: Path | None = None,
) -> Sources:
    """Read every file that there is.

    Raises:
        AileronError: ``config-unreadable``, ``config-syntax``.
    """
    files = [_state("system", paths.system_config), _state("user", paths.user_config)]
    if project is not None:
        files.append(_project_state(paths, project / PROJECT_FILE))
    if config_file is not None:
        files.append(_state("config", config_file))
        if not files[-1].exists:
            raise CONFIG_UNREADABLE(f"there is no file {config_file}", why="--config names it")
    return Sources(tuple(files), environ or {}, flags or {}, project or Path("/"))


def _state(kind: Kind, path: Path) -> FileState:
    return FileState(kind, path, read_document(path))


def _project_state(paths: Paths, path: Path) -> FileState:
    # While a session runs, an empty directory stands in for a file that must not come into being.
    is_stand_in = path.is_dir() and not path.is_symlink()
    document = None if is_stand_in else read_document(path, hostile=True)
    if document is None:
        return FileState("project", path)
    return FileState("project", path, document, is_trusted(paths, path, digest(document.content)))


# --- variables and flags, as the tables they stand for ------------------------------------------


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
