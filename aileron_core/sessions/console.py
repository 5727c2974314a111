"""The console socket: terminals and pipes of sessions, for the thin command line.

A Unix socket of the user's own (0600, the peer's uid is checked). A connection says in one line
what it wants, then speaks frames (`aileron_core.sessions.frames`).
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol

import structlog
import trio
from attrs import define

from aileron_core.backend import Command, Stream
from aileron_core.daemon.context import Sessions
from aileron_core.daemon.serve import is_own
from aileron_core.errors import EXIT_UNAVAILABLE, EXIT_USAGE, AileronError, ErrorCode
from aileron_core.paths import Paths
from aileron_core.sessions.connection import (
    HELLO_SECONDS,
    Connection,
    Gone,
    Hello,
    Input,
    flattened,
)
from aileron_core.sessions.frames import Frame, FrameError, encode, encode_json
from aileron_core.sessions.hub import CHUNK, Client
from aileron_core.sessions.log import LogReader
from aileron_core.sessions.outcome import Ending
from aileron_core.sessions.run import Run

CONSOLE_REQUEST = ErrorCode(
    "console-request", EXIT_USAGE, "A console was asked for in a wrong way."
)
SESSION_NOT_RUNNING = ErrorCode(
    "session-not-running", EXIT_UNAVAILABLE, "The session does not run, so nothing can be attached."
)

CONNECTIONS = 512
"""Consoles at the same time."""
GONE_GRACE = 10.0
"""Seconds between SIGHUP and the end for an agent whose terminal is gone."""

log = structlog.get_logger("aileron.console")


class Engine(Sessions, Protocol):
    """The sessions, as the console needs them."""

    def running(self, reference: str) -> Run | None:
        """The session in flight with this id or name."""


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
            with flattened():
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
