"""The terminal or pipes of a program in a container, and its end."""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable

import trio
from attrs import define, field

from aileron_core.backend import Exit
from aileron_podman.rest import Upgraded

_HEADER = struct.Struct(">BxxxI")
_CHUNK = 1 << 17

Resize = Callable[[int, int], Awaitable[None]]
Signal = Callable[[int], Awaitable[None]]
Wait = Callable[[], Awaitable[Exit]]


@define(eq=False)
class PodmanStream:
    """`aileron_core.backend.Stream` over a connection that Podman has handed over.

    Without a terminal Podman frames the output as Docker's attach does: channel (one byte), three
    zeros, length (four bytes, big endian).
    """

    _upgraded: Upgraded
    _tty: bool
    _resize: Resize
    _signal: Signal
    _wait: Wait
    _buffer: bytearray = field(init=False)
    _left: int = 0
    """Bytes of the current frame that have not come yet."""
    _channel: int = 1

    def __attrs_post_init__(self) -> None:
        self._buffer = bytearray(self._upgraded.first)

    async def _fill(self) -> bool:
        try:
            data = await self._upgraded.stream.receive_some(_CHUNK)
        except trio.BrokenResourceError:
            return False
        self._buffer += data
        return bool(data)

    def _take(self, count: int) -> bytes:
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    async def receive(self) -> tuple[int, bytes] | None:
        """The next output: ``(1 | 2, bytes)``, or None at its end."""
        if self._tty:
            if not self._buffer and not await self._fill():
                return None
            return 1, self._take(len(self._buffer))
        while self._left == 0:
            if not await self._next_frame():
                return None
        if not self._buffer and not await self._fill():
            return None
        data = self._take(min(self._left, len(self._buffer)))
        self._left -= len(data)
        return self._channel, data

    async def _next_frame(self) -> bool:
        while len(self._buffer) < _HEADER.size:
            if not await self._fill():
                return False
        channel, self._left = _HEADER.unpack(self._take(_HEADER.size))
        self._channel = 2 if channel == 2 else 1
        return True

    async def send(self, data: bytes) -> None:
        """Give ``data`` to its standard input; a program that stopped reading drops it."""
        try:
            await self._upgraded.stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await trio.lowlevel.checkpoint()

    async def send_eof(self) -> None:
        """End its standard input."""
        try:
            await self._upgraded.stream.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await trio.lowlevel.checkpoint()

    async def resize(self, rows: int, columns: int) -> None:
        """Set the terminal's size; without a terminal this does nothing."""
        if self._tty and rows > 0 and columns > 0:
            await self._resize(rows, columns)

    async def signal(self, signum: int) -> None:
        """Send a signal to this program; one that has ended already is no error."""
        await self._signal(signum)

    async def wait(self) -> Exit:
        """Until the program has ended."""
        return await self._wait()

    async def aclose(self) -> None:
        """Let go of the stream; the program goes on."""
        await trio.aclose_forcefully(self._upgraded.stream)
