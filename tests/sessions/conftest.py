"""Real sessions: one daemon for tests that only launch, a pseudo-terminal to launch from."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from attrs import define, field

pytestmark = pytest.mark.container


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs containers."""
    for item in items:
        if "tests/sessions" in str(item.path):
            item.add_marker(pytest.mark.container)


@define(eq=False)
class Pty:
    """A program on a pseudo-terminal of its own, and this end of it."""

    process: subprocess.Popen[bytes]
    master: int
    seen: bytes = b""
    is_open: bool = True
    _mark: int = field(default=0)

    def read_until(self, text: bytes, seconds: float = 60) -> bytes:
        """What was printed up to ``text`` since the last call."""
        deadline = time.monotonic() + seconds
        while text not in self.seen[self._mark :]:
            left = deadline - time.monotonic()
            assert left > 0, f"no {text!r} in {self.seen!r}"
            if select.select([self.master], [], [], left)[0]:
                try:
                    self.seen += os.read(self.master, 65536)
                except OSError as error:
                    raise AssertionError(f"the terminal ended: {self.seen!r}") from error
        end = self.seen.index(text, self._mark) + len(text)
        found, self._mark = self.seen[self._mark : end], end
        return found

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self.master, keys)

    def resize(self, rows: int, columns: int) -> None:
        """Change the terminal's size."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def mode(self) -> list[Any]:
        """The terminal's settings (termios(3))."""
        return termios.tcgetattr(self.master)

    def hang_up(self) -> None:
        """Close the terminal, as closing its window does."""
        if self.is_open:
            os.close(self.master)
            self.is_open = False

    def wait(self, seconds: float = 60) -> int:
        """The program's exit status; what it prints meanwhile is kept in ``seen``."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"it does not end: {self.seen!r}"
            if self.is_open and select.select([self.master], [], [], 0.05)[0]:
                try:
                    self.seen += os.read(self.master, 65536)
                except OSError:
                    self.process.wait(timeout=seconds)
        return self.process.returncode


@pytest.fixture
def on_terminal() -> Iterator[Callable[..., Pty]]:
    """Call it with a started-by function's arguments: ``on_terminal(aileron, "launch", …)``."""
    started: list[Pty] = []

    def start(aileron: Any, *args: str, rows: int = 24, columns: int = 80) -> Pty:
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        process = aileron.start(
            *args, stdin=slave, stdout=slave, stderr=slave, preexec_fn=_own_terminal
        )
        os.close(slave)
        started.append(Pty(process, master))
        return started[-1]

    yield start
    for one in started:
        one.hang_up()


def _own_terminal() -> None:
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.fixture
def quiet(tiny_image: str) -> tuple[str, ...]:
    """The beginning of a launch in the tiny image."""
    return ("launch", "--quiet", "--image", tiny_image)


@pytest.fixture
def ended(shared_aileron: Any) -> Callable[[str], dict[str, Any]]:
    """Call it with a session: its record, once it has ended."""

    def wait(session: str, seconds: float = 60) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while True:
            found: dict[str, Any] = shared_aileron.json("sessions", "show", session)
            if found["ended"] is not None:
                return found
            assert time.monotonic() < deadline, found
            time.sleep(0.05)

    return wait
