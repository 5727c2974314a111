"""Where a sandbox's output goes: to the log and to whoever is attached, each with its own bound.

The foreground client sets the pace, as a terminal does for a program. Others are left behind when
they take nothing for `STALL` seconds, so that a forgotten window never stops an agent.
"""

from __future__ import annotations

import math

import trio
from attrs import define, field

from aileron_core.backend import Stream
from aileron_core.sessions.frames import Frame, encode
from aileron_core.sessions.log import SessionLog

QUEUE = 32
"""Frames that wait for a client."""
CHUNK = 1 << 16
"""Bytes of output in one frame at most."""
STALL = 5.0
"""Seconds a client that is not in the foreground may take nothing."""


@define(eq=False)
class Client:
    """Someone who sees the output; its frames are taken from ``frames``."""

    is_foreground: bool
    _send: trio.MemorySendChannel[bytes]
    frames: trio.MemoryReceiveChannel[bytes]
    last: bytes = b""
    """What comes after the last of ``frames``: how the session ended."""

    @classmethod
    def open(cls, *, is_foreground: bool) -> Client:
        """A client with an empty queue."""
        send, receive = trio.open_memory_channel[bytes](QUEUE)
        return cls(is_foreground, send, receive)

    async def give(self, frame: bytes) -> bool:
        """Queue a frame; false when the client is gone or too slow."""
        with trio.move_on_after(math.inf if self.is_foreground else STALL) as patience:
            try:
                await self._send.send(frame)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return False
        return not patience.cancelled_caught

    def end(self, last: bytes = b"") -> None:
        """No more frames but ``last``, which never waits for room."""
        self.last = last
        self._send.close()

    def gone(self) -> None:
        """Nobody takes frames any more: what is queued is dropped, giving fails at once."""
        self.frames.close()


@define(eq=False)
class Hub:
    """One sandbox's output."""

    log: SessionLog
    clients: list[Client] = field(factory=list)
    is_blocked: bool = False
    """Output waits for a client to take it."""
    last: bytes | None = None
    """The last frame, once the session has ended."""
    grown: trio.Event = field(factory=trio.Event)
    """Set, and replaced by a fresh one, whenever the log has grown or output has ended."""

    @property
    def foreground(self) -> Client | None:
        """The client that sets the pace, if there is one."""
        return next((client for client in self.clients if client.is_foreground), None)

    def attach(self, *, is_foreground: bool) -> Client:
        """A new client; it sees what is printed from now on."""
        client = Client.open(is_foreground=is_foreground and self.foreground is None)
        if self.last is not None:
            client.end(self.last)
        else:
            self.clients.append(client)
        return client

    def detach(self, client: Client) -> None:
        """The client sees no more; harmless when repeated."""
        client.gone()
        if client in self.clients:
            self.clients.remove(client)

    async def pump(self, stream: Stream) -> None:
        """Pass output on until it ends."""
        while (output := await stream.receive()) is not None:
            channel, data = output
            for at in range(0, len(data), CHUNK):
                await self.publish(channel, data[at : at + CHUNK])

    async def publish(self, channel: int, data: bytes) -> None:
        """One piece of output, to the log and to every client."""
        self.log.append(channel, data)
        self._tell_followers()
        await self._tell(encode(Frame.STDERR if channel == 2 else Frame.STDOUT, data))

    def close(self, last: bytes) -> None:
        """End every client after a last frame; those that attach later get just that."""
        self.last = last
        for client in self.clients:
            client.end(last)
        self.log.close()
        self._tell_followers()

    def _tell_followers(self) -> None:
        self.grown.set()
        self.grown = trio.Event()

    async def _tell(self, frame: bytes) -> None:
        for client in tuple(self.clients):
            self.is_blocked = True
            try:
                taken = await client.give(frame)
            finally:
                self.is_blocked = False
            if not taken:
                self.detach(client)
