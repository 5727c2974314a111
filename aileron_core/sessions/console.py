"""The console socket: terminals and pipes of sessions, for the thin command line.

A Unix socket of the user's own (0600, the peer's uid is checked). A connection says in one line
what it wants, then speaks frames (`aileron_core.sessions.frames`).
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Protocol

import structlog
import trio
from attrs import define, field, frozen

from aileron_core.backend import Command, Stream
from aileron_core.daemon.context import Sessions
from aileron_core.daemon.serve import is_own
from aileron_core.errors import EXIT_UNAVAILABLE, EXIT_USAGE, AileronError, ErrorCode
from aileron_core.paths import Paths
from aileron_core.sessions.frames import (
    MAX_HELLO,
    WINDOW,
    Decoder,
    Frame,
    FrameError,
    decode_hello,
    decode_size,
    encode,
    encode_count,
    encode_json,
)
from aileron_core.sessions.hub import CHUNK, Client
from aileron_core.sessions.log import LogReader
from aileron_core.sessions.run import Ending, Run
from aileron_core.sessions.undo import as_error

CONSOLE_REQUEST = ErrorCode(
    "console-request", EXIT_USAGE, "A console was asked for in a wrong way."
)
SESSION_NOT_RUNNING = ErrorCode(
    "session-not-running", EXIT_UNAVAILABLE, "The session does not run, so nothing can be attached."
)

HELLO_SECONDS = 10.0
CONNECTIONS = 512
"""Consoles at the same time."""
GONE_GRACE = 10.0
"""Seconds between SIGHUP and the end for an agent whose terminal is gone."""

log = structlog.get_logger("aileron.console")


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


class Engine(Sessions, Protocol):
    """The sessions, as the console needs them."""

    def running(self, reference: str) -> Run | None:
        """The session in flight with this id or name."""


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
            if self.has_stdin:
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
        if self.has_stdin and data:
            self._send.send_nowait(data)


def _signal(payload: bytes) -> int:
    try:
        return signal.Signals(payload[0] if len(payload) == 1 else 0)
    except ValueError as error:
        raise FrameError("there is no such signal") from error


@define(eq=False)
class Console:
    """The console of an engine's sessions."""

    engine: Engine
    paths: Paths
    _open: int = 0

    async def serve(
        self,
        listener: socket.socket,
        *,
        task_status: trio.TaskStatus[object] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Answer on a bound Unix socket until cancelled."""
        accepting = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
        await trio.serve_listeners(self._admit, [accepting], task_status=task_status)

    async def _admit(self, stream: trio.SocketStream) -> None:
        async with stream:
            if self._open >= CONNECTIONS or not is_own(stream):
                return
            self._open += 1
            try:
                await self.converse(stream)
            except Exception as error:  # noqa: BLE001 - one client's trouble is not the others'
                log.error("a console failed", error=repr(error))
            finally:
                self._open -= 1

    async def converse(self, stream: trio.abc.Stream) -> None:
        """One client from its hello to its end."""
        connection = Connection(stream)
        try:
            with _flat():
                await self._answer(connection, await connection.hello())
        except (Gone, trio.TooSlowError):
            return
        except FrameError as error:
            await _fail(connection, CONSOLE_REQUEST(str(error)))
        except AileronError as error:
            await _fail(connection, error)

    async def _answer(self, connection: Connection, hello: Hello) -> None:
        modes: dict[str, Callable[[Connection, Hello], Awaitable[None]]] = {
            "run": self._run,
            "attach": self._attach,
            "exec": self._exec,
            "logs": self._logs,
        }
        if hello.mode not in modes:
            raise FrameError(f"there is no mode {hello.mode!r}: {', '.join(modes)}")
        await modes[hello.mode](connection, hello)

    async def _find(self, reference: str) -> Run:
        """The session in flight; by id, name, or the beginning of an id."""
        summary = await self.engine.find(reference)
        run = self.engine.running(summary.id)
        if run is None:
            raise SESSION_NOT_RUNNING(
                f"the session {summary.id} has ended",
                why=summary.reason,
                hints=[f"aileron sessions logs {summary.id}"],
            )
        return run

    # --- the modes ----------------------------------------------------------------------------

    async def _run(self, connection: Connection, hello: Hello) -> None:
        """Start a session that was made, and be its terminal."""
        run = await self._find(hello.session)
        client = run.hub.attach(is_foreground=True)
        if not run.start(hello.rows, hello.columns):
            run.hub.detach(client)
            raise CONSOLE_REQUEST(
                f"the session {run.summary.id} was started already",
                hints=[f"aileron sessions attach {run.summary.id}"],
            )
        try:
            await self._relay(connection, run, client, hello)
        except BaseException:
            self._terminal_gone(run)
            raise

    def _terminal_gone(self, run: Run) -> None:
        run.end(Ending("the terminal was closed", signum=signal.SIGHUP, grace=GONE_GRACE))

    async def _attach(self, connection: Connection, hello: Hello) -> None:
        """Be one more terminal of a running session, or its only one."""
        run = await self._find(hello.session)
        client = run.hub.attach(is_foreground=True)
        if run.stream is not None and run.plan.tty and hello.rows > 1:
            # A change of size makes full-screen programs paint everything anew.
            await run.stream.resize(hello.rows - 1, hello.columns)
            await run.stream.resize(hello.rows, hello.columns)
        await self._relay(connection, run, client, hello)

    async def _relay(self, connection: Connection, run: Run, client: Client, hello: Hello) -> None:
        """Output to the client, its input to the agent, until the session ends or it detaches."""
        ready = {"session": run.summary.id, "name": run.summary.name, "tty": run.plan.tty}
        try:
            await connection.send(encode_json(Frame.READY, ready))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_send_all, connection, client, nursery.cancel_scope)
                await run.started()
                if run.stream is None:  # failed: what it has to say is on its way
                    await trio.sleep_forever()
                    return
                given = Input(connection, run.stream, hello.stdin and client.is_foreground)
                nursery.start_soon(given.feed)
                await given.obey()
                nursery.cancel_scope.cancel()
        finally:
            run.hub.detach(client)

    async def _exec(self, connection: Connection, hello: Hello) -> None:
        """Start another program in a running sandbox, and be its terminal."""
        run = await self._find(hello.session)
        if not run.is_running or run.sandbox is None or run.backend is None or run.spec is None:
            raise SESSION_NOT_RUNNING(f"the session {run.summary.id} does not run yet")
        if not hello.argv:
            raise CONSOLE_REQUEST("no command was given")
        command = Command(
            hello.argv,
            hello.cwd or run.plan.cwd,
            {**run.spec.env, **hello.env},
            hello.tty,
            hello.stdin,
            hello.rows,
            hello.columns,
        )
        stream = await run.backend.open(run.sandbox, command)
        try:
            await connection.send(encode_json(Frame.READY, {"session": run.summary.id}))
            await self._converse_with(connection, stream, hello)
        finally:
            with trio.move_on_after(5, shield=True):
                await stream.signal(signal.SIGKILL)  # nothing when it has ended
                await stream.aclose()

    async def _converse_with(self, connection: Connection, stream: Stream, hello: Hello) -> None:
        given = Input(connection, stream, hello.stdin)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(given.feed)
            nursery.start_soon(_leave_when_done, given.obey, nursery.cancel_scope)
            while (output := await stream.receive()) is not None:
                channel, data = output
                kind = Frame.STDERR if channel == 2 else Frame.STDOUT
                for at in range(0, len(data), CHUNK):
                    await connection.send(encode(kind, data[at : at + CHUNK]))
            how = await stream.wait()
            reason = "out of memory" if how.oom else "exited"
            await connection.send(encode_json(Frame.EXIT, {"status": how.status, "reason": reason}))
            nursery.cancel_scope.cancel()

    async def _logs(self, connection: Connection, hello: Hello) -> None:
        """What a session has printed; with ``follow`` what it prints from now on too."""
        summary = await self.engine.find(hello.session)
        reader = LogReader(self.paths.session_state(summary.id))
        try:
            await connection.send(encode_json(Frame.READY, {"session": summary.id}))
            await _send_log(connection, reader, self._follow(summary.id) if hello.follow else None)
            await connection.send(
                encode_json(Frame.EXIT, {"status": 0, "reason": "end of the log"})
            )
        finally:
            reader.close()

    def _follow(self, session: str) -> Callable[[], trio.Event | None]:
        def grown() -> trio.Event | None:
            run = self.engine.running(session)
            return None if run is None or run.hub.last is not None else run.hub.grown

        return grown


async def _send_log(
    connection: Connection, reader: LogReader, grown: Callable[[], trio.Event | None] | None
) -> None:
    while True:
        # Taken before looking: what is printed meanwhile sets this very event.
        event = grown() if grown is not None else None
        while (frame := await trio.to_thread.run_sync(reader.next)) is not None:
            await connection.send(frame)
        if event is None:
            return
        await _wait_or_gone(connection, event)


async def _wait_or_gone(connection: Connection, event: trio.Event) -> None:
    """Until ``event``; a client that goes away meanwhile raises `Gone`."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.next)
        await event.wait()
        nursery.cancel_scope.cancel()


async def _send_all(connection: Connection, client: Client, scope: trio.CancelScope) -> None:
    """Everything that the client is to see, then its last frame; then end the conversation."""
    with suppress(trio.ClosedResourceError):  # the hub has left this client behind
        async for frame in client.frames:
            await connection.send(frame)
    if client.last:
        await connection.send(client.last)
    else:
        notice = "this window took nothing for too long and was detached"
        await connection.send(encode(Frame.NOTICE, notice.encode()))
    scope.cancel()


async def _leave_when_done(work: Callable[[], Awaitable[None]], scope: trio.CancelScope) -> None:
    await work()
    scope.cancel()


async def _fail(connection: Connection, error: AileronError) -> None:
    detail = {**error.to_dict(), "exit_status": error.exit_status}
    with suppress(Gone), trio.move_on_after(HELLO_SECONDS):
        await connection.send(encode_json(Frame.ERROR, detail))


class _flat:  # noqa: N801 - reads like a function
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
