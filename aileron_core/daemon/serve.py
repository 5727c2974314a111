"""HTTP for the daemon: hypercorn's HTTP/1.1 on sockets that we bound, with bounds of our own.

`hypercorn.trio.serve` is not used whole, for four reasons, each with a test:

- a connection must be looked at before a byte of it is read (the peer's uid, how many there are);
- quart-trio cancels the task that sends when the answer is complete, and hypercorn 0.18 then
  neither closes a ``Connection: close`` connection nor starts the idle timer: sends are shielded;
- hypercorn's writes wait for ever for a client that does not read;
- HTTP/2 and WebSocket upgrades are attack surface that nobody needs here.
"""

from __future__ import annotations

import json
import logging
import math
import socket
import ssl
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import h11
import structlog
import trio
from attrs import define, field, frozen
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState

from aileron_core.daemon.problems import error_body, http_problem, http_status
from aileron_core.daemon.unix import is_own as is_own
from aileron_core.daemon.unix import listen_on as listen_on
from aileron_core.daemon.unix import peer_uid as peer_uid
from aileron_core.errors import AileronError

if TYPE_CHECKING:
    from hypercorn.typing import AppWrapper

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Asgi = Callable[[Any, Any, Any], Awaitable[None]]
Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]

_LENGTHS = {b"content-length", b"transfer-encoding"}
_TELL_AGAIN = 60.0
"""Seconds: clients that are too many do not fill the log."""

log = structlog.get_logger("aileron.http")


@frozen
class HttpLimits:
    """Bounds of one listener; seconds and bytes."""

    connections: int = 256
    head: int = 16 << 10
    headers: int = 100
    body: int = 1 << 20
    idle: float = 10.0
    """Until a connection must have sent a whole request head."""
    upload: float = 30.0
    """Until a body must have arrived."""
    stall: float = 30.0
    """A write that the client does not take."""
    handshake: float = 10.0
    graceful: float = 3.0
    """Left to requests in flight when the listener stops."""


def hypercorn_config(limits: HttpLimits) -> Config:
    """hypercorn's configuration for these limits; logs go to the standard library's root logger."""
    config = Config()
    config.h11_max_incomplete_size = limits.head
    config.keep_alive_timeout = limits.idle
    config.ssl_handshake_timeout = limits.handshake
    config.errorlog = logging.getLogger("hypercorn.error")
    config.include_server_header = False
    return config


def encode_error(error: AileronError) -> bytes:
    """The body of an answer that reports ``error``."""
    return json.dumps(error_body(error)).encode()


# --- the application's side ---------------------------------------------------------------------


@frozen
class Bounded:
    """An ASGI application behind the limits, in the shape that hypercorn calls.

    The body is read whole, within its bounds, before the application runs; ``extra`` is added to
    every request's scope.
    """

    app: Asgi
    limits: HttpLimits
    extra: MutableMapping[str, Any] = field(factory=dict)
    guard: Callable[[Scope], None] | None = None
    """Looks at a request's head before anything else is done with it; raises to refuse."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send, *_: Any) -> None:
        """Answer one request."""
        shielded = _shield(send)
        try:
            self._check(scope)
            body = await self._read_body(receive)
        except AileronError as error:
            await _send_error(shielded, error)
            return
        if body is not None:
            scope.update(self.extra)
            await self.app(scope, _replay(body, receive), shielded)

    def _check(self, scope: Scope) -> None:
        if self.guard is not None:
            self.guard(scope)
        if not scope["path"].startswith("/"):
            raise http_problem(400, "a request names its path only")
        sizes = [len(name) + len(value) for name, value in scope["headers"]]
        # hypercorn looks at the size of heads only that come in pieces.
        if len(sizes) > self.limits.headers or sum(sizes) > self.limits.head:
            raise http_problem(431, "the request's head is too large")
        lengths = {name for name, _ in scope["headers"]} & _LENGTHS
        if lengths == _LENGTHS:
            raise http_problem(400, "a body has one length (RFC 9112, 6.1)")
        for name, value in scope["headers"]:
            if name == b"content-length" and int(value) > self.limits.body:
                raise self._too_large()

    def _too_large(self) -> AileronError:
        return http_problem(413, f"a body has at most {self.limits.body} bytes")

    async def _read_body(self, receive: Receive) -> bytes | None:
        """The whole body; None when the client has gone."""
        body = bytearray()
        with trio.move_on_after(self.limits.upload):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    return None
                body += message.get("body", b"")
                if len(body) > self.limits.body:
                    raise self._too_large()
                if not message.get("more_body", False):
                    return bytes(body)
        raise http_problem(408, "the body did not arrive in time")


def _shield(send: Send) -> Send:
    async def shielded(message: Any) -> None:
        # Bounded by `HttpLimits.stall`.
        with trio.CancelScope(shield=True):
            await send(message)

    return shielded


def _replay(body: bytes, receive: Receive) -> Receive:
    """What is left to receive once the body was read: the body in one piece, then the end."""
    pieces: list[Any] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Any:
        return pieces.pop() if pieces else await receive()

    return replayed


async def _send_error(send: Send, error: AileronError) -> None:
    body = encode_error(error)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": http_status(error), "headers": headers})
    await send({"type": "http.response.body", "body": body})


# --- the connection's side ----------------------------------------------------------------------


class Http1(H11Protocol):
    """HTTP/1.1 and nothing that it could be upgraded to."""

    async def _check_protocol(self, event: h11.Request) -> None:
        """Here hypercorn would change to HTTP/2."""

    async def _create_stream(self, request: h11.Request) -> None:
        """Here hypercorn would change to WebSocket: without the header it does not."""
        if request.http_version not in (b"1.0", b"1.1"):
            await self._send_error_response(505)
            await self.send(Closed())
            return
        kept = [(name, value) for name, value in request.headers if name != b"upgrade"]
        await super()._create_stream(
            h11.Request(
                method=request.method,
                target=request.target,
                headers=kept,
                http_version=request.http_version,
            )
        )

    async def _send_error_response(self, status_code: int) -> None:
        body = encode_error(http_problem(status_code, "the request is no proper HTTP/1.1"))
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        await self._send_h11_event(h11.Response(status_code=status_code, headers=headers))
        await self._send_h11_event(h11.Data(data=body))
        await self._send_h11_event(h11.EndOfMessage())


class Connection(TCPServer):
    """One connection; writes and the close are bounded in time."""

    limits: HttpLimits = HttpLimits()

    async def run(self) -> None:
        """Serve requests until either side has had enough."""
        try:
            is_tls = isinstance(self.stream, trio.SSLStream)
            if is_tls:
                with trio.fail_after(self.config.ssl_handshake_timeout):
                    await self.stream.do_handshake()
            async with TaskGroup() as task_group:
                self._task_group = task_group
                self.protocol = Http1(  # type: ignore[assignment]  # the wrapper only adds HTTP/2
                    self.app,
                    self.config,
                    self.context,
                    task_group,
                    ConnectionState(self.state.copy()),
                    is_tls,
                    None,
                    None,
                    self.protocol_send,
                )
                await self.idle_task.restart(task_group, self._idle_timeout)
                await self._read_data()
                await self.idle_task.stop()  # else a client that has gone keeps its place
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            pass
        finally:
            await self._close()

    async def protocol_send(self, event: Event) -> None:
        """Write bytes, or do what hypercorn does with the other events."""
        if not isinstance(event, RawData):
            await super().protocol_send(event)
            return
        async with self.send_lock:
            try:
                with trio.fail_after(self.limits.stall):
                    await self.stream.send_all(event.data)
            except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
                await trio.aclose_forcefully(self.stream)
                await self.protocol.handle(Closed())

    async def _close(self) -> None:
        with trio.move_on_after(1.0, shield=True):
            await super()._close()


def anybody(stream: trio.SocketStream) -> bool:
    """The listener itself is reachable by those only who may use it."""
    return True


@define(eq=False)
class HttpServer:
    """One listener's connections."""

    app: Bounded
    ssl_context: ssl.SSLContext | None = None
    admits: Callable[[trio.SocketStream], bool] = anybody
    _config: Config = field(init=False)
    _context: WorkerContext = field(init=False, factory=lambda: WorkerContext(None))
    _open: set[trio.SocketStream] = field(init=False, factory=set)
    _told: float = field(init=False, default=-math.inf)

    def __attrs_post_init__(self) -> None:
        self._config = hypercorn_config(self.app.limits)

    async def serve(
        self,
        listener: socket.socket,
        stop: trio.Event,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Accept and answer until ``stop``, then give those in flight their time and end."""
        accepting = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
        async with accepting, trio.open_nursery() as reaper:
            async with trio.open_nursery() as connections:
                try:
                    await self._accept(accepting, connections, stop, task_status)
                except BaseException:  # cancelled, alone or in a group
                    await self._break_off()
                    raise
                await self._context.terminated.set()
                reaper.start_soon(self._reap, connections)
            reaper.cancel_scope.cancel()

    async def _accept(
        self,
        accepting: trio.SocketListener,
        connections: trio.Nursery,
        stop: trio.Event,
        task_status: trio.TaskStatus[None],
    ) -> None:
        async with trio.open_nursery() as nursery:
            accept = partial(
                trio.serve_listeners, self._handle, [accepting], handler_nursery=connections
            )
            await nursery.start(accept)
            task_status.started()
            await stop.wait()
            nursery.cancel_scope.cancel()

    async def _reap(self, connections: trio.Nursery) -> None:
        """End what is still open when its time is over, also a write that nobody takes."""
        await trio.sleep(self.app.limits.graceful)
        await self._break_off()
        connections.cancel_scope.cancel()

    async def _break_off(self) -> None:
        """Close every connection under whoever uses it: sends are shielded from cancellation."""
        with trio.CancelScope(shield=True):
            for stream in tuple(self._open):
                await trio.aclose_forcefully(stream)

    async def _handle(self, stream: trio.SocketStream) -> None:
        if not self._may_enter(stream):
            await trio.aclose_forcefully(stream)
            return
        wrapped: Stream = stream
        if self.ssl_context is not None:
            wrapped = trio.SSLStream(
                stream, self.ssl_context, server_side=True, https_compatible=True
            )
        self._open.add(stream)
        try:
            await self._converse(wrapped)
        finally:
            self._open.discard(stream)
            await trio.aclose_forcefully(stream)

    def _may_enter(self, stream: trio.SocketStream) -> bool:
        if len(self._open) >= self.app.limits.connections:
            if trio.current_time() > self._told + _TELL_AGAIN:
                self._told = trio.current_time()
                log.warning("too many connections", limit=self.app.limits.connections)
            return False
        with suppress(OSError):  # gone already
            return self.admits(stream)
        return False

    async def _converse(self, stream: Stream) -> None:
        connection = Connection(
            cast("AppWrapper", self.app),
            self._config,
            self._context,
            ConnectionState({}),
            stream,  # type: ignore[arg-type]  # hypercorn names the TLS one and takes both
        )
        connection.limits = self.app.limits
        try:
            await connection.run()
        except Exception as error:  # noqa: BLE001 - one connection's fault must not end the others
            log.error("connection failed", error=repr(error))
