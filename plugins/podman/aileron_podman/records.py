"""What the backend remembers of a container that it created."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

import trio
from attrs import define, field

from aileron_core.backend import Exit
from aileron_podman.watch import Places


@define(eq=False)
class Known:
    """A container of this kernel whose first process exists, or has existed."""

    id: str
    session: str
    pid: int
    pidfd: int
    """Of the first process; a number alone could come to mean another process."""
    tty: bool
    stdin: bool
    places: Places
    size: tuple[int, int] = (0, 0)
    """Rows and columns that its terminal gets before it starts."""
    has_execs: bool = False
    """Another program was started in it, and so a monitor of its own."""
    started: bool = False
    ended: Exit | None = None
    waiting: trio.Lock = field(factory=trio.Lock)

    def alive(self) -> bool:
        """Whether its first process has not ended."""
        try:
            # The null signal: an error check only (kill(2)).
            signal.pidfd_send_signal(self.pidfd, 0)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Let go of the descriptor."""
        with suppress(OSError):
            os.close(self.pidfd)
        self.pidfd = -1
