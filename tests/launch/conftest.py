"""Fixtures for tests of planning, images and change sets."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from aileron_core.paths import Paths, find_paths
from aileron_core.sessions.plan import LaunchPlan, LaunchRequest
from aileron_launch.images.locate import Search
from aileron_launch.planner import make_plan
from aileron_launch.settings import Settings
from aileron_launch.tiers import Inputs


@attrs.frozen
class Person:
    """Somebody's machine: a home, a workspace, programs, Aileron's directories."""

    root: Path
    paths: Paths

    @property
    def home(self) -> Path:
        """Their home."""
        return self.root / "home"

    @property
    def workspace(self) -> Path:
        """Their project."""
        return self.root / "work"

    def program(self, path: str, text: str = "#!/bin/sh\necho it ran\n") -> Path:
        """An executable file below the root."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)
        return file

    def search(self, path: str = "/usr/bin:/bin") -> Search:
        """Where their programs are; `path` with ``~`` for the home."""
        return Search.of(path.replace("~", str(self.home)), self.home)

    def request(self, agent: str | None = None, *args: str, **more: Any) -> LaunchRequest:
        """What they type in their workspace."""
        given = {"cwd": str(self.workspace), "home": str(self.home), "uid": os.getuid()}
        return LaunchRequest(agent=agent, args=args, **{**given, **more})

    def plan(
        self,
        agent: str | None = None,
        *args: str,
        settings: Settings | None = None,
        path: str = "/usr/bin:/bin",
        **more: Any,
    ) -> LaunchPlan:
        """The plan for what they type."""
        request = self.request(agent, *args, **more)
        chosen = settings if settings is not None else Settings()
        search = self.search(path)
        return make_plan(Inputs(request, chosen, self.paths, "s_abcdefgh12", search=search))


def _person(root: Path) -> Person:
    for name in ("home", "work", "run"):
        (root / name).mkdir(mode=0o755)
    variables = {"HOME": str(root / "home"), "XDG_RUNTIME_DIR": str(root / "run")}
    return Person(root, find_paths(variables))


@pytest.fixture
def person() -> Iterator[Person]:
    """A person whose directories are not under /tmp: a sandbox has a /tmp of its own."""
    root = Path(tempfile.mkdtemp(prefix="aileron-test-", dir="/var/tmp"))
    root.chmod(0o755)
    try:
        yield _person(root)
    finally:
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def run_in_sandbox() -> Callable[..., Any]:
    """Call it with a plan: runs the plan's command in a real sandbox; its output and status."""
    from real_sandbox import run_plan

    return run_plan
