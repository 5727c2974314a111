"""A real Podman backend in directories of its own, and what a test may leave: nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import define, evolve

from aileron_core.backend import (
    BackendContext,
    Capability,
    Command,
    Exit,
    Limits,
    Mount,
    Sandbox,
    SandboxSpec,
    Stream,
)
from aileron_podman.backend import PodmanBackend, open_backend
from aileron_podman.settings import PodmanSettings

OWN = os.getuid(), os.getgid()


def mount_table() -> str:
    """The host's mounts."""
    return Path("/proc/self/mountinfo").read_text()


@define
class Ran:
    """A program's whole output and its end."""

    exit: Exit
    out: bytes
    err: bytes

    @property
    def text(self) -> str:
        """Standard output without surrounding white space."""
        return self.out.decode().strip()


async def drain(stream: Stream, stdin: bytes = b"") -> Ran:
    """Feed ``stdin`` and collect everything until the program has ended."""
    parts: dict[int, bytearray] = {1: bytearray(), 2: bytearray()}

    async def feed() -> None:
        if stdin:
            await stream.send(stdin)
        await stream.send_eof()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(feed)
        while (found := await stream.receive()) is not None:
            parts[found[0]] += found[1]
    ended = await stream.wait()
    await stream.aclose()
    return Ran(ended, bytes(parts[1]), bytes(parts[2]))


@define
class World:
    """A backend, a workspace, and short ways to use them."""

    backend: PodmanBackend
    root: Path
    image: str
    _count: int = 0

    @property
    def owner(self) -> str:
        """The label that everything of this test carries."""
        return str(self.root / "state")

    @property
    def workspace(self) -> Path:
        """A directory of the person who runs the tests."""
        return self.root / "work"

    def limits(self, memory: int | None, pids: int | None) -> Limits:
        """These limits, as far as this machine can hold them for this user."""
        able = self.backend.capabilities
        return Limits(
            memory=memory if Capability.LIMIT_MEMORY in able else None,
            pids=pids if Capability.LIMIT_PIDS in able else None,
        )

    def spec(self, script: str = "true", **fields: Any) -> SandboxSpec:
        """A sandbox with the workspace in it that runs ``script``; ``fields`` replace others."""
        self._count += 1
        session = f"t{os.getpid()}-{self.root.name[-6:]}-{self._count}"
        workspace = Mount(
            str(self.workspace),
            "bind",
            str(self.workspace),
            read_only=False,
            map_owner=True,
            owner=OWN,
        )
        spec = SandboxSpec(
            session=session,
            image=self.image,
            argv=("sh", "-c", script),
            cwd=str(self.workspace),
            env={"PATH": "/usr/bin:/bin", "HOME": "/home/agent"},
            mounts=(workspace,),
            limits=self.limits(memory=256 << 20, pids=100),
            labels={
                "io.aileron.test": "1",
                "io.aileron.owner": self.owner,
                "io.aileron.session": session,
            },
        )
        return evolve(spec, **fields)

    async def create(self, script: str = "true", **fields: Any) -> Sandbox:
        """A created sandbox."""
        return await self.backend.create(self.spec(script, **fields))

    async def run(self, script: str, stdin: bytes = b"", **fields: Any) -> Ran:
        """Create, run to the end, remove."""
        sandbox = await self.create(script, **fields)
        try:
            return await drain(await self.backend.open(sandbox), stdin)
        finally:
            with trio.CancelScope(shield=True):
                await self.backend.remove(sandbox)

    async def exec(self, sandbox: Sandbox, script: str, stdin: bytes = b"", **fields: Any) -> Ran:
        """Another program, to its end."""
        command = Command(argv=("sh", "-c", script), cwd="/", **fields)
        return await drain(await self.backend.open(sandbox, command), stdin)

    async def left(self) -> list[str]:
        """Containers of this test that exist."""
        return [found.sandbox.id for found in await self.backend.survey(self.owner)]


@pytest.fixture
def short_directory() -> Iterator[Path]:
    """A directory with a short path: Unix sockets live in it."""
    path = Path(tempfile.mkdtemp(prefix="ap-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    if os.getuid() != 0:  # an overlay leaves directories of the container's root
        subprocess.run(["podman", "unshare", "rm", "-rf", str(path)], check=True)
    shutil.rmtree(path, ignore_errors=os.getuid() != 0)


@pytest.fixture
def context(short_directory: Path) -> BackendContext:
    """What a backend is opened with."""
    for name in ("run", "state", "work"):
        (short_directory / name).mkdir(mode=0o700)
    # Another Podman's socket, to try one that is not this machine's own.
    settings = PodmanSettings(socket=os.environ.get("AILERON_TEST_PODMAN_SOCKET", ""))
    return BackendContext(str(short_directory / "run"), str(short_directory / "state"), settings)


@pytest.fixture
async def world(
    context: BackendContext, short_directory: Path, tiny_image: str
) -> AsyncIterator[World]:
    """A real backend; the test fails when it leaves a container or a mount."""
    mounts = mount_table().count(str(short_directory))
    backend = await open_backend(context)
    assert isinstance(backend, PodmanBackend)
    world = World(backend, short_directory, tiny_image)
    try:
        yield world
        left = await world.left()
        for each in left:
            await backend.remove(Sandbox(each, ""))
        assert left == []
        assert mount_table().count(str(short_directory)) == mounts
    finally:
        with trio.CancelScope(shield=True):
            await backend.aclose()
