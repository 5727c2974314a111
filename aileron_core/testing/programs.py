"""Programs that a fake sandbox can run: async functions of a `FakeProcess` that return a status.

A program is cancelled when its process is killed, so it may loop forever. Its exceptions are its
own fault: the process ends with status 70 and `FakeProcess.failure` tells why.
"""

from __future__ import annotations

import signal as signals
from collections.abc import Awaitable, Callable, Mapping

import trio
from attrs import define, field

from aileron_core.backend import Exit

Program = Callable[["FakeProcess"], Awaitable[int]]

_OUTPUT_CHUNKS = 256  # chunks that nobody has read before a writing program waits
_NOT_FOUND = 127  # as sh(1)
_FAULT = 70  # EX_SOFTWARE


@define(eq=False)
class FakeProcess:
    """A process of a fake sandbox, as its program sees it."""

    argv: tuple[str, ...]
    cwd: str
    env: Mapping[str, str]
    tty: bool = False
    rows: int = 0
    columns: int = 0
    failure: BaseException | None = None
    exit: Exit | None = None
    """How it ended; None while it runs."""
    signals: list[int] = field(factory=list)
    """Every signal that it got, in order."""
    trapped: set[int] = field(factory=set)
    """Signals that do not end it; the program looks for them in `next_signal`."""
    _scope: trio.CancelScope = field(factory=trio.CancelScope)
    _killed: Exit | None = None
    _ended: trio.Event = field(factory=trio.Event)
    _output: tuple[
        trio.MemorySendChannel[tuple[int, bytes]], trio.MemoryReceiveChannel[tuple[int, bytes]]
    ] = field(factory=lambda: trio.open_memory_channel[tuple[int, bytes]](_OUTPUT_CHUNKS))
    _input: tuple[trio.MemorySendChannel[bytes], trio.MemoryReceiveChannel[bytes]] = field(
        factory=lambda: trio.open_memory_channel[bytes](_OUTPUT_CHUNKS)
    )
    _caught: tuple[trio.MemorySendChannel[int], trio.MemoryReceiveChannel[int]] = field(
        factory=lambda: trio.open_memory_channel[int](64)
    )

    async def read(self) -> bytes:
        """The next of its standard input; b"" at the end."""
        try:
            return await self._input[1].receive()
        except trio.EndOfChannel:
            return b""

    async def write(self, data: bytes | str, channel: int = 1) -> None:
        """Write to stdout (1) or stderr (2); waits while nobody reads, drops after a hang-up."""
        encoded = data.encode() if isinstance(data, str) else data
        try:
            await self._output[0].send((1 if self.tty else channel, encoded))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await trio.lowlevel.checkpoint()

    async def next_signal(self) -> int:
        """The next trapped signal."""
        return await self._caught[1].receive()

    def deliver(self, signum: int) -> None:
        """Send it a signal; unless trapped, the signal ends it (but SIGCHLD, SIGCONT, SIGWINCH)."""
        if self.exit is not None:
            return
        self.signals.append(signum)
        if signum in self.trapped and signum != signals.SIGKILL:
            self._caught[0].send_nowait(signum)
        elif signum not in (signals.SIGCHLD, signals.SIGCONT, signals.SIGWINCH):
            self.kill(Exit(128 + signum))

    def kill(self, how: Exit) -> None:
        """End it now, from outside."""
        if self._killed is None:
            self._killed = how
            self._scope.cancel()

    async def wait(self) -> Exit:
        """Until it has ended."""
        await self._ended.wait()
        assert self.exit is not None
        return self.exit

    async def run(self, program: Program) -> None:
        """Run the program to its end; raises nothing, for it runs as a system task."""
        status = _FAULT
        with self._scope:
            try:
                status = await program(self)
            except Exception as error:  # noqa: BLE001 - kept for the test that looks
                self.failure = error
        self.exit = self._killed if self._scope.cancelled_caught and self._killed else Exit(status)
        self._output[0].close()
        self._input[1].close()
        self._ended.set()


@define(eq=False)
class FakeStream:
    """The `Stream` of a fake process."""

    process: FakeProcess

    async def receive(self) -> tuple[int, bytes] | None:
        """See `Stream.receive`."""
        try:
            return await self.process._output[1].receive()
        except trio.EndOfChannel:
            return None

    async def send(self, data: bytes) -> None:
        """See `Stream.send`."""
        try:
            await self.process._input[0].send(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await trio.lowlevel.checkpoint()

    async def send_eof(self) -> None:
        """See `Stream.send_eof`."""
        await self.process._input[0].aclose()

    async def resize(self, rows: int, columns: int) -> None:
        """See `Stream.resize`."""
        await trio.lowlevel.checkpoint()
        self.process.rows, self.process.columns = rows, columns
        self.process.deliver(signals.SIGWINCH)

    async def signal(self, signum: int) -> None:
        """See `Stream.signal`."""
        await trio.lowlevel.checkpoint()
        self.process.deliver(signum)

    async def wait(self) -> Exit:
        """See `Stream.wait`."""
        return await self.process.wait()

    async def aclose(self) -> None:
        """See `Stream.aclose`."""
        await self.process._output[1].aclose()


# --- the programs every fake sandbox has --------------------------------------------------------


async def true(process: FakeProcess) -> int:
    """``true``, and anything else that does nothing."""
    await trio.lowlevel.checkpoint()
    return 0


async def false(process: FakeProcess) -> int:
    """``false``."""
    await trio.lowlevel.checkpoint()
    return 1


async def echo(process: FakeProcess) -> int:
    """``echo WORDS``."""
    await process.write(" ".join(process.argv[1:]) + "\n")
    return 0


async def cat(process: FakeProcess) -> int:
    """``cat``: its input is its output."""
    while data := await process.read():
        await process.write(data)
    return 0


async def env(process: FakeProcess) -> int:
    """``env``: the environment, sorted."""
    for name in sorted(process.env):
        await process.write(f"{name}={process.env[name]}\n")
    return 0


async def sleep(process: FakeProcess) -> int:
    """``sleep SECONDS|infinity``, by trio's clock."""
    await trio.sleep(float(process.argv[1]))
    return 0


async def exit_with(process: FakeProcess) -> int:
    """``exit STATUS``."""
    await trio.lowlevel.checkpoint()
    return int(process.argv[1])


async def not_found(process: FakeProcess) -> int:
    """Any program that is not there."""
    await process.write(f"{process.argv[0]}: not found\n", channel=2)
    return _NOT_FOUND


PROGRAMS: Mapping[str, Program] = {
    "true": true,
    "false": false,
    "echo": echo,
    "cat": cat,
    "env": env,
    "sleep": sleep,
    "exit": exit_with,
    "sh": cat,
}
