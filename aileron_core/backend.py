"""What a container backend is: data in, a protocol of eight methods, capabilities declared.

The protocol must fit a backend without a shared kernel too (a Pod on a cluster, a remote machine).
Whatever needs one (listeners in the sandbox's network namespace, late mounts, exec supervision) is
a capability; launch refuses a plan that needs one that the backend lacks.

This module is plain data and protocols: importing it costs attrs and nothing else.
"""

from __future__ import annotations

import enum
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

from attrs import field, frozen


class Capability(enum.StrEnum):
    """What a backend may be able to do beyond running a container."""

    LISTENERS = "listeners"
    """Open sockets inside the sandbox's network namespace before its first instruction."""
    LATE_MOUNTS = "late-mounts"
    """Attach mounts to a container that is initialised and not started."""
    EXEC_SUPERVISION = "exec-supervision"
    """Hand over seccomp notification descriptors (OCI `listenerPath`)."""
    OWNER_MAPPING = "owner-mapping"
    """Show a bind's on-disk owner as the sandbox's user and back."""
    LIMIT_MEMORY = "limit-memory"
    LIMIT_PIDS = "limit-pids"
    LIMIT_CPU = "limit-cpu"


@frozen
class SandboxUser:
    """The user that the agent is inside the sandbox; never root."""

    uid: int = 1000
    gid: int = 1000
    name: str = "agent"
    home: str = "/home/agent"


@frozen
class Limits:
    """Limits of a sandbox; None means that no limit was asked for."""

    memory: int | None = 4 << 30
    """Bytes, swap included."""
    cpus: float | None = None
    """CPUs, as `podman run --cpus`."""
    pids: int | None = 1024
    """Processes and threads."""
    files: int | None = 4096
    """Open files a process (RLIMIT_NOFILE); the backend lowers it to the machine's hard limit."""
    core: int = 0
    """Bytes of core dump (RLIMIT_CORE): none, so that memory never reaches a disk."""


@frozen
class Mount:
    """One mount of a sandbox, in the order in which they are attached.

    kinds:
        bind: ``source`` (host path) at ``target``.
        tmpfs: an empty file system in memory; ``size`` bytes, ``mode`` octal permission bits.
        overlay: ``source`` below, changes kept in ``upper`` (host directory; ``work`` beside it).
        self: what is at ``target`` inside the sandbox already (under an earlier mount), mounted
            onto itself: with ``read_only`` it cannot be changed; without, it still cannot be
            renamed or removed. Symbolic links in ``target`` are refused, never followed.
    """

    target: str
    kind: Literal["bind", "tmpfs", "overlay", "self"] = "bind"
    source: str | None = None
    read_only: bool = True
    map_owner: bool = False
    """Show the on-disk owner ``owner`` as the sandbox's user (needs OWNER_MAPPING)."""
    owner: tuple[int, int] | None = None
    """Host uid and gid that the sandbox's user stands for under this mount."""
    upper: str | None = None
    work: str | None = None
    size: int | None = None
    mode: int | None = None
    no_exec: bool = False


@frozen
class PortMapping:
    """A port of the sandbox published on the host's loopback (`--publish`)."""

    sandbox: int
    host: int = 0
    """0: any free port."""


@frozen
class ListenerSpec:
    """A socket that the daemon wants inside the sandbox's network namespace."""

    name: str
    address: str = "127.0.0.1"
    port: int = 0
    kind: Literal["tcp", "udp", "connect"] = "tcp"
    """``connect``: a TCP socket of ``address``'s family that is neither bound nor connected yet, so
    that the daemon can connect to what listens inside (`--publish`)."""


@frozen
class SandboxSpec:
    """Everything a backend needs to create a sandbox; data, printed by ``--dry-run``.

    ``env`` is the whole environment of the agent: nothing of the host's is added. ``seccomp`` is an
    OCI LinuxSeccomp object. ``labels`` always hold ``io.aileron.session`` and
    ``io.aileron.owner`` (the daemon's state directory), by which `Backend.survey` finds what was
    left.
    """

    session: str
    image: str
    argv: tuple[str, ...]
    cwd: str
    env: Mapping[str, str] = field(repr=False)
    user: SandboxUser = SandboxUser()
    hostname: str = "aileron"
    tty: bool = False
    stdin: bool = True
    rows: int = 0
    columns: int = 0
    """The terminal's size when the agent starts; 0: the backend's own choice."""
    mounts: tuple[Mount, ...] = ()
    limits: Limits = Limits()
    seccomp: Mapping[str, Any] = field(factory=dict, repr=False)
    labels: Mapping[str, str] = field(factory=dict)
    read_only_root: bool = False
    init: bool = True
    """A minimal init is process 1, so that signals act on the agent and zombies are reaped."""


@frozen
class ImageInfo:
    """An image as the backend has it."""

    reference: str
    id: str
    """Content-addressed: changes when the image changes."""
    labels: Mapping[str, str] = field(factory=dict)
    env: Mapping[str, str] = field(factory=dict)
    user: str = ""
    size: int = 0
    """Bytes."""
    created: float = 0.0
    """Seconds since the epoch."""


@frozen
class Recipe:
    """How to get an image that is not there: exactly one of the sources is given.

    ``pull`` asks a registry; ``rootfs`` is an archive (tar) to import; ``containerfile`` is text to
    build in ``context`` (an absolute directory, or None for an empty one).
    """

    reference: str
    pull: bool = False
    rootfs: str | None = None
    containerfile: str | None = None
    context: str | None = None
    build_args: Mapping[str, str] = field(factory=dict)
    labels: Mapping[str, str] = field(factory=dict)
    env: Mapping[str, str] = field(factory=dict)
    """Environment recorded in an imported image (PATH above all)."""
    base: Recipe | None = None
    """What ``containerfile`` builds on. The launcher provides it first; a backend need not look."""
    make: Callable[[Progress], Awaitable[None]] | None = field(default=None, eq=False, repr=False)
    """Awaited before the recipe is given to a backend: makes what ``rootfs`` names."""


@frozen
class Exit:
    """How a process of a sandbox ended."""

    status: int
    """Exit status as a shell reports it: 0..255, 128 + n for a signal."""
    oom: bool = False
    """The kernel ended something in the sandbox for lack of memory."""


@frozen
class Command:
    """Another program to start in a running sandbox, as the sandbox's user."""

    argv: tuple[str, ...]
    cwd: str
    env: Mapping[str, str] = field(factory=dict, repr=False)
    tty: bool = False
    stdin: bool = True
    rows: int = 0
    columns: int = 0


@frozen
class Sandbox:
    """A created sandbox, as the backend names it."""

    id: str
    """The backend's own id (for Podman the container id)."""
    session: str
    pid: int | None = None
    """Process id of its init on this kernel; None without a shared kernel."""


@frozen
class Found:
    """A sandbox that exists now, as `Backend.survey` found it."""

    sandbox: Sandbox
    state: Literal["created", "running", "stopped"]
    labels: Mapping[str, str] = field(factory=dict)


class Stream(Protocol):
    """A program's terminal or pipes, and its end.

    With a terminal everything arrives as channel 1. Receiving and sending may happen in different
    tasks; two tasks may not do the same one at once.
    """

    async def receive(self) -> tuple[int, bytes] | None:
        """The next output: ``(1 | 2, bytes)``, or None at the end of output."""

    async def send(self, data: bytes) -> None:
        """Give ``data`` to its standard input; a program that stopped reading drops it."""

    async def send_eof(self) -> None:
        """End its standard input."""

    async def resize(self, rows: int, columns: int) -> None:
        """Set the terminal's size; without a terminal this does nothing."""

    async def signal(self, signum: int) -> None:
        """Send a signal to this program; one that has ended already is no error."""

    async def wait(self) -> Exit:
        """Until the program has ended (not merely closed its output)."""

    async def aclose(self) -> None:
        """Let go of the stream. The program goes on; `Backend.remove` or a signal ends it."""


Progress = Callable[[str], None]
"""Told one line at a time what a long step is doing."""


class Backend(Protocol):
    """What runs containers. Opened by a `BackendFactory`, used by the daemon only.

    Every method raises `AileronError` with a mend when the backend refuses or is gone.
    """

    name: str
    capabilities: frozenset[Capability]

    async def image(self, reference: str) -> ImageInfo | None:
        """The image, if it is here; never fetches."""

    async def provide(self, recipe: Recipe, progress: Progress) -> ImageInfo:
        """Pull, import or build the image; afterwards it is here."""

    async def create(self, spec: SandboxSpec) -> Sandbox:
        """Create and initialise a sandbox: its namespaces and mounts exist, nothing of it has run.

        It verifies by looking at what came to be (not at what was asked) that privileges,
        capabilities, seccomp profile, user namespace, limits and mounts are those of ``spec``, and
        removes the sandbox and raises ``sandbox-not-sealed`` otherwise. Cancelled or failed, it
        leaves nothing behind.
        """

    async def listen(
        self, sandbox: Sandbox, listeners: Sequence[ListenerSpec]
    ) -> Mapping[str, socket.socket]:
        """Bound, listening (TCP), non-blocking sockets in the sandbox's network namespace, by name.

        May be called at any time from `create` to `remove`.
        """

    async def open(self, sandbox: Sandbox, command: Command | None = None) -> Stream:
        """With no command: attach to the sandbox's agent, then start it. Else start ``command``."""

    async def survey(self, owner: str) -> Sequence[Found]:
        """Every sandbox labelled ``io.aileron.owner=owner``, whatever state it is in."""

    async def remove(self, sandbox: Sandbox, grace: float = 0.0) -> None:
        """End it (SIGTERM, ``grace`` seconds, SIGKILL) and remove all of it; gone is fine."""

    async def aclose(self) -> None:
        """Let go of connections and processes that this object started."""


BackendOpener = Callable[["BackendContext"], Awaitable[Backend]]


@frozen
class BackendContext:
    """What a backend is opened with."""

    runtime_directory: str
    """A private directory (0700) for sockets and generated files; emptied at boot."""
    state_directory: str
    """A private directory (0700) that outlives reboots; it names the owner of sandboxes."""
    settings: Any = None
    """The backend plugin's own settings record."""
    connection: str | None = None
    """`--connection`: a named or remote service; None for the local one."""
