"""The foreground of a session: this process's terminal or pipes, joined to the daemon's console.

As ``podman run``: raw mode and sizes with a terminal, signals passed on without one, pipes exact
with half close, the terminal restored whatever happens. One loop over `select.poll`, no threads:
nothing here may block while a signal waits.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import socket
import termios
import tty
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from aileron_core.client import DAEMON_ABSENT, DAEMON_LOST
from aileron_core.errors import AileronError
from aileron_core.sessions.frames import (
    WINDOW,
    Decoder,
    Frame,
    FrameError,
    decode_count,
    encode,
    encode_hello,
    encode_size,
)
from aileron_launch.tty import terminal_size

PASSED = tuple(
    signal.Signals[name]
    for name in ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGALRM")
)
"""Signals that go to the agent when there is no terminal to turn keys into them."""
DETACH_KEYS = b"\x10\x11"  # ctrl-p ctrl-q, as podman and docker have them
_PIECE = 4096  # PIPE_BUF: a pipe that polls writable takes this much without blocking (pipe(7))
_BUFFER = 1 << 18
_READ = select.POLLIN | select.POLLHUP | select.POLLERR | select.POLLNVAL


@frozen
class Outcome:
    """How a console ended."""

    status: int
    reason: str = ""
    is_detached: bool = False
    """The person pressed the detach keys; the session goes on."""


@define(eq=False)
class DetachKeys:
    """Finds the detach keys in what is typed; everything else passes."""

    _held: int = 0

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """What to pass on, and whether the keys were pressed."""
        passed = bytearray()
        for byte in data:
            if byte == DETACH_KEYS[self._held]:
                self._held += 1
                if self._held == len(DETACH_KEYS):
                    return bytes(passed), True
                continue
            passed += DETACH_KEYS[: self._held]
            self._held = 1 if byte == DETACH_KEYS[0] else 0
            if not self._held:
                passed.append(byte)
        return bytes(passed), False


@define(eq=False)
class Sink:
    """Output that waits until its descriptor takes it."""

    fd: int
    _pending: bytearray = field(factory=bytearray)
    is_broken: bool = False

    @property
    def size(self) -> int:
        """Bytes that wait."""
        return len(self._pending)

    def add(self, data: bytes) -> None:
        """Queue output; nobody reads a broken one."""
        if not self.is_broken:
            self._pending += data

    def flush(self) -> None:
        """Write one piece; call it when the descriptor polls writable."""
        try:
            written = os.write(self.fd, self._pending[:_PIECE])
        except BlockingIOError:
            return
        except OSError:
            self.is_broken = True
            self._pending.clear()
            return
        del self._pending[:written]


def fill_standard_descriptors() -> None:
    """Open /dev/null where one of the standard three is closed, so that no socket becomes it."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)


@contextlib.contextmanager
def raw_terminal(fd: int) -> Iterator[None]:
    """Keys arrive as they are pressed; the terminal is as before afterwards."""
    before = termios.tcgetattr(fd)
    tty.setraw(fd, termios.TCSADRAIN)  # not flushed: what is typed ahead is the agent's
    try:
        yield
    finally:
        with contextlib.suppress(termios.error):  # it may be gone
            termios.tcsetattr(fd, termios.TCSADRAIN, before)


@contextlib.contextmanager
def caught_signals(signals: tuple[signal.Signals, ...]) -> Iterator[int]:
    """A descriptor on which these signals arrive as bytes, instead of ending the process."""
    reader, writer = os.pipe()
    for fd in (reader, writer):
        os.set_blocking(fd, False)
    before = {one: signal.signal(one, _noted) for one in signals}
    wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(wakeup)
        for one, handler in before.items():
            signal.signal(one, handler)
        os.close(reader)
        os.close(writer)


def _noted(number: int, frame: object) -> None:
    """The number is in the pipe already (`signal.set_wakeup_fd`)."""


def open_console(path: Path, hello: Mapping[str, Any]) -> socket.socket:
    """A connection to the console that has said what it wants.

    Raises:
        AileronError: ``daemon-absent``.
    """
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(str(path))
        connection.sendall(encode_hello(hello))
    except OSError as error:
        connection.close()
        raise DAEMON_ABSENT(
            "no daemon is running", why=f"{path}: {error.strerror}", hints=["aileron daemon start"]
        ) from error
    connection.setblocking(False)
    return connection


def attach(
    path: Path,
    hello: Mapping[str, Any],
    *,
    notice: Callable[[str], None],
    has_terminal: bool,
    has_stdin: bool = True,
) -> Outcome:
    """Be the terminal of what ``hello`` asks for, until it ends.

    Args:
        path: the daemon's console socket.
        hello: see `aileron_core.sessions.console`.
        notice: told lines from the daemon, for the person.
        has_terminal: keys are passed raw and sizes follow; else signals are passed.
        has_stdin: standard input is read.

    Raises:
        AileronError: what the daemon reports, ``daemon-absent``, ``daemon-lost``.
    """
    fill_standard_descriptors()
    signals = (*PASSED, signal.SIGWINCH) if not has_terminal else _TERMINAL_SIGNALS
    with contextlib.ExitStack() as stack:
        reader = stack.enter_context(caught_signals(signals))
        connection = stack.enter_context(contextlib.closing(open_console(path, hello)))
        if has_terminal and has_stdin:
            stack.enter_context(raw_terminal(0))
        loop = _Loop(connection, reader, notice, has_terminal, has_stdin)
        return loop.run()


_TERMINAL_SIGNALS = (signal.SIGWINCH, signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)


@define(eq=False)
class _Loop:
    """The state of one attached console."""

    connection: socket.socket
    signals: int
    notice: Callable[[str], None]
    has_terminal: bool
    reads_stdin: bool
    outcome: Outcome | None = None
    _window: int = WINDOW
    _to_daemon: bytearray = field(factory=bytearray)
    _decoder: Decoder = field(factory=Decoder)
    _stdout: Sink = field(factory=lambda: Sink(1))
    _stderr: Sink = field(factory=lambda: Sink(2))
    _keys: DetachKeys = field(factory=DetachKeys)

    def run(self) -> Outcome:
        """Until there is an outcome and all output is written."""
        while self.outcome is None or self._stdout.size or self._stderr.size:
            for fd, event in self._poll():
                self._handle(fd, event)
            if self._stdout.is_broken:
                # As a program whose reader is gone: ended by SIGPIPE.
                return Outcome(128 + signal.SIGPIPE, "its output was closed")
        return self.outcome

    def _poll(self) -> list[tuple[int, int]]:
        poll = select.poll()
        poll.register(self.signals, select.POLLIN)
        events = select.POLLOUT if self._to_daemon else 0
        if self.outcome is None and self._stdout.size + self._stderr.size < _BUFFER:
            events |= select.POLLIN
        if events:
            poll.register(self.connection, events)
        if self.reads_stdin and self.outcome is None and self._window > 0:
            poll.register(0, select.POLLIN)
        for sink in (self._stdout, self._stderr):
            if sink.size:
                poll.register(sink.fd, select.POLLOUT)
        return poll.poll()

    def _handle(self, fd: int, event: int) -> None:
        if fd == self.signals:
            self._take_signals()
        elif fd == self.connection.fileno():
            self._exchange(event)
        elif fd == 0 and event & _READ and not event & select.POLLOUT:
            self._take_input()
        else:
            (self._stdout if fd == self._stdout.fd else self._stderr).flush()

    # --- from this side -----------------------------------------------------------------------

    def _take_signals(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for number in os.read(self.signals, 256):
                self._signal(signal.Signals(number))

    def _signal(self, number: signal.Signals) -> None:
        if number is signal.SIGWINCH:
            if self.has_terminal:
                self._send(encode_size(*terminal_size()))
        elif self.has_terminal:
            # Keys make signals inside; one from outside is meant for this very process.
            self.outcome = Outcome(128 + number, f"{number.name} ended the command")
        else:
            self._send(encode(Frame.SIGNAL, bytes([number])))

    def _take_input(self) -> None:
        try:
            data = os.read(0, min(self._window, 1 << 16))
        except BlockingIOError:
            return
        except OSError as error:
            if self.has_terminal and error.errno == errno.EIO:  # the terminal is gone
                self.outcome = Outcome(128 + signal.SIGHUP, "the terminal was closed")
            data = b""
        if not data:
            self.reads_stdin = False
            self._send(encode(Frame.EOF))
            return
        self._pass_on(data)

    def _pass_on(self, data: bytes) -> None:
        is_detach = False
        if self.has_terminal:
            data, is_detach = self._keys.feed(data)
        if data:
            self._window -= len(data)
            self._send(encode(Frame.STDIN, data))
        if is_detach:
            self._send(encode(Frame.DETACH))
            self.outcome = Outcome(0, "detached", is_detached=True)
            self._drain()

    def _send(self, frame: bytes) -> None:
        self._to_daemon += frame

    def _drain(self) -> None:
        """The last frames must reach the daemon before the connection closes."""
        self.connection.setblocking(True)
        with contextlib.suppress(OSError):
            self.connection.sendall(self._to_daemon)
        self._to_daemon.clear()

    # --- from the daemon ----------------------------------------------------------------------

    def _exchange(self, event: int) -> None:
        try:
            if event & select.POLLOUT and self._to_daemon:
                del self._to_daemon[: self.connection.send(self._to_daemon[: 1 << 16])]
            if event & _READ and self.outcome is None:
                self._receive(self.connection.recv(1 << 16))
        except BlockingIOError:
            return
        except FrameError as error:
            raise _lost(str(error)) from error
        except OSError as error:
            raise _lost(error.strerror or str(error)) from error

    def _receive(self, data: bytes) -> None:
        if not data:
            raise _lost("it closed the connection")
        for kind, payload in self._decoder.feed(data):
            self._take_frame(kind, payload)

    def _take_frame(self, kind: Frame, payload: bytes) -> None:
        if kind is Frame.STDOUT:
            self._stdout.add(payload)
        elif kind is Frame.STDERR:
            self._stderr.add(payload)
        elif kind is Frame.TAKEN:
            self._window += decode_count(payload)
        elif kind is Frame.NOTICE:
            self.notice(payload.decode(errors="replace"))
        elif kind is Frame.EXIT:
            data = json.loads(payload)
            self.outcome = Outcome(_status(data.get("status")), str(data.get("reason", "")))
        elif kind is Frame.ERROR:
            data = json.loads(payload)
            raise AileronError.from_dict(data)


def _status(given: object) -> int:
    return given & 0xFF if isinstance(given, int) else 1


def _lost(why: str) -> AileronError:
    return DAEMON_LOST(
        "the daemon went away while the session ran",
        why=f"{why}; the sandbox ends with it or when the next daemon starts",
        hints=["aileron sessions list --all", "aileron daemon logs"],
    )
