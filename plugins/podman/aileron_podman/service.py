"""Podman's service: a live one is found, or one is started that cannot outlive the daemon.

A service that is started here gets an idle limit, and the backend holds one connection open (a
stream of events that match nothing): when the daemon ends, even by SIGKILL, the kernel closes it,
and the service ends by itself a few seconds later.
(PR_SET_PDEATHSIG would act when the *thread* that spawned it ends, and trio spawns from threads.)
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import trio
from attrs import define, field

from aileron_core.backend import BackendContext
from aileron_core.errors import AileronError
from aileron_podman.errors import (
    PODMAN_MISSING,
    PODMAN_REMOTE,
    PODMAN_TOO_OLD,
    PODMAN_UNAVAILABLE,
)
from aileron_podman.rest import Address, Rest
from aileron_podman.settings import PodmanSettings

OLDEST = (4, 3)
# Seconds without a connection after which a service that we started ends.
_IDLE = 5
# Seconds that a service may take to answer its first call: a first start migrates storage.
_START = 20.0
# Seconds for a socket that exists to answer a ping.
_PING = 3.0

# A connection counts as used while its request is answered, which an endless answer always is.
_LIFELINE = (
    b"GET /v4.0.0/libpod/events?stream=true"
    b"&filters=%7B%22label%22%3A%5B%22io.aileron.nobody%3Dnothing%22%5D%7D HTTP/1.1\r\n"
    b"Host: d\r\n\r\n"
)

_MEND_MISSING = "install podman and runc (Debian: apt-get install podman runc uidmap catatonit)"


def _well_known() -> list[str]:
    """Where distributions' own services listen, of those that exist."""
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    base = "/run" if os.geteuid() == 0 else runtime
    path = f"{base}/podman/podman.sock"
    return [path] if Path(path).is_socket() else []


def check_version(version: Sequence[int]) -> None:
    """Raise ``podman-too-old`` for a Podman that lacks what Aileron needs."""
    if tuple(version[:2]) < OLDEST:
        found = ".".join(str(part) for part in version) or "an unknown version"
        raise PODMAN_TOO_OLD(
            f"Podman {found} is too old",
            why=f"Aileron needs {OLDEST[0]}.{OLDEST[1]} or later",
            hints=["upgrade Podman (Debian 12 has 4.3, Debian 13 has 5.4)"],
        )


def parse_connection(text: str) -> Address:
    """The address of a bare Podman socket given by ``--connection``.

    Raises:
        AileronError: ``podman-remote`` for what only another host's Aileron can serve.
    """
    parts = urlsplit(text)
    if parts.scheme == "unix" and parts.path:
        return Address(path=parts.path)
    if parts.scheme == "tcp" and parts.hostname and parts.port:
        return Address(host=parts.hostname, port=parts.port)
    raise PODMAN_REMOTE(
        f"cannot reach Podman at {text!r}",
        why="a Podman socket is given as unix:///path or tcp://host:port",
        hints=["for another machine: log in to it, for example with ssh, and launch there"],
    )


async def _answers(address: Address) -> bool:
    """Whether a service answers there, soon; checks its version."""
    try:
        with trio.fail_after(_PING):
            version = await Rest(address).version()
    except (AileronError, trio.TooSlowError):
        return False
    check_version(version)
    return True


def _unanswered(address: Address) -> AileronError:
    return PODMAN_UNAVAILABLE(
        f"Podman's service at {address} does not answer",
        why="nothing listens there, or it hangs",
        hints=["systemctl restart podman.socket", "unset [podman] socket to let Aileron start one"],
    )


@define(eq=False)
class Service:
    """The service that a backend talks to."""

    address: Address
    remote: bool = False
    """It may be on another machine: nothing of this kernel may be assumed."""
    log: Path | None = None
    runtime: str = ""
    """OCI runtime for what the service runs by itself (the steps of an image's build)."""
    _process: trio.Process | None = None
    _lifeline: trio.SocketStream | None = None
    _starting: trio.Lock = field(factory=trio.Lock)

    @property
    def rest(self) -> Rest:
        """Calls to it."""
        return Rest(self.address)

    async def ensure(self) -> None:
        """Start our own service again if it has ended."""
        if self._process is None or self._process.poll() is None:
            return
        async with self._starting:
            if self._process.poll() is not None:
                await self.start()

    async def start(self) -> None:
        """Start ``podman system service`` at our own address and wait until it answers.

        Raises:
            AileronError: ``podman-missing``, ``podman-unavailable``, ``podman-too-old``.
        """
        assert self.address.path is not None
        assert self.log is not None
        podman = shutil.which("podman")
        if podman is None:
            raise PODMAN_MISSING("Podman is not installed", hints=[_MEND_MISSING])
        if self._lifeline is not None:
            await trio.aclose_forcefully(self._lifeline)
        _unlink(self.address.path)
        uri = f"unix://{self.address.path}"
        runtime = ["--runtime", self.runtime] if self.runtime else []
        with self.log.open("ab", buffering=0) as log:
            self._process = await trio.lowlevel.open_process(
                [podman, *runtime, "system", "service", "--time", str(_IDLE), uri],
                stdin=-3,  # subprocess.DEVNULL, whose module is banned here for its blocking calls
                stdout=log,
                stderr=log,
                start_new_session=True,
                # conmon leaves an empty file "oom" where Podman works when memory ran out.
                cwd=Path(self.address.path).parent,
            )
        try:
            with trio.fail_after(_START):
                stream = await self._connected()
                self._lifeline = stream
                await stream.send_all(_LIFELINE)
            check_version(await self.rest.version())
        except BaseException as error:
            await self.aclose()
            if isinstance(error, trio.TooSlowError):
                raise self._failed("it did not answer in time") from None
            raise

    async def _connected(self) -> trio.SocketStream:
        """The first connection that it takes."""
        pause = 0.004
        while True:
            try:
                return await self.address.connect()
            except OSError:
                assert self._process is not None
                if self._process.poll() is not None:
                    raise self._failed(f"it ended with status {self._process.returncode}") from None
            await trio.sleep(pause)
            pause = min(pause * 1.3, 0.1)

    def _failed(self, what: str) -> AileronError:
        said = ""
        if self.log is not None and self.log.exists():
            said = self.log.read_text(errors="replace").strip()[-400:]
        return PODMAN_UNAVAILABLE(
            "Podman's service could not be started",
            why=f"{what}: {said}" if said else what,
            hints=["try `podman info`", "aileron doctor"],
        )

    async def aclose(self) -> None:
        """End our own service; one that was found goes on."""
        if self._lifeline is not None:
            await trio.aclose_forcefully(self._lifeline)
            self._lifeline = None
        if self._process is None:
            return
        process, self._process = self._process, None
        with trio.CancelScope(shield=True):
            await _end(process)
        if self.address.path is not None:
            _unlink(self.address.path)


def _fresh_socket(directory: Path) -> str:
    """A path for a socket that no earlier daemon's service has.

    A service that lost its daemon removes its path when it ends, a few seconds later: with one
    path for all it would take ours away. The names are short, because paths of sockets are.
    """
    before = {path.name for path in directory.glob("p-*.sock")}
    for name in before:
        _unlink(str(directory / name))
    while (name := f"p-{secrets.token_hex(2)}.sock") in before:
        pass
    return str(directory / name)


def _unlink(path: str) -> None:
    Path(path).unlink(missing_ok=True)


async def _end(process: trio.Process) -> None:
    """SIGTERM, then SIGKILL after two seconds; reaped."""
    if process.poll() is None:
        process.terminate()
        with trio.move_on_after(2.0):
            await process.wait()
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
        await process.wait()


async def open_service(
    context: BackendContext, settings: PodmanSettings, runtime: str = ""
) -> Service:
    """The service to use, running; ``runtime`` is for one that is started here.

    Raises:
        AileronError: ``podman-missing``, ``podman-unavailable``, ``podman-too-old``,
            ``podman-remote``.
    """
    if context.connection:
        return await _existing(parse_connection(context.connection), remote=True)
    if settings.socket:
        return await _existing(Address(path=settings.socket), remote=False)
    for path in _well_known():
        if await _answers(Address(path=path)):
            return Service(Address(path=path))
    directory = Path(context.runtime_directory)
    service = Service(
        Address(path=_fresh_socket(directory)),
        log=directory / "podman.log",
        runtime=runtime,
    )
    await service.start()
    return service


async def _existing(address: Address, *, remote: bool) -> Service:
    if not await _answers(address):
        raise _unanswered(address)
    return Service(address, remote=remote)
