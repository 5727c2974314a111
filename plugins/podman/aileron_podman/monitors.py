"""Podman's monitors of exec sessions, which outlive them by five minutes.

conmon waits that long (``--exit-delay 300``) before it tells Podman of an exec's end, for clients
that might still ask, also when the container itself is gone. Nobody asks then.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def monitors_of(container: str, processes: Path = Path("/proc")) -> Iterator[int]:
    """Process ids of the monitors of a container (by its full id) and of its exec sessions."""
    for entry in processes.iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError):
            argv = (entry / "cmdline").read_bytes().split(b"\0")
            if os.path.basename(argv[0]) == b"conmon" and _container(argv) == container.encode():
                yield int(entry.name)


def _container(argv: list[bytes]) -> bytes:
    """The value of ``-c`` (conmon(8))."""
    return argv[argv.index(b"-c") + 1] if b"-c" in argv[:-1] else b""


def end_monitors(container: str) -> None:
    """End what still monitors a container that was removed."""
    for pid in monitors_of(container):
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)
