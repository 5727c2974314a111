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
from attrs import evolve, frozen

from aileron_core.backend import Exit
from aileron_podman import cgroup

# Seconds for conmon to write the status of a process that has ended, before Podman is asked.
_WRITTEN = 2.0
_POLL = 0.001
# Seconds that an init may take to be ready for signals; an agent without one may never be.
_HEEDED = 1.0


@frozen
class Places:
    """Where conmon and the kernel write about one container's end."""

    exit_file: Path | None
    """None: its directory could not be found."""
    oom_file: str | None
    """Where the kernel counts; None: the container has no memory cgroup of its own."""


def find_places(container: str, conmon: int, pid: int) -> Places:
    """From conmon's arguments and the cgroups of the container's first process."""
    oom_file = cgroup.oom_file(cgroup.read(f"/proc/{pid}/cgroup"), container)
    return Places(_exit_file(container, conmon), oom_file)


def _exit_file(container: str, conmon: int) -> Path | None:
    try:
        arguments = Path(f"/proc/{conmon}/cmdline").read_bytes().split(b"\0")
        directory = os.fsdecode(arguments[arguments.index(b"--exit-dir") + 1])
    except (OSError, ValueError, IndexError):
        return None
    return Path(directory) / container


async def until_gone(pidfd: int) -> None:
    """Until the process has ended; the descriptor stays open."""
    mine = os.dup(pidfd)  # so that closing the caller's meanwhile does not pull it away
    try:
        await trio.lowlevel.wait_readable(mine)
    finally:
        os.close(mine)


def _status(exit_file: Path) -> int | None:
    try:
        text = exit_file.read_text().strip()
    except OSError:
        return None
    return int(text) & 0xFF if text.lstrip("-").isdigit() else None


async def exit_of(pidfd: int, places: Places, ask: Callable[[], Awaitable[Exit]]) -> Exit:
    """How the container with this first process ended; ``ask`` is Podman's slower answer."""
    await until_gone(pidfd)
    # At once: the cgroup goes when Podman cleans up.
    oom = places.oom_file is not None and cgroup.oom_kills(cgroup.read(places.oom_file)) > 0
    if places.exit_file is not None:
        with trio.move_on_after(_WRITTEN):
            while True:
                if (status := _status(places.exit_file)) is not None:
                    return Exit(status, oom)
                await trio.sleep(_POLL)
    return evolve(await ask(), oom=oom)


def heeds(status: str, signum: int) -> bool:
    """Whether a process with this ``/proc/PID/status`` catches, blocks or ignores the signal."""
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    if fields.get("Name", "").startswith("runc:"):
        return False  # it is about to become the container's own first process
    masks = (int(fields.get(name, "0"), 16) for name in ("SigCgt", "SigBlk", "SigIgn"))
    return any(mask >> (signum - 1) & 1 for mask in masks)


async def until_heeded(pid: int, signum: int) -> None:
    """Until the first process of a namespace would not lose the signal, at most `_HEEDED` seconds.

    The kernel drops what such a process neither catches nor blocks (pid_namespaces(7)), and an init
    that has just started does neither yet: a Ctrl-C at that moment would be lost.
    """
    with trio.move_on_after(_HEEDED):
        while True:
            if heeds(cgroup.read(f"/proc/{pid}/status"), signum):
                return
            await trio.sleep(_POLL)


def send(pidfd: int, signum: int) -> None:
    """Signal a process; one that has ended is no error."""
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signum)
