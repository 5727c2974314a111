"""A configuration with a table of every type, and files to put it in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import pytest
from attrs import evolve, field, frozen

from aileron_core.config import Config, load_config, required, setting
from aileron_core.config.tables import PluginsSettings, Schema
from aileron_core.paths import Paths, find_paths
from aileron_core.records import Verdict


@frozen(kw_only=True)
class Rule:
    """An item of a list of tables."""

    host: str = required("A host.")
    verdict: Verdict = setting(Verdict.ALLOW, "What holds.")
    ports: tuple[int, ...] = setting((), "Ports.")
    origin: str = field(default="", repr=False)


@frozen
class Inner:
    """A nested table."""

    depth: int = setting(1, "How deep.", project="tighten", tighter=lambda old, new: new <= old)
    origin: str = ""


@frozen
class Everything:
    """All types that a setting can have."""

    text: str = setting("built", "Text.")
    number: int = setting(3, "A number.", project="tighten", tighter=lambda old, new: new <= old)
    ratio: float = setting(0.5, "A ratio.")
    flag: bool = setting(False, "A flag.", project="free")
    maybe: str | None = setting(None, "Perhaps text.")
    limit: int | None = setting(None, "Perhaps a number.")
    choice: Literal["rw", "ro", "overlay"] = setting("rw", "One of three.")
    file: Path | None = setting(None, "A path.")
    names: tuple[str, ...] = setting((), "Names.")
    added: tuple[str, ...] = setting(
        ("base",), "Names.", merge="append", project="tighten", tighter=lambda old, new: True
    )
    env: Mapping[str, str] = setting({}, "Variables.")
    more: Mapping[str, str] = setting({}, "Variables.", merge="append")
    rules: tuple[Rule, ...] = setting((), "Rules.", merge="append")
    places: Mapping[str, Inner] = setting({}, "Tables by name.")
    inner: Inner = setting(Inner(), "A table.")
    password: str = setting("", "A secret.", secret=True)


SCHEMA = Schema({"every-thing": Everything, "plugins": PluginsSettings}, frozenset({"gone"}))


class Files:
    """The files of one test and what they come to."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.project = root / "project"
        self.project.mkdir()
        found = find_paths({"HOME": str(root), "XDG_RUNTIME_DIR": str(root)})
        self.paths: Paths = evolve(found, system_config=root / "etc.toml")
        self.schema = SCHEMA

    def system(self, text: str) -> Path:
        """Write the system's file."""
        return self._write(self.paths.system_config, text)

    def user(self, text: str) -> Path:
        """Write the user's file."""
        return self._write(self.paths.user_config, text)

    def of_project(self, text: str) -> Path:
        """Write the project's file."""
        return self._write(self.project / ".aileron.toml", text)

    def extra(self, text: str) -> Path:
        """Write a file for `--config`."""
        return self._write(self.root / "extra.toml", text)

    def load(self, **more: Any) -> Config:
        """The configuration."""
        given = {"paths": self.paths, "project": self.project, **more}
        return load_config(self.schema, **given)

    def everything(self, **more: Any) -> Everything:
        """The one table."""
        return self.load(**more).table("every-thing", Everything)

    def _write(self, path: Path, text: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Empty directories for configuration."""
    return Files(tmp_path)


@pytest.fixture
def rule() -> Callable[..., Rule]:
    """Makes a rule."""
    return Rule
