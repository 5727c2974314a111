"""The sandbox's side: one socket is one session, the token must match, nothing else is there."""

from __future__ import annotations

import hashlib
import json
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import trio
import trio.testing
from attrs import evolve, frozen
from quart_trio import QuartTrio

from aileron_core.daemon import sandbox_api
from aileron_core.daemon.app import app_running
from aileron_core.daemon.sandbox_api import make_sandbox_app, serve_sandbox_api
from aileron_core.records import Session
from aileron_core.testing import session_for

TOKEN = "a-token-of-the-session"
DIGEST = hashlib.sha256(TOKEN.encode()).digest()


@frozen
class HasApp:
    """What of the daemon is needed."""

    sandbox_app: QuartTrio


@asynccontextmanager
async def served(
    listener: socket.socket, context: ssl.SSLContext, session: Session | None = None
) -> AsyncIterator[int]:
    """The API of one session; the port it is on."""
    app = make_sandbox_app()
    port = listener.getsockname()[1]
    with trio.fail_after(60):
        async with app_running(app), trio.open_nursery() as nursery:
            await nursery.start(
                serve_sandbox_api, HasApp(app), session or session_for(), listener, context, DIGEST
            )
            yield port
            nursery.cancel_scope.cancel()


async def exchange(port: int, client: ssl.SSLContext, request: bytes) -> tuple[int, Any]:
    """One request over TLS; status and decoded body."""
    stream = await trio.open_ssl_over_tcp_stream(
        "127.0.0.1", port, ssl_context=client, https_compatible=True
    )
    async with stream:
        await stream.send_all(request)
        raw = b"".join([piece async for piece in stream])
    head, _, body = raw.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def get(path: str, token: str | None = TOKEN, *more: str) -> bytes:
    """A request."""
    lines = [f"GET {path} HTTP/1.1", "host: localhost", "connection: close", *more]
    lines += [] if token is None else [f"authorization: Bearer {token}"]
    return "\r\n".join([*lines, "", ""]).encode()


Tls = tuple[ssl.SSLContext, ssl.SSLContext]


async def test_session_sees_itself(loopback: socket.socket, tls: Tls) -> None:
    """The call says which session it is: agent, workspace, policy, what goes through the daemon."""
    session = session_for(policy="locked", notes=["no network"])
    session.listeners = {"api": loopback, "proxy": loopback}
    async with served(loopback, tls[0], session) as port:
        status, found = await exchange(port, tls[1], get("/v1/session"))
    assert status == 200
    assert found == {
        "id": "s_test",
        "name": "test",
        "agent": "sh",
        "workspace": "/work",
        "workspace_mode": "rw",
        "image": "fake/image:1",
        "tier": "byo",
        "policy": "locked",
        "state": "preparing",
        "mediates": ["proxy"],
        "notes": ["no network"],
    }


@pytest.mark.parametrize(
    "request_",
    [
        get("/v1/session", None),
        get("/v1/session", ""),
        get("/v1/session", TOKEN + "x"),
        get("/v1/session", TOKEN[:-1]),
        get("/v1/session", TOKEN.upper()),
        get("/v1/session", DIGEST.hex()),
        get("/v1/session", TOKEN, f"authorization: Bearer {TOKEN}"),
        get("/v1/session", None, f"authorization: Basic {TOKEN}"),
        get("/v1/session", None, f"x-token: {TOKEN}"),
        get(f"/v1/session?token={TOKEN}", None),
        get("/v1/nothing", "wrong"),
        get("/v1/openapi.json", None),
    ],
)
async def test_wrong_token_opens_nothing(
    loopback: socket.socket, tls: Tls, request_: bytes
) -> None:
    """Without exactly the session's token every call, even an unknown one, is 401."""
    async with served(loopback, tls[0]) as port:
        status, found = await exchange(port, tls[1], request_)
    assert (status, found["error"]["code"]) == (401, "token-refused")


@pytest.mark.parametrize(
    "path",
    ["/v1/status", "/v1/sessions", "/v1/audit", "/v1/events", "/v1/shutdown", "/v1/plugins"],
)
async def test_host_side_does_not_exist(loopback: socket.socket, tls: Tls, path: str) -> None:
    """No call of the host's side is there, with the right token or not."""
    async with served(loopback, tls[0]) as port:
        status, found = await exchange(port, tls[1], get(path))
    assert (status, found["error"]["code"]) == (404, "call-unknown")


async def test_plain_http_is_not_spoken(loopback: socket.socket, tls: Tls) -> None:
    """A client without TLS gets no answer to its request, and the API goes on."""
    async with served(loopback, tls[0]) as port:
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(get("/v1/session"))
            with suppress(trio.BrokenResourceError):
                while piece := await stream.receive_some(1000):
                    assert b"HTTP/1.1" not in piece
        assert (await exchange(port, tls[1], get("/v1/session")))[0] == 200


async def test_certificate_is_the_sessions_own(loopback: socket.socket, tls: Tls) -> None:
    """A client that does not trust the session's authority gets nowhere."""
    async with served(loopback, tls[0]) as port:
        with pytest.raises(trio.BrokenResourceError):
            await exchange(port, ssl.create_default_context(), get("/v1/session"))


async def test_large_body_is_refused(loopback: socket.socket, tls: Tls) -> None:
    """A body over 1 MiB is refused before it is read."""
    head = get("/v1/session", TOKEN, "content-length: 1048577")
    async with served(loopback, tls[0]) as port:
        status, found = await exchange(port, tls[1], head)
    assert (status, found["error"]["code"]) == (413, "body-too-large")


async def test_connections_are_bounded(
    loopback: socket.socket, tls: Tls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One connection too many is closed; those that hang in the handshake count as well."""
    assert sandbox_api.LIMITS.connections == 64
    monkeypatch.setattr(sandbox_api, "LIMITS", evolve(sandbox_api.LIMITS, connections=3))
    async with served(loopback, tls[0]) as port:
        held = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(3)]
        await trio.testing.wait_all_tasks_blocked(0.05)
        with pytest.raises(trio.BrokenResourceError):
            await exchange(port, tls[1], get("/v1/session"))
        await held.pop().aclose()
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert (await exchange(port, tls[1], get("/v1/session")))[0] == 200
        for stream in held:
            await stream.aclose()


async def test_handshake_that_does_not_come_is_given_up(
    loopback: socket.socket, tls: Tls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who connects and says nothing is dropped after the handshake's time."""
    monkeypatch.setattr(sandbox_api, "LIMITS", evolve(sandbox_api.LIMITS, handshake=0.1))
    async with (
        served(loopback, tls[0]) as port,
        await trio.open_tcp_stream("127.0.0.1", port) as stream,
    ):
        with trio.fail_after(5):
            assert await stream.receive_some(1) == b""


async def test_listener_is_closed_at_the_end(loopback: socket.socket, tls: Tls) -> None:
    """When the service ends the socket in the namespace is gone."""
    async with served(loopback, tls[0]):
        pass
    assert loopback.fileno() == -1


async def test_fifty_at_once_and_cheap(tls: Tls) -> None:
    """One more session's API costs milliseconds; fifty serve side by side, each as itself."""
    app = make_sandbox_app()
    has, listeners = HasApp(app), [socket.create_server(("127.0.0.1", 0)) for _ in range(50)]
    ports = [one.getsockname()[1] for one in listeners]
    with trio.fail_after(60):
        async with app_running(app), trio.open_nursery() as nursery:
            before = time.perf_counter()
            for number, listener in enumerate(listeners):
                listener.setblocking(False)
                session = session_for(id=f"s_{number}")
                await nursery.start(serve_sandbox_api, has, session, listener, tls[0], DIGEST)
            assert (time.perf_counter() - before) / 50 < 0.01
            found: dict[int, str] = {}

            async def ask(number: int) -> None:
                _, answer = await exchange(ports[number], tls[1], get("/v1/session"))
                found[number] = answer["id"]

            async with trio.open_nursery() as asking:
                for number in range(50):
                    asking.start_soon(ask, number)
            assert found == {number: f"s_{number}" for number in range(50)}
            nursery.cancel_scope.cancel()


async def test_digest_of_wrong_length_is_a_fault(loopback: socket.socket, tls: Tls) -> None:
    """A token's text in place of its digest is found at once, not by a token that never fits."""
    with pytest.raises(ValueError, match="length"):
        await serve_sandbox_api(
            HasApp(make_sandbox_app()), session_for(), loopback, tls[0], TOKEN.encode()
        )
