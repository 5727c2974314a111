"""The end of a container's or an exec's process, seen by the kernel rather than asked of Podman.

Podman's own wait returns when conmon has ended, and conmon first runs `podman container cleanup`
(90 ms). The kernel says at once when the process has ended (pidfd_open(2)), and conmon has written
its exit status a moment later.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import trio
from attrs import frozen

from aileron_core.backend import Exit

# Seconds for conmon to write the status of a process that has ended, before Podman is asked.
_WRITTEN = 2.0
_POLL = 0.001


@frozen
class Places:
    """Where conmon writes about one container."""

    exit_file: Path
    oom_file: Path


def find_places(container: str, conmon: int, bundle: str) -> Places | None:
    """From conmon's own arguments; None when they cannot be read."""
    try:
        arguments = Path(f"/proc/{conmon}/cmdline").read_bytes().split(b"\0")
        directory = os.fsdecode(arguments[arguments.index(b"--exit-dir") + 1])
    except (OSError, ValueError, IndexError):
        return None
    return Places(Path(directory) / container, Path(bundle) / "oom")


async def until_gone(pidfd: int) -> None:
    """Until the process has ended; the descriptor stays open."""
    mine = os.dup(pidfd)  # so that closing the caller's meanwhile does not pull it away
    try:
        await trio.lowlevel.wait_readable(mine)
    finally:
        os.close(mine)


def _read(places: Places) -> Exit | None:
    try:
        text = places.exit_file.read_text().strip()
    except OSError:
        return None
    if not text.lstrip("-").isdigit():
        return None
    return Exit(int(text) & 0xFF, places.oom_file.exists())


async def exit_of(pidfd: int, places: Places | None, ask: Callable[[], Awaitable[Exit]]) -> Exit:
    """How the container with this first process ended; ``ask`` is Podman's slower answer."""
    await until_gone(pidfd)
    if places is not None:
        with trio.move_on_after(_WRITTEN):
            while True:
                if (found := _read(places)) is not None:
                    return found
                await trio.sleep(_POLL)
    return await ask()


def send(pidfd: int, signum: int) -> None:
    """Signal a process; one that has ended is no error."""
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signum)
