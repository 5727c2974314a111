"""A `Backend` in memory: sandboxes are tasks, programs are functions, everything can fail.

What exists is kept in a `FakeWorld`, which outlives a backend as containers outlive a daemon: open
another `FakeBackend` on the same world to play a restart.

Example::

    backend = FakeBackend()
    backend.fail("create", SOME_ERROR("no room"))      # the next create raises this
    backend.world.programs["agent"] = my_program       # an async function of a FakeProcess
    with backend.hold("listen") as held:               # listen blocks until held.release()
        ...
"""

from __future__ import annotations

import signal as signals
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any, Literal

import trio
from attrs import define, field, frozen

from aileron_core.backend import (
    Backend,
    BackendContext,
    Capability,
    Command,
    Exit,
    Found,
    ImageInfo,
    ListenerSpec,
    Progress,
    Recipe,
    Sandbox,
    SandboxSpec,
    Stream,
)
from aileron_core.errors import EXIT_NO_INPUT, EXIT_UNAVAILABLE, AileronError, ErrorCode
from aileron_core.records import BackendFactory
from aileron_core.testing.programs import PROGRAMS, FakeProcess, FakeStream, Program, not_found

FAKE_IMAGE_MISSING = ErrorCode(
    "fake-image-missing", EXIT_NO_INPUT, "In tests: the fake backend has no such image."
)
FAKE_SANDBOX_GONE = ErrorCode(
    "fake-sandbox-gone", EXIT_UNAVAILABLE, "In tests: the fake backend has no such sandbox."
)

Method = Literal["image", "provide", "create", "listen", "open", "survey", "remove", "aclose"]
IMAGE = "fake/image:1"
"""The image that every world has."""


@define(eq=False)
class FakeSandbox:
    """A sandbox of a `FakeWorld`."""

    sandbox: Sandbox
    spec: SandboxSpec
    state: Literal["created", "running", "stopped"] = "created"
    agent: FakeProcess | None = None
    processes: list[FakeProcess] = field(factory=list)
    listeners: dict[str, socket.socket] = field(factory=dict)

    def kill(self, how: Exit) -> None:
        """End everything that runs in it, as the kernel would."""
        for process in self.processes:
            process.kill(how)


@define(eq=False)
class FakeWorld:
    """What exists, whichever backend object looks at it."""

    images: dict[str, ImageInfo] = field(
        factory=lambda: {IMAGE: ImageInfo(IMAGE, "sha256:fake", env={"PATH": "/usr/bin:/bin"})}
    )
    sandboxes: dict[str, FakeSandbox] = field(factory=dict)
    programs: dict[str, Program] = field(factory=lambda: dict(PROGRAMS))
    removed: list[str] = field(factory=list)
    """Sessions whose sandbox was removed, in order."""
    made: int = 0

    def of(self, session: str) -> FakeSandbox:
        """The sandbox of a session; KeyError when it has none."""
        return next(s for s in self.sandboxes.values() if s.sandbox.session == session)


@define(eq=False)
class Hold:
    """A method that waits: `entered` is set when it is called, `release` lets it go on."""

    entered: trio.Event = field(factory=trio.Event)
    _released: trio.Event = field(factory=trio.Event)

    def release(self) -> None:
        """Let the call go on."""
        self._released.set()

    async def wait(self) -> None:
        """Until released."""
        self.entered.set()
        await self._released.wait()


@frozen
class Call:
    """A call that a backend got."""

    method: Method
    arguments: tuple[Any, ...]


@define(eq=False)
class FakeBackend:
    """The whole `Backend` protocol, in memory."""

    world: FakeWorld = field(factory=FakeWorld)
    name: str = "fake"
    capabilities: frozenset[Capability] = frozenset(Capability)
    calls: list[Call] = field(factory=list)
    closed: bool = False
    _failures: dict[Method, list[Exception]] = field(factory=dict)
    _holds: dict[Method, Hold] = field(factory=dict)

    # --- for the test -------------------------------------------------------------------------

    def fail(self, method: Method, *errors: Exception) -> None:
        """Make the next calls of ``method`` raise these, one each, before anything is done."""
        self._failures.setdefault(method, []).extend(errors)

    @contextmanager
    def hold(self, method: Method) -> Iterator[Hold]:
        """Make calls of ``method`` wait, so that they can be cancelled in the middle."""
        self._holds[method] = held = Hold()
        try:
            yield held
        finally:
            del self._holds[method]
            held.release()

    def methods(self) -> list[Method]:
        """The names of the calls so far, in order."""
        return [call.method for call in self.calls]

    # --- the protocol -------------------------------------------------------------------------

    async def image(self, reference: str) -> ImageInfo | None:
        """See `Backend.image`."""
        await self._enter("image", reference)
        return self.world.images.get(reference)

    async def provide(self, recipe: Recipe, progress: Progress) -> ImageInfo:
        """See `Backend.provide`: every recipe succeeds at once."""
        await self._enter("provide", recipe)
        progress(f"making {recipe.reference}")
        made = ImageInfo(
            recipe.reference,
            f"sha256:fake-{len(self.world.images)}",
            labels=recipe.labels,
            env={"PATH": "/usr/bin:/bin", **recipe.env},
        )
        self.world.images[recipe.reference] = made
        return made

    async def create(self, spec: SandboxSpec) -> Sandbox:
        """See `Backend.create`."""
        await self._enter("create", spec)
        if spec.image not in self.world.images:
            raise FAKE_IMAGE_MISSING(f"no image {spec.image}")
        self.world.made += 1
        sandbox = Sandbox(f"fake-{self.world.made}", spec.session)
        self.world.sandboxes[sandbox.id] = FakeSandbox(sandbox, spec)
        return sandbox

    async def listen(
        self, sandbox: Sandbox, listeners: Sequence[ListenerSpec]
    ) -> Mapping[str, socket.socket]:
        """See `Backend.listen`: real sockets on the loopback interface, any free port."""
        await self._enter("listen", sandbox, tuple(listeners))
        fake = self._find(sandbox)
        opened = {spec.name: _loopback_socket(spec) for spec in listeners}
        fake.listeners.update(opened)
        return opened

    async def open(self, sandbox: Sandbox, command: Command | None = None) -> Stream:
        """See `Backend.open`."""
        await self._enter("open", sandbox, command)
        fake = self._find(sandbox)
        if command is not None:
            return FakeStream(self._start(fake, _process_of(command)))
        if fake.agent is None:
            fake.agent = self._start(fake, _process_of(fake.spec))
            fake.state = "running"
            trio.lowlevel.spawn_system_task(_watch, fake)
        return FakeStream(fake.agent)

    async def survey(self, owner: str) -> Sequence[Found]:
        """See `Backend.survey`."""
        await self._enter("survey", owner)
        return [
            Found(fake.sandbox, fake.state, fake.spec.labels)
            for fake in self.world.sandboxes.values()
            if fake.spec.labels.get("io.aileron.owner") == owner
        ]

    async def remove(self, sandbox: Sandbox, grace: float = 0.0) -> None:
        """See `Backend.remove`."""
        await self._enter("remove", sandbox, grace)
        fake = self.world.sandboxes.get(sandbox.id)
        if fake is None:
            return
        await _end(fake, grace)
        del self.world.sandboxes[sandbox.id]
        self.world.removed.append(sandbox.session)

    async def aclose(self) -> None:
        """See `Backend.aclose`."""
        await self._enter("aclose")
        self.closed = True

    # --- how ----------------------------------------------------------------------------------

    async def _enter(self, method: Method, *arguments: Any) -> None:
        """Every method's beginning: note the call, be cancellable, wait or fail as told."""
        self.calls.append(Call(method, arguments))
        await trio.lowlevel.checkpoint()
        if method in self._holds:
            await self._holds[method].wait()
        if self._failures.get(method):
            raise self._failures[method].pop(0)

    def _find(self, sandbox: Sandbox) -> FakeSandbox:
        fake = self.world.sandboxes.get(sandbox.id)
        if fake is None:
            raise FAKE_SANDBOX_GONE(f"no sandbox {sandbox.id}")
        return fake

    def _start(self, fake: FakeSandbox, process: FakeProcess) -> FakeProcess:
        name = PurePosixPath(process.argv[0]).name
        fake.processes.append(process)
        trio.lowlevel.spawn_system_task(process.run, self.world.programs.get(name, not_found))
        return process


def _process_of(what: SandboxSpec | Command) -> FakeProcess:
    process = FakeProcess(what.argv, what.cwd, what.env, what.tty, what.rows, what.columns)
    if not what.stdin:
        process._input[0].close()
    return process


async def _watch(fake: FakeSandbox) -> None:
    """A sandbox ends with its agent, and everything else in it too."""
    assert fake.agent is not None
    await fake.agent.wait()
    fake.state = "stopped"
    fake.kill(Exit(128 + signals.SIGKILL))


async def _end(fake: FakeSandbox, grace: float) -> None:
    """SIGTERM, ``grace`` seconds, SIGKILL; what never ran needs neither."""
    if fake.agent is None:
        return
    if grace:
        fake.agent.deliver(signals.SIGTERM)
        with trio.move_on_after(grace):
            await fake.agent.wait()
    fake.kill(Exit(128 + signals.SIGKILL))
    for process in fake.processes:
        await process.wait()


_LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


def _loopback_socket(spec: ListenerSpec) -> socket.socket:
    kind = socket.SOCK_DGRAM if spec.kind == "udp" else socket.SOCK_STREAM
    made = socket.socket(socket.AF_INET6 if ":" in spec.address else socket.AF_INET, kind)
    if spec.kind != "connect":
        made.bind((_LOOPBACK[made.family], 0))
    if spec.kind == "tcp":
        made.listen()
    made.setblocking(False)
    return made


def fake_factory(
    world: FakeWorld | None = None, opened: Callable[[FakeBackend], None] = lambda backend: None
) -> BackendFactory:
    """A `BackendFactory` named ``fake`` on a world; ``opened`` is told each backend it opens."""
    shared = FakeWorld() if world is None else world

    async def open_fake(context: BackendContext) -> Backend:
        await trio.lowlevel.checkpoint()
        backend = FakeBackend(shared)
        opened(backend)
        return backend

    return BackendFactory("fake", "in memory, for tests", open_fake)


def aileron_error(message: str = "it was told to fail") -> AileronError:
    """An error to inject."""
    return FAKE_SANDBOX_GONE(message)
