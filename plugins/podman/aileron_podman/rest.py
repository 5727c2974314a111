"""A trio client for Podman's REST API: JSON calls, and upgrades to raw streams.

One connection for each call (connecting to a Unix socket costs 30 µs), so that calls are
independent and cancelling one never leaves another's connection in an unknown state.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from typing import Any, BinaryIO
from urllib.parse import urlencode

import h11
import trio
from attrs import frozen

from aileron_podman.errors import PODMAN_UNAVAILABLE

_API = "/v4.0.0/libpod"
LONGEST = 60.0
"""Seconds until a call is answered; a service that hangs longer is given up."""
LARGEST = 16 << 20
"""Bytes of an answer, or of one line of a long one; what is larger is no answer of Podman's."""
_CHUNK = 1 << 16
_UPLOAD = 1 << 20

Query = Mapping[str, object]
"""Parameters: a tuple is a repeated one, None is left out, what is not text is JSON."""


class ApiError(Exception):
    """Podman answered with an HTTP error; ``message`` is its own sentence."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


@frozen
class Upgraded:
    """A connection that left HTTP: raw bytes both ways. ``first`` was read already."""

    stream: trio.abc.HalfCloseableStream
    first: bytes


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value)


def _target(path: str, query: Query) -> str:
    pairs = []
    for key, value in query.items():
        values = value if isinstance(value, tuple) else (value,)
        pairs += [(key, _text(each)) for each in values if each is not None]
    text = urlencode(pairs)
    return f"{_API}{path}?{text}" if text else f"{_API}{path}"


def _complaint(body: bytes) -> str:
    """Podman's own sentence in an error body."""
    try:
        found = json.loads(body)
        return str(found.get("message") or found.get("cause") or found)
    except (ValueError, AttributeError):
        return body[:500].decode(errors="replace").strip()


@frozen
class Address:
    """Where a service listens: a Unix socket path, or a TCP host and port."""

    path: str | None = None
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        return f"unix://{self.path}" if self.path else f"tcp://{self.host}:{self.port}"

    async def connect(self) -> trio.SocketStream:
        """A new connection."""
        if self.path is not None:
            return await trio.open_unix_socket(self.path)
        return await trio.open_tcp_stream(self.host, self.port)


def _check_size(answer: bytes | bytearray) -> None:
    if len(answer) > LARGEST:
        raise h11.RemoteProtocolError("the answer is too large")


class _Call:
    """One request on its own connection, up to the head of the answer."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._http = h11.Connection(h11.CLIENT)

    async def send(self, method: str, target: str, headers: list[tuple[str, str]]) -> None:
        request = h11.Request(method=method, target=target, headers=[("Host", "d"), *headers])
        await self.stream.send_all(self._http.send(request) or b"")

    async def send_body(self, body: bytes) -> None:
        data = (self._http.send(h11.Data(data=body)) or b"") if body else b""
        await self.stream.send_all(data + (self._http.send(h11.EndOfMessage()) or b""))

    async def send_part(self, data: bytes) -> None:
        await self.stream.send_all(self._http.send(h11.Data(data=data)) or b"")

    async def _event(self) -> Any:
        while True:
            event = self._http.next_event()
            if event is not h11.NEED_DATA:
                return event
            self._http.receive_data(await self.stream.receive_some(_CHUNK))

    async def head(self) -> h11.Response | h11.InformationalResponse:
        """The answer's head; an upgrade (101) counts as one."""
        while True:
            event = await self._event()
            if isinstance(event, h11.Response) or (
                isinstance(event, h11.InformationalResponse) and event.status_code == 101
            ):
                return event
            if not isinstance(event, h11.InformationalResponse):
                raise h11.RemoteProtocolError("the connection was closed without an answer")

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body, as it arrives."""
        while isinstance(event := await self._event(), h11.Data):
            yield bytes(event.data)

    async def body(self) -> bytes:
        """The whole body; an error when it is larger than any that is expected."""
        parts = bytearray()
        async with aclosing(self.chunks()) as chunks:
            async for chunk in chunks:
                parts += chunk
                _check_size(parts)
        return bytes(parts)

    def left_over(self) -> bytes:
        """Bytes that came after the head of an upgrade."""
        return bytes(self._http.trailing_data[0])


class Rest:
    """Calls to one service."""

    def __init__(self, address: Address) -> None:
        self.address = address

    async def _begin(
        self, method: str, target: str, headers: list[tuple[str, str]], body: bytes
    ) -> _Call:
        call = _Call(await self._connect())
        try:
            await call.send(method, target, [*headers, ("Content-Length", str(len(body)))])
            await call.send_body(body)
        except BaseException:
            await trio.aclose_forcefully(call.stream)
            raise
        return call

    async def _connect(self) -> trio.SocketStream:
        try:
            return await self.address.connect()
        except OSError as error:
            raise self._unavailable(error) from error

    def _unavailable(self, why: object) -> Exception:
        return PODMAN_UNAVAILABLE(
            f"Podman's service at {self.address} does not answer",
            why=str(why),
            hints=["try `podman info`", "aileron doctor"],
        )

    def _hangs(self) -> Exception:
        return self._unavailable(
            f"not within {LONGEST:g} seconds: perhaps it waits for a lock of another Podman"
        )

    async def call(
        self, method: str, path: str, query: Query | None = None, body: object = None
    ) -> Any:
        """One call; the decoded JSON answer, or None when it has no body.

        Raises:
            ApiError: Podman answered with an error status.
            AileronError: ``podman-unavailable``, also when it does not answer within `LONGEST`.
        """
        with trio.move_on_after(LONGEST):
            return await self._call(method, path, query or {}, body)
        raise self._hangs()

    async def _call(self, method: str, path: str, query: Query, body: object) -> Any:
        raw = b"" if body is None else json.dumps(body).encode()
        headers = [("Connection", "close"), ("Content-Type", "application/json")]
        try:
            call = await self._begin(method, _target(path, query), headers, raw)
            async with call.stream:
                head = await call.head()
                answer = await call.body()
        except (trio.BrokenResourceError, h11.RemoteProtocolError) as error:
            raise self._unavailable(error) from error
        if head.status_code >= 400:
            raise ApiError(head.status_code, _complaint(answer))
        return json.loads(answer) if answer.strip() else None

    async def version(self) -> tuple[int, ...]:
        """Podman's version, from the headers of a ping (the version call takes 400 ms)."""
        try:
            call = await self._begin("GET", _target("/_ping", {}), [("Connection", "close")], b"")
            async with call.stream:
                headers = dict((await call.head()).headers)
        except (trio.BrokenResourceError, h11.RemoteProtocolError) as error:
            raise self._unavailable(error) from error
        text = bytes(headers.get(b"libpod-api-version", b"")).decode().split("-")[0]
        return tuple(int(part) for part in text.split(".") if part.isdigit())

    async def upgrade(self, path: str, query: Query | None = None, body: object = None) -> Upgraded:
        """POST and take the connection over as a raw stream (attach, exec start).

        Raises:
            ApiError, AileronError: as `call`.
        """
        with trio.move_on_after(LONGEST):
            return await self._upgrade(path, query or {}, body)
        raise self._hangs()

    async def _upgrade(self, path: str, query: Query, body: object) -> Upgraded:
        raw = b"" if body is None else json.dumps(body).encode()
        headers = [
            ("Connection", "Upgrade"),
            ("Upgrade", "tcp"),
            ("Content-Type", "application/json"),
        ]
        call = await self._begin("POST", _target(path, query), headers, raw)
        try:
            head = await call.head()
            if head.status_code == 101:
                return Upgraded(call.stream, call.left_over())
            raise ApiError(head.status_code, _complaint(await call.body()))
        except (trio.BrokenResourceError, h11.RemoteProtocolError) as error:
            await trio.aclose_forcefully(call.stream)
            raise self._unavailable(error) from error
        except BaseException:
            await trio.aclose_forcefully(call.stream)
            raise

    async def lines(
        self, method: str, path: str, query: Query | None = None, upload: BinaryIO | None = None
    ) -> AsyncGenerator[Any, None]:
        """Newline-separated JSON values of a long answer, as they arrive; ``upload`` is a tar file.

        Leaving the generator closes the connection, at which Podman stops what it was doing.

        Raises:
            ApiError, AileronError: as `call`.
        """
        try:
            call = await self._send_file(method, _target(path, query or {}), upload)
            async with call.stream:
                head = await call.head()
                if head.status_code >= 400:
                    raise ApiError(head.status_code, _complaint(await call.body()))
                pending = b""
                async with aclosing(call.chunks()) as chunks:
                    async for chunk in chunks:
                        *whole, pending = (pending + chunk).split(b"\n")
                        _check_size(pending)
                        for line in whole:
                            if line.strip():
                                yield json.loads(line)
                if pending.strip():
                    yield json.loads(pending)
        except (trio.BrokenResourceError, h11.RemoteProtocolError) as error:
            raise self._unavailable(error) from error

    async def _send_file(self, method: str, target: str, upload: BinaryIO | None) -> _Call:
        """A request whose body is a file; an early answer ends the sending."""
        if upload is None:
            return await self._begin(method, target, [("Connection", "close")], b"")
        size = upload.seek(0, os.SEEK_END)
        upload.seek(0)
        call = _Call(await self._connect())
        try:
            headers = [
                ("Connection", "close"),
                ("Content-Type", "application/x-tar"),
                ("Content-Length", str(size)),
            ]
            await call.send(method, target, headers)
            with suppress(trio.BrokenResourceError):
                while chunk := upload.read(_UPLOAD):
                    await call.send_part(chunk)
                await call.send_body(b"")
        except BaseException:
            await trio.aclose_forcefully(call.stream)
            raise
        return call
