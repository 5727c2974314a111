"""One client of the console: what it wants, its frames, its input. Above bytes, below sessions."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import trio
from attrs import define, field, frozen

from aileron_core.backend import Stream
from aileron_core.sessions.frames import (
    MAX_HELLO,
    WINDOW,
    Decoder,
    Frame,
    FrameError,
    decode_hello,
    decode_size,
    encode_count,
)
from aileron_core.sessions.hub import CHUNK
from aileron_core.sessions.undo import as_error

HELLO_SECONDS = 10.0
"""Until a client must have said what it wants."""


@frozen
class Hello:
    """What a connection wants."""

    session: str
    mode: str
    argv: tuple[str, ...] = ()
    cwd: str = ""
    env: Mapping[str, str] = field(factory=dict, repr=False)
    tty: bool = False
    stdin: bool = True
    follow: bool = False
    rows: int = 0
    columns: int = 0

    @classmethod
    def parse(cls, line: bytes) -> Hello:
        """The hello of a first line.

        Raises:
            FrameError: it is not one.
        """
        data = decode_hello(line)
        expected: dict[str, type] = {
            "session": str, "mode": str, "argv": list, "cwd": str, "env": dict, "tty": bool,
            "stdin": bool, "follow": bool, "rows": int, "columns": int,
        }  # fmt: skip
        for name, value in data.items():
            if name not in expected or type(value) is not expected[name]:
                raise FrameError(f"the console does not take {name!r} like this")
        argv = tuple(data.pop("argv", ()))
        env = data.pop("env", {})
        if not all(isinstance(word, str) for word in (*argv, *env, *env.values())):
            raise FrameError("commands and variables are text")
        return cls(**{"session": "", "mode": "", **data}, argv=argv, env=env)


class Gone(Exception):  # noqa: N818 - an event, not a fault
    """The client has closed its side."""


@define(eq=False)
class Connection:
    """One client: frames in, frames out."""

    stream: trio.abc.Stream
    _decoder: Decoder = field(factory=Decoder)
    _frames: list[tuple[Frame, bytes]] = field(factory=list)
    _sending: trio.Lock = field(factory=trio.Lock)

    async def hello(self) -> Hello:
        """The first line.

        Raises:
            Gone, FrameError, trio.TooSlowError
        """
        line = bytearray()
        with trio.fail_after(HELLO_SECONDS):
            while b"\n" not in line:
                if len(line) > MAX_HELLO:
                    raise FrameError("the first line is too long")
                line += await self._receive()
        head, _, rest = bytes(line).partition(b"\n")
        self._frames.extend(self._decoder.feed(rest))
        return Hello.parse(head)

    async def next(self) -> tuple[Frame, bytes]:
        """The next frame.

        Raises:
            Gone, FrameError
        """
        while not self._frames:
            self._frames.extend(self._decoder.feed(await self._receive()))
        return self._frames.pop(0)

    async def send(self, frame: bytes) -> None:
        """Send one frame; several tasks may.

        Raises:
            Gone
        """
        async with self._sending:
            try:
                await self.stream.send_all(frame)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise Gone from error

    async def _receive(self) -> bytes:
        try:
            data = await self.stream.receive_some(CHUNK)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise Gone from error
        if not data:
            raise Gone
        return bytes(data)


@define(eq=False)
class Input:
    """A client's frames, carried out on a program's stream.

    Standard input goes through a queue with a window, so that a program that reads nothing does not
    keep signals and sizes from it.
    """

    connection: Connection
    stream: Stream
    has_stdin: bool
    _send: trio.MemorySendChannel[bytes | None] = field(init=False)
    _queue: trio.MemoryReceiveChannel[bytes | None] = field(init=False)
    _waiting: int = 0
    _has_ended: bool = False
    """The client has ended its input: what else it sends is dropped."""

    def __attrs_post_init__(self) -> None:
        self._send, self._queue = trio.open_memory_channel[bytes | None](float("inf"))

    async def feed(self) -> None:
        """Give the program its input, and tell the client how much was taken."""
        async for data in self._queue:
            if data is None:
                await self.stream.send_eof()
                return
            await self.stream.send(data)
            self._waiting -= len(data)
            with suppress(Gone):
                await self.connection.send(encode_count(len(data)))

    async def obey(self) -> None:
        """Carry out frames until the client detaches.

        Raises:
            Gone, FrameError
        """
        while True:
            kind, payload = await self.connection.next()
            if kind is Frame.DETACH:
                return
            await self._carry_out(kind, payload)

    async def _carry_out(self, kind: Frame, payload: bytes) -> None:
        if kind is Frame.STDIN:
            self._take(payload)
        elif kind is Frame.EOF:
            if self.has_stdin and not self._has_ended:
                self._has_ended = True
                self._send.send_nowait(None)
        elif kind is Frame.RESIZE:
            await self.stream.resize(*decode_size(payload))
        elif kind is Frame.SIGNAL:
            await self.stream.signal(_signal(payload))
        else:
            raise FrameError(f"a client does not send {kind.name}")

    def _take(self, data: bytes) -> None:
        self._waiting += len(data)
        if self._waiting > WINDOW:
            raise FrameError("more input than the window allows")
        if self.has_stdin and data and not self._has_ended:
            self._send.send_nowait(data)


def _signal(payload: bytes) -> int:
    try:
        return signal.Signals(payload[0] if len(payload) == 1 else 0)
    except ValueError as error:
        raise FrameError("there is no such signal") from error


class flattened:  # noqa: N801 - reads like a function
    """Errors of a nursery's tasks come out of it as themselves: the client's going first."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        if not isinstance(error, BaseExceptionGroup) or error.subgroup(Exception) is None:
            return
        for kind in (Gone, FrameError):
            found = error.subgroup(kind)
            if found is not None:
                raise _leaf(found) from error
        raise as_error(error) from error


def _leaf(group: BaseExceptionGroup[Any]) -> BaseException:
    first = group.exceptions[0]
    return _leaf(first) if isinstance(first, BaseExceptionGroup) else first
