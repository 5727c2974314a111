"""HTTP over the daemon's socket: bounded, closed when asked, refused to others, stopped in time."""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from attrs import define, evolve, field
from quart import Blueprint, request

from aileron_core.daemon.app import app_running, make_app
from aileron_core.daemon.calls import call, sse
from aileron_core.daemon.serve import (
    Bounded,
    HttpLimits,
    HttpServer,
    is_own,
    listen_on,
    peer_uid,
)
from aileron_core.paths import Paths

LIMITS = HttpLimits(connections=4, idle=0.3, upload=0.3, stall=0.3, graceful=0.3)


@define(eq=False)
class Bench:
    """A served application and what happened in it."""

    path: Path
    stop: trio.Event = field(factory=trio.Event)
    began: trio.Event = field(factory=trio.Event)
    ended: list[str] = field(factory=list)
    go: trio.Event = field(factory=trio.Event)

    async def connect(self) -> trio.SocketStream:
        """A connection."""
        return await trio.open_unix_socket(str(self.path))

    async def exchange(self, data: bytes) -> bytes:
        """Send bytes and read until the server closes."""
        async with await self.connect() as stream:
            await stream.send_all(data)
            with trio.fail_after(10):
                return b"".join([piece async for piece in _until_broken(stream)])


def blueprint(bench: Bench) -> Blueprint:
    """Calls that echo, wait, stream without end, and fail."""
    calls = Blueprint("test", __name__)

    @calls.post("/echo")
    async def echo() -> bytes:
        return bytes(await request.get_data())

    @calls.get("/wait")
    async def wait() -> str:
        bench.began.set()
        try:
            await bench.go.wait()
        except trio.Cancelled:
            bench.ended.append("cancelled")
            raise
        return "waited"

    @calls.get("/events")
    @call(answer=dict[str, Any], stream="text/event-stream")
    async def events() -> AsyncIterator[bytes]:
        return flood()

    async def flood() -> AsyncIterator[bytes]:
        bench.began.set()
        while True:
            yield sse("x", {"data": "y" * 60000})
            await trio.lowlevel.checkpoint()

    @calls.get("/fail")
    async def fail() -> str:
        raise RuntimeError("detail that must stay inside")

    return calls


@asynccontextmanager
async def served(
    path: Path,
    limits: HttpLimits = LIMITS,
    admits: Callable[[trio.SocketStream], bool] = is_own,
) -> AsyncIterator[Bench]:
    """A server on a socket; stopped at the end, which must not take long."""
    bench = Bench(path)
    app = make_app("test", [blueprint(bench)])
    listener = listen_on(path)
    with trio.fail_after(30):
        async with app_running(app), trio.open_nursery() as nursery:
            server = HttpServer(Bounded(app, limits), admits=admits)
            await nursery.start(server.serve, listener, bench.stop)
            yield bench
            bench.stop.set()


async def one_answer(stream: trio.SocketStream) -> bytes:
    """The next answer on a connection that stays open."""
    got = b""
    while b"\r\n\r\n" not in got:
        piece = await stream.receive_some(1)
        assert piece, f"closed after {got!r}"
        got += piece
    size = int(parse(got)[1]["content-length"])
    body = b""
    while len(body) < size:
        body += await stream.receive_some(size - len(body))
    return got + body


GET = b"GET /nothing HTTP/1.1\r\nhost: x\r\n"


def parse(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of one answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(first.split()[1]), headers, body


def error_of(answer: bytes) -> tuple[int, str]:
    """Status and code of an answer that must be an error object."""
    status, headers, body = parse(answer)
    assert headers["content-type"] == "application/json"
    error = json.loads(body)["error"]
    assert {"code", "message", "why", "hints"} <= error.keys()
    return status, error["code"]


async def test_socket_is_private_and_replaces_a_stale_one(paths: Paths) -> None:
    """The socket file is 0600, and one that an earlier daemon left is no obstacle."""
    for _ in range(2):
        listener = listen_on(paths.socket)
        assert stat.S_IMODE(paths.socket.stat().st_mode) == 0o600
        listener.close()


async def test_connection_close_is_honoured(paths: Paths) -> None:
    """After ``Connection: close`` the server closes at once (hypercorn alone left it open)."""
    async with served(paths.socket, evolve(LIMITS, idle=60.0)) as bench:
        for _ in range(20):
            with trio.fail_after(2):
                answer = await bench.exchange(GET + b"connection: close\r\n\r\n")
            assert error_of(answer) == (404, "call-unknown")


async def test_connection_is_kept_and_ends_when_idle(paths: Paths) -> None:
    """Two requests share a connection; then the server closes it after the idle time."""
    async with served(paths.socket) as bench, await bench.connect() as stream:
        for _ in range(2):
            await stream.send_all(GET + b"\r\n")
            assert parse(await one_answer(stream))[0] == 404
        before = trio.current_time()
        assert await stream.receive_some(1000) == b""
        assert 0.2 < trio.current_time() - before < 5


async def test_head_that_trickles_is_given_up(paths: Paths) -> None:
    """A request head must be there within the idle time, however its bytes come."""
    async with served(paths.socket) as bench, await bench.connect() as stream:
        before = trio.current_time()
        with pytest.raises(trio.BrokenResourceError):  # noqa: PT012 - whichever byte is the first refused
            for byte in GET * 100:
                await stream.send_all(bytes([byte]))
                await trio.sleep(0.02)
        assert trio.current_time() - before < 5


async def test_body_that_does_not_come_is_given_up(paths: Paths) -> None:
    """A body must be whole within the upload time; the answer says so."""
    async with served(paths.socket) as bench:
        answer = await bench.exchange(
            b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhalf"
        )
    assert error_of(answer) == (408, "request-slow")


@pytest.mark.parametrize("chunked", [True, False])
async def test_large_body_is_refused(paths: Paths, chunked: bool) -> None:
    """A body over the limit is refused, announced or not, before the application sees it."""
    limits = evolve(LIMITS, body=1000)
    head = b"POST /echo HTTP/1.1\r\nhost: x\r\n"
    whole = (
        head + b"transfer-encoding: chunked\r\n\r\n3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n"
        if chunked
        else head + b"content-length: 1001\r\n\r\n" + b"x" * 1001
    )
    async with served(paths.socket, limits) as bench:
        assert error_of(await bench.exchange(whole)) == (413, "body-too-large")


async def test_body_up_to_the_limit_is_taken(paths: Paths) -> None:
    """The limit itself is allowed."""
    async with served(paths.socket, evolve(LIMITS, body=100_000)) as bench:
        answer = await bench.exchange(
            b"POST /echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 100000\r\n\r\n"
            + b"x" * 100_000
        )
    assert parse(answer)[2] == b"x" * 100_000


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: x\r\nbad header\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: x\r\ncontent-length: +5\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: x\r\na: " + b"x" * 20000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nhost: x\r\na: " + b"x" * 200000, 431),
        (b"GET / HTTP/1.1\r\nhost: x\r\n" + b"a: b\r\n" * 101 + b"\r\n", 431),
        (b"CONNECT 198.51.100.1:80 HTTP/1.1\r\nhost: x\r\n\r\n", 400),
        (b"OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n", 400),
        (b"GET http://x/ HTTP/1.1\r\nhost: x\r\n\r\n", 400),
    ],
)
async def test_odd_heads_are_refused_with_an_error_object(
    paths: Paths, head: bytes, status: int
) -> None:
    """What is no plain HTTP/1.1 request gets an error object and a closed connection."""
    async with served(paths.socket) as bench:
        code = "head-too-large" if status == 431 else "bad-request"
        assert error_of(await bench.exchange(head)) == (status, code)


@pytest.mark.parametrize(
    "head",
    [
        GET + b"connection: upgrade\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n",
        GET + b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
        b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
async def test_nothing_can_be_upgraded(paths: Paths, head: bytes) -> None:
    """HTTP/2 and WebSocket are not spoken, whatever is asked for."""
    async with served(paths.socket) as bench:
        assert parse(await bench.exchange(head))[0] in (400, 404, 505)


async def test_fault_is_an_error_object_without_detail(paths: Paths) -> None:
    """A fault in a call answers 500 with a code; its text stays in the log."""
    async with served(paths.socket) as bench:
        answer = await bench.exchange(b"GET /fail HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    assert error_of(answer) == (500, "internal")
    assert b"detail" not in answer


async def test_wrong_method_names_the_right_ones(paths: Paths) -> None:
    """405 carries ``Allow``."""
    async with served(paths.socket) as bench:
        answer = await bench.exchange(
            b"DELETE /echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        )
    assert error_of(answer) == (405, "method-unknown")
    assert "post" in parse(answer)[1]["allow"]


async def test_connections_are_counted(paths: Paths) -> None:
    """One over the limit is closed at once; when another ends there is room again."""
    async with served(paths.socket, evolve(LIMITS, idle=60.0)) as bench:
        held = [await bench.connect() for _ in range(4)]
        for stream in held:
            await stream.send_all(GET + b"\r\n")
            assert parse(await one_answer(stream))[0] == 404
        assert await bench.exchange(b"") == b""
        await held.pop().aclose()
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert b"404" in await bench.exchange(GET + b"connection: close\r\n\r\n")
        for stream in held:
            await stream.aclose()


async def test_client_that_leaves_cancels_its_call(paths: Paths) -> None:
    """When the caller closes, the call it waited for is cancelled."""
    async with served(paths.socket) as bench:
        stream = await bench.connect()
        await stream.send_all(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n")
        await bench.began.wait()
        await stream.aclose()
        with trio.fail_after(5):
            while not bench.ended:
                await trio.testing.wait_all_tasks_blocked(0.01)


async def test_client_that_does_not_read_is_dropped(paths: Paths) -> None:
    """A stream that nobody takes ends after the stall time; the server is not held up."""
    async with served(paths.socket, evolve(LIMITS, graceful=5.0)) as bench:
        stream = await bench.connect()
        await stream.send_all(b"GET /events HTTP/1.1\r\nhost: x\r\n\r\n")
        await bench.began.wait()
        await trio.sleep(0.6)
        with trio.fail_after(5):
            received = sum([len(piece) async for piece in _until_broken(stream)])
        assert received < 10 << 20
        await stream.aclose()


async def _until_broken(stream: trio.SocketStream) -> AsyncIterator[bytes]:
    try:
        while piece := await stream.receive_some(1 << 20):
            yield piece
    except trio.BrokenResourceError:
        return


async def test_stop_lets_requests_finish(paths: Paths) -> None:
    """A request in flight when the listener stops gets its answer."""
    async with served(paths.socket, evolve(LIMITS, graceful=10.0)) as bench:
        stream = await bench.connect()
        await stream.send_all(b"GET /wait HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        await bench.began.wait()
        bench.stop.set()
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(OSError, match="refused"):
            await bench.connect()
        bench.go.set()
        assert parse(await one_answer(stream))[2] == b"waited"
        await stream.aclose()


@pytest.mark.parametrize("call_", [b"/wait", b"/events"])
async def test_stop_does_not_wait_for_ever(paths: Paths, call_: bytes) -> None:
    """What does not finish in its time is broken off, also a write that nobody takes."""
    async with served(paths.socket, evolve(LIMITS, stall=60.0)) as bench:
        stream = await bench.connect()
        await stream.send_all(b"GET " + call_ + b" HTTP/1.1\r\nhost: x\r\n\r\n")
        await bench.began.wait()
        before = trio.current_time()
        bench.stop.set()
    assert trio.current_time() - before < 5
    await stream.aclose()


async def test_cancelling_the_server_is_quick(paths: Paths) -> None:
    """Cancelled (as a session's end does), it does not wait for a client that does not read."""
    bench = Bench(paths.socket)
    app = make_app("test", [blueprint(bench)])
    with trio.fail_after(10):
        async with app_running(app), trio.open_nursery() as nursery:
            server = HttpServer(Bounded(app, evolve(LIMITS, stall=60.0)))
            await nursery.start(server.serve, listen_on(paths.socket), bench.stop)
            stream = await bench.connect()
            await stream.send_all(b"GET /events HTTP/1.1\r\nhost: x\r\n\r\n")
            await bench.began.wait()
            await trio.testing.wait_all_tasks_blocked(0.05)
            nursery.cancel_scope.cancel()
    await stream.aclose()


async def test_others_are_refused(paths: Paths) -> None:
    """A connection that is not admitted is closed before a byte of it is read."""
    async with served(paths.socket, admits=lambda stream: False) as bench:
        assert await bench.exchange(b"") == b""


async def test_peer_is_known() -> None:
    """The kernel says whose process is at the other end."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert peer_uid(ours) == os.getuid()
