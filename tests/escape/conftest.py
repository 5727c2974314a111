"""Hostile code in real sandboxes of each image tier."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from attrs import define, field
from real_aileron import Aileron, explain

TIERS = ("byo", "base", "host")


@define
class Inside:
    """Runs hostile code in a sandbox of one tier: ``inside("cat /etc/shadow")``."""

    aileron: Aileron
    tier: str
    image: str
    workspace: Path
    flags: Sequence[str] = field(default=())

    def __call__(
        self, script: str, *flags: str, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell script as the agent; its status is not checked."""
        return self.run("/bin/sh", "-c", script, flags=flags, env=env)

    def run(
        self, *argv: str, flags: Sequence[str] = (), env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as the agent."""
        launch = ("launch", "--image", self.image, *self.flags, *flags)
        return self.aileron(*launch, "--", *argv, cwd=self.workspace, env=env)

    def python(self, source: str, *flags: str) -> subprocess.CompletedProcess[str]:
        """Run Python source as the agent; only in images that have it."""
        return self.run("python3", "-I", "-c", source, flags=flags)

    def says(self, script: str, *flags: str, env: dict[str, str] | None = None) -> str:
        """What a script printed, stripped; it must have succeeded."""
        done = self(script, *flags, env=env)
        assert done.returncode == 0, explain(done)
        return done.stdout.strip()

    def python_says(self, source: str, *flags: str) -> str:
        """What Python source printed, stripped; it must have succeeded."""
        done = self.python(source, *flags)
        assert done.returncode == 0, explain(done)
        return done.stdout.strip()


@pytest.fixture
def fresh_workspace() -> Iterator[Path]:
    """An empty directory of the user's, removed afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="ail-work-", dir="/tmp"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _inside(request: pytest.FixtureRequest, tier: str) -> Inside:
    images = {"byo": "tiny_image", "base": "base_image"}
    image = request.getfixturevalue(images[tier]) if tier in images else tier
    workspace = request.getfixturevalue("fresh_workspace")
    return Inside(request.getfixturevalue("shared_aileron"), tier, image, workspace)


@pytest.fixture(params=TIERS)
def inside(request: pytest.FixtureRequest) -> Inside:
    """A sandbox of every tier: shell scripts only, since one image has nothing else."""
    return _inside(request, request.param)


@pytest.fixture(params=("base", "host"))
def inside_python(request: pytest.FixtureRequest) -> Inside:
    """A sandbox of the tiers that have python3."""
    return _inside(request, request.param)


@pytest.fixture
def inside_tiny(request: pytest.FixtureRequest) -> Inside:
    """A sandbox of the smallest image, for what does not depend on the image."""
    return _inside(request, "byo")


@pytest.fixture
def inside_host(request: pytest.FixtureRequest) -> Inside:
    """A sandbox of the host tier, for what needs python3 and does not depend on the image."""
    return _inside(request, "host")


def quoted(*words: object) -> str:
    """Words for a shell."""
    return " ".join(shlex.quote(str(word)) for word in words)
