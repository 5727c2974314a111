"""The layers of configuration, lowest first, each read but not yet judged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from attrs import field, frozen

from aileron_core.config.errors import CONFIG_UNREADABLE, CONFIG_VALUE
from aileron_core.config.files import Document, read_document
from aileron_core.config.trust import digest, is_trusted
from aileron_core.paths import Paths

PROJECT_FILE = ".aileron.toml"
PREFIX = "AILERON_"

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
