"""The console's wire format: a JSON line, then frames of type, length and payload.

Pure and standard library only, for both ends: the daemon and the thin command line.
The first line is the client's hello; everything after it, in both directions, is frames:
one byte of type, four bytes of payload length (big endian), the payload.
"""

from __future__ import annotations

import enum
import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any

HEADER = struct.Struct(">BI")
SIZE = struct.Struct(">HH")
COUNT = struct.Struct(">I")
MAX_PAYLOAD = 1 << 20
"""Bytes; a longer frame ends the connection."""
MAX_HELLO = 1 << 18
"""Bytes of the first line: a command with its environment."""
WINDOW = 1 << 18
"""Bytes of `Frame.STDIN` that may be on the way: a client sends no more until `Frame.TAKEN` says
that some were taken. So a program that reads nothing never keeps a signal from reaching it."""


class Frame(enum.IntEnum):
    """Types of frames; those below 16 are sent by the client, the others by the daemon."""

    STDIN = 1
    EOF = 2
    RESIZE = 3
    SIGNAL = 4
    DETACH = 5
    READY = 16
    STDOUT = 17
    STDERR = 18
    EXIT = 19
    NOTICE = 20
    ERROR = 21
    TAKEN = 22


class FrameError(ValueError):
    """The other side does not speak this format."""


def encode(kind: Frame, payload: bytes = b"") -> bytes:
    """One frame as bytes."""
    return HEADER.pack(kind, len(payload)) + payload


def encode_json(kind: Frame, data: Mapping[str, Any]) -> bytes:
    """One frame with a JSON object in it."""
    return encode(kind, json.dumps(data).encode())


def encode_size(rows: int, columns: int) -> bytes:
    """A `Frame.RESIZE`; sizes are clamped to what a terminal can have (unsigned short)."""
    return encode(Frame.RESIZE, SIZE.pack(min(max(rows, 0), 65535), min(max(columns, 0), 65535)))


def decode_size(payload: bytes) -> tuple[int, int]:
    """Rows and columns of a `Frame.RESIZE`."""
    if len(payload) != SIZE.size:
        raise FrameError("a resize frame holds four bytes")
    rows, columns = SIZE.unpack(payload)
    return int(rows), int(columns)


def encode_count(count: int) -> bytes:
    """A `Frame.TAKEN`: this many more bytes of input were taken."""
    return encode(Frame.TAKEN, COUNT.pack(count))


def decode_count(payload: bytes) -> int:
    """The number in a `Frame.TAKEN`."""
    if len(payload) != COUNT.size:
        raise FrameError("a taken frame holds four bytes")
    return int(COUNT.unpack(payload)[0])


def encode_hello(hello: Mapping[str, Any]) -> bytes:
    """The first line of a connection."""
    return json.dumps(hello).encode() + b"\n"


def decode_hello(line: bytes) -> dict[str, Any]:
    """The object of the first line."""
    try:
        hello = json.loads(line)
    except ValueError as error:
        raise FrameError("the first line is not JSON") from error
    if not isinstance(hello, dict):
        raise FrameError("the first line is not a JSON object")
    return hello


class Decoder:
    """Bytes in, whole frames out; what is incomplete is kept, never more than one frame of it."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[Frame, bytes]]:
        """Frames that ``data`` completes.

        Raises:
            FrameError: an unknown type or a frame that is too long.
        """
        self._buffer += data
        while (frame := self._next()) is not None:
            yield frame

    @property
    def pending(self) -> int:
        """Bytes of a frame that has not come whole."""
        return len(self._buffer)

    def _next(self) -> tuple[Frame, bytes] | None:
        if len(self._buffer) < HEADER.size:
            return None
        number, length = HEADER.unpack_from(self._buffer)
        if length > MAX_PAYLOAD:
            raise FrameError(f"a frame of {length} bytes; at most {MAX_PAYLOAD} are taken")
        try:
            kind = Frame(number)
        except ValueError as error:
            raise FrameError(f"unknown frame type {number}") from error
        end = HEADER.size + length
        if len(self._buffer) < end:
            return None
        payload = bytes(self._buffer[HEADER.size : end])
        del self._buffer[:end]
        return kind, payload
