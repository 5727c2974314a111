"""An engine on a backend in memory, with a real database and a real record."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import define, field
from trio.testing import MockClock, memory_stream_pair

from aileron_core.daemon.main import LocalDaemon, daemon_parts
from aileron_core.hookspecs import hookimpl
from aileron_core.paths import Paths
from aileron_core.sessions.console import Console
from aileron_core.sessions.engine import SessionEngine, new_session_id
from aileron_core.sessions.frames import Decoder, Frame, encode, encode_hello
from aileron_core.sessions.plan import LaunchPlan, WorkspacePlan
from aileron_core.testing import (
    IMAGE,
    FakeBackend,
    FakeProcess,
    FakeWorld,
    fake_factory,
    hooks_with,
)

PROTECTED = (".git/hooks/", ".git/config", ".mcp.json")


async def probed(process: FakeProcess) -> int:
    """``/bin/sh`` of a fit image: answers the probe's script, else is ``cat``."""
    if "aileron-probe" not in process.argv:
        while data := await process.read():
            await process.write(data)
        return 0
    await process.write("ok shell\nok writable\nok readable\nok bundle\n")
    start = process.argv.index("aileron-probe") + 3
    for name in process.argv[start : process.argv.index("--")]:
        await process.write(f"found {name}\n")
    return 0


class FakePlugin:
    """The backend's plugin."""

    name = "fakes"

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    @hookimpl
    def aileron_backends(self) -> Any:
        """The backend in memory."""
        return [fake_factory(self._bench.world, self._bench.backends.append)]


@define(eq=False)
class Terminal:
    """A client of the console over a stream in memory."""

    stream: trio.abc.Stream
    frames: list[tuple[Frame, bytes]] = field(factory=list)
    _decoder: Decoder = field(factory=Decoder)

    async def send(self, *frames: bytes) -> None:
        """Send frames."""
        await self.stream.send_all(b"".join(frames))

    async def until(self, *kinds: Frame) -> bytes:
        """The payload of the next frame of one of these kinds; others are kept in ``frames``."""
        with trio.fail_after(60):
            while True:
                for index, (kind, payload) in enumerate(self.frames):
                    if kind in kinds:
                        del self.frames[: index + 1]
                        return payload
                data = await self.stream.receive_some(1 << 16)
                assert data, f"closed; got {self.frames}"
                self.frames.extend(self._decoder.feed(data))

    async def end(self) -> dict[str, Any]:
        """What the last frame says."""
        found: dict[str, Any] = json.loads(await self.until(Frame.EXIT, Frame.ERROR))
        return found

    async def output(self) -> bytes:
        """Everything printed up to the end, on channel 1."""
        printed = bytearray()
        with trio.fail_after(60):
            while True:
                while self.frames:
                    kind, payload = self.frames.pop(0)
                    if kind is Frame.STDOUT:
                        printed += payload
                    if kind in (Frame.EXIT, Frame.ERROR):
                        return bytes(printed)
                data = await self.stream.receive_some(1 << 16)
                assert data, "closed before the end"
                self.frames.extend(self._decoder.feed(data))


@define(eq=False)
class Bench:
    """Everything that a test of sessions needs."""

    root: Path
    world: FakeWorld = field(factory=FakeWorld)
    backends: list[FakeBackend] = field(factory=list)
    plugins: list[object] = field(factory=list)
    daemon: LocalDaemon = field(init=False)
    engine: SessionEngine = field(init=False)
    nursery: trio.Nursery = field(init=False)
    progress: list[str] = field(factory=list)

    @property
    def paths(self) -> Paths:
        """Directories of this test."""
        return Paths(*(self.root / name for name in ("run", "state", "config", "data", "cache")))

    @property
    def workspace(self) -> Path:
        """An empty workspace."""
        return self.root / "work"

    @property
    def backend(self) -> FakeBackend:
        """The backend that the daemon opened last."""
        return self.backends[-1]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[SessionEngine]:
        """A daemon's parts with an engine; leaving it is the daemon's end."""
        hooks = hooks_with(FakePlugin(self), *self.plugins)
        async with daemon_parts(self.paths, hooks) as self.daemon, trio.open_nursery() as nursery:
            self.nursery = nursery
            self.engine = SessionEngine(self.daemon, nursery, serves_api=False)
            self.daemon.sessions = self.engine
            yield self.engine
            nursery.cancel_scope.cancel()

    def plan(self, *argv: str, **changes: Any) -> LaunchPlan:
        """A plan to run ``argv`` (default: cat)."""
        command = argv or ("cat",)
        mode = changes.pop("mode", "rw")
        protected = changes.pop("protected", PROTECTED)
        given = self.workspace.stat()
        workspace = WorkspacePlan(self.workspace, mode, (given.st_uid, given.st_gid), protected)
        session = new_session_id()
        facts: dict[str, Any] = {
            "session": session,
            "name": f"n-{session[-4:]}",
            "agent": command[0],
            "image": IMAGE,
            "tier": "byo",
            "backend": "fake",
            "argv": command,
            "cwd": str(self.workspace),
            "workspace": workspace,
        }
        return LaunchPlan(**{**facts, **changes})

    async def launch(self, *argv: str, **changes: Any) -> Any:
        """Launch and return the summary."""
        return await self.engine.launch(self.plan(*argv, **changes), self.progress.append)

    async def open(self, session: str, mode: str = "run", **hello: Any) -> Terminal:
        """A console, opened."""
        near, far = memory_stream_pair()
        self.nursery.start_soon(self._converse, far)
        terminal = Terminal(near)
        await near.send_all(encode_hello({"session": session, "mode": mode, **hello}))
        return terminal

    async def _converse(self, stream: trio.abc.Stream) -> None:
        async with stream:
            await Console(self.engine, self.paths).converse(stream)

    async def record(self, session: str) -> Any:
        """The session's record, once it has ended."""
        with trio.fail_after(120):
            while session in self.engine.runs:
                await self.engine.runs[session].finished.wait()
                await trio.lowlevel.checkpoint()
            return await self.engine.find(session)

    def left(self) -> list[str]:
        """Whatever a session has left behind."""
        found = [f"sandbox {name}" for name in self.world.sandboxes]
        sessions = self.paths.runtime / "sessions"
        found += [str(path) for path in sessions.iterdir()] if sessions.exists() else []
        found += [str(path) for path in self.workspace.rglob("*")]
        found += [str(path) for path in self.paths.state.glob("sessions/*/stubs*")]
        return found

    async def events(self) -> list[str]:
        """Types of the audit log's records."""
        lines = self.paths.audit.read_text().splitlines()
        return [json.loads(line)["type"] for line in lines]


EOF_FRAME = encode(Frame.EOF)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A bench with an image that is fit."""
    made = Bench(tmp_path)
    made.world.programs["sh"] = probed
    for path in (made.paths.runtime, made.paths.state, made.paths.cache, made.workspace):
        path.mkdir(mode=0o700)
    return made


@pytest.fixture
async def engine(bench: Bench) -> AsyncIterator[SessionEngine]:
    """The bench's engine, running."""
    async with bench.running() as made:
        yield made


@pytest.fixture
def patient_clock() -> MockClock:
    """Time jumps when nothing has happened for a moment, so that worker threads can finish."""
    return MockClock(autojump_threshold=0.3)


@pytest.fixture
def frames() -> Mapping[str, bytes]:
    """Ready-made frames."""
    return {"eof": EOF_FRAME, "detach": encode(Frame.DETACH)}
