"""``--publish``: a port of the sandbox on the host's loopback, without a route into the sandbox.

The daemon accepts on the host and connects, for each connection, with a socket that was made inside
the sandbox's network namespace. Nothing inside can use it in the other direction.
"""

from __future__ import annotations

import socket
from typing import Protocol

import structlog
import trio
from attrs import define

from aileron_core.backend import Backend, ListenerSpec, PortMapping, Sandbox
from aileron_core.errors import EXIT_UNAVAILABLE, AileronError, ErrorCode
from aileron_core.records import Service, Session

PORT_TAKEN = ErrorCode(
    "port-taken", EXIT_UNAVAILABLE, "A port of the host is in use and cannot be published on."
)

CONNECTIONS = 128
"""Connections through one published port at the same time; the next is closed at once."""
CONNECT_SECONDS = 5.0
"""Until what listens inside must have answered."""

log = structlog.get_logger("aileron.publish")


class Published(Protocol):
    """What a published port needs of its session's run."""

    session: Session
    sandbox: Sandbox | None
    backend: Backend | None


def publish_service(run: Published, mapping: PortMapping) -> Service:
    """The service of one published port; it adds a note with the host's port."""
    return Service(f"publish-{mapping.sandbox}", Publisher(run, mapping).serve)


@define(eq=False)
class Publisher:
    """One published port."""

    run: Published
    mapping: PortMapping
    _open: int = 0

    async def serve(self, *, task_status: trio.TaskStatus[object]) -> None:
        """Accept on the host's loopback until cancelled.

        Raises:
            AileronError: ``port-taken``.
        """
        try:
            (listener,) = await trio.open_tcp_listeners(self.mapping.host, host="127.0.0.1")
        except OSError as error:
            raise PORT_TAKEN(
                f"port {self.mapping.host} of this machine cannot be published on",
                why=error.strerror or str(error),
                hints=[f"--publish {self.mapping.sandbox} takes any free port"],
            ) from error
        port = listener.socket.getsockname()[1]
        self.run.session.notes.append(
            f"port {self.mapping.sandbox} of the sandbox is 127.0.0.1:{port} here"
        )
        await trio.serve_listeners(self._handle, [listener], task_status=task_status)

    async def _handle(self, outside: trio.SocketStream) -> None:
        async with outside:
            if self._open >= CONNECTIONS:
                return
            self._open += 1
            try:
                await self._join(outside)
            finally:
                self._open -= 1

    async def _join(self, outside: trio.SocketStream) -> None:
        try:
            inside = await self._connect()
        except (OSError, AileronError, trio.TooSlowError) as error:
            log.info("nothing answers on a published port", error=str(error))
            return
        async with inside, trio.open_nursery() as nursery:
            nursery.start_soon(_copy, outside, inside)
            nursery.start_soon(_copy, inside, outside)

    async def _connect(self) -> trio.SocketStream:
        """A connection to what listens inside, over IPv4 or else IPv6."""
        with trio.fail_after(CONNECT_SECONDS):
            try:
                return await self._connect_to("127.0.0.1")
            except ConnectionRefusedError:
                return await self._connect_to("::1")

    async def _connect_to(self, address: str) -> trio.SocketStream:
        if self.run.backend is None or self.run.sandbox is None:
            raise ConnectionRefusedError("the sandbox is gone")
        wanted = ListenerSpec("publish", address, self.mapping.sandbox, "connect")
        made = (await self.run.backend.listen(self.run.sandbox, [wanted]))[wanted.name]
        inside = trio.socket.from_stdlib_socket(made)
        try:
            await inside.connect((address, self.mapping.sandbox))
            inside.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except BaseException:
            inside.close()
            raise
        return trio.SocketStream(inside)


async def _copy(source: trio.SocketStream, sink: trio.SocketStream) -> None:
    """Bytes one way until the end, which is passed on too."""
    try:
        async for data in source:
            await sink.send_all(data)
        await sink.send_eof()
    except (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
        await trio.aclose_forcefully(sink)
