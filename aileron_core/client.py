"""The command line's side of the daemon's API: HTTP/1.1 over a Unix socket, standard library only.

``http.client`` costs 40 ms to import (email parser), which every command would pay; this client
speaks the little that the daemon answers with: one request per connection, a length or chunks.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from aileron_core import __version__
from aileron_core.errors import EXIT_UNAVAILABLE, AileronError, ErrorCode
from aileron_core.paths import Paths

DAEMON_ABSENT = ErrorCode("daemon-absent", EXIT_UNAVAILABLE, "No daemon is running.")
DAEMON_LOST = ErrorCode(
    "daemon-lost", EXIT_UNAVAILABLE, "The daemon went away, hung or answered nonsense."
)

_MOST_HEAD = 64 << 10


class Client:
    """Calls of one user's daemon.

    Args:
        paths: whose daemon.
        start: start it when a call finds none.
    """

    def __init__(self, paths: Paths, *, start: bool = True) -> None:
        self.paths = paths
        self._start = start

    def request(
        self, method: str, path: str, body: Any = None, *, timeout: float | None = 60.0
    ) -> Any:
        """The decoded JSON answer (None for an empty one); ``timeout`` seconds between bytes.

        Raises:
            AileronError: what the daemon reported, ``daemon-absent`` or ``daemon-lost``.
        """
        with self._call(method, path, body, timeout) as response:
            payload = b"".join(response.chunks())
            return response.decoded(payload)

    def stream(
        self, method: str, path: str, body: Any = None, *, timeout: float | None = None
    ) -> Iterator[Any]:
        """The answer's objects as they come: lines of JSON, or server-sent events.

        An event is its decoded ``data`` alone. An object ``{"error": {...}}`` ends the stream.

        Raises:
            AileronError: as `request`.
        """
        with self._call(method, path, body, timeout) as response:
            if response.status >= 400:
                response.decoded(b"".join(response.chunks()))
            for line in _lines(response.chunks()):
                text = line.removeprefix(b"data:").strip()
                if text.startswith(b"{"):
                    yield _checked(json.loads(text), response.status)

    def is_running(self) -> bool:
        """A daemon accepts connections now."""
        try:
            _connect(self.paths.socket, 5.0).close()
        except AileronError:
            return False
        return True

    def _call(self, method: str, path: str, body: Any, timeout: float | None) -> _Response:
        connection = self._connect(timeout)
        try:
            with suppress(BrokenPipeError, ConnectionResetError):  # refused early: see the answer
                connection.sendall(_encode(method, path, body))
            return _Response(connection)
        except TimeoutError as error:
            connection.close()
            raise _lost("it did not answer in time") from error
        except OSError as error:
            connection.close()
            raise _lost(str(error)) from error
        except BaseException:
            connection.close()
            raise

    def _connect(self, timeout: float | None) -> socket.socket:
        try:
            return _connect(self.paths.socket, timeout)
        except AileronError:
            if not self._start:
                raise
        from aileron_core.daemon.spawn import ensure_daemon

        ensure_daemon(self.paths)
        return _connect(self.paths.socket, timeout)


def _connect(path: Path, timeout: float | None) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(timeout)
    try:
        connection.connect(str(path))
    except OSError as error:
        connection.close()
        raise DAEMON_ABSENT(
            "no daemon is running", why=f"{path}: {error.strerror}", hints=["aileron daemon start"]
        ) from error
    return connection


def _encode(method: str, path: str, body: Any) -> bytes:
    payload = b"" if body is None else json.dumps(body).encode()
    head = [
        f"{method} {path} HTTP/1.1",
        "host: aileron",
        "connection: close",
        f"aileron-version: {__version__}",
    ]
    if body is not None:
        head += ["content-type: application/json", f"content-length: {len(payload)}"]
    return "\r\n".join([*head, "", ""]).encode("ascii") + payload


def _lost(why: str) -> AileronError:
    return DAEMON_LOST(
        "the daemon did not answer", why=why, hints=["aileron daemon logs", "aileron daemon status"]
    )


def _checked(decoded: Any, status: int) -> Any:
    error = decoded.get("error") if isinstance(decoded, dict) else None
    if isinstance(error, dict) and "code" in error:
        raise AileronError.from_dict(error)
    if status >= 400:
        raise _lost(f"it answered with status {status}")
    return decoded


class _Response:
    """An answer whose head was read; closes the connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._file = connection.makefile("rb")
        try:
            self.status = self._read_status()
            self.headers = self._read_headers()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> _Response:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._connection.close()

    def _read_line(self) -> bytes:
        line = self._file.readline(_MOST_HEAD)
        if not line.endswith(b"\n"):
            raise _lost("it closed the connection")
        return line.rstrip(b"\r\n")

    def _read_status(self) -> int:
        words = self._read_line().split(b" ", 2)
        if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
            raise _lost("it does not speak HTTP")
        return int(words[1])

    def _read_headers(self) -> dict[bytes, bytes]:
        headers = {}
        while line := self._read_line():
            name, _, value = line.partition(b":")
            headers[name.strip().lower()] = value.strip()
        return headers

    def chunks(self) -> Iterator[bytes]:
        """The body as it comes."""
        try:
            if self.headers.get(b"transfer-encoding", b"").lower() == b"chunked":
                yield from self._chunked()
            else:
                yield from self._plain()
        except TimeoutError as error:
            raise _lost("it stopped answering") from error
        except OSError as error:
            raise _lost(str(error)) from error

    def _plain(self) -> Iterator[bytes]:
        left = _number(self.headers.get(b"content-length", b"0"), 10)
        while left:
            data = self._file.read1(min(left, 1 << 16))
            if not data:
                raise _lost("it closed the connection in the middle of an answer")
            left -= len(data)
            yield data

    def _chunked(self) -> Iterator[bytes]:
        while size := _number(self._read_line().split(b";")[0], 16):
            data = self._file.read(size)
            if len(data) < size:
                raise _lost("it closed the connection in the middle of an answer")
            yield data
            self._read_line()

    def decoded(self, payload: bytes) -> Any:
        """The JSON value in ``payload``; an error object is raised."""
        try:
            decoded = json.loads(payload) if payload else None
        except ValueError:
            decoded = payload.decode(errors="replace")
        return _checked(decoded, self.status)


def _number(text: bytes, base: int) -> int:
    try:
        number = int(text, base)
    except ValueError:
        number = -1
    if number < 0:
        raise _lost("it does not speak HTTP")
    return number


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
    if rest:
        yield rest
