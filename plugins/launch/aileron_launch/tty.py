"""Is there a terminal, and how big is it. Asked before anything heavier is imported."""

from __future__ import annotations

import contextlib
import os


def is_terminal() -> bool:
    """Standard input and output are a terminal: the agent gets one."""
    return _isatty(0) and _isatty(1)


def _isatty(fd: int) -> bool:
    try:
        return os.isatty(fd)
    except OSError:
        return False


def terminal_size() -> tuple[int, int]:
    """Rows and columns of the terminal; zeros when there is none."""
    for fd in (0, 1, 2):
        with contextlib.suppress(OSError):
            size = os.get_terminal_size(fd)
            return size.lines, size.columns
    return 0, 0
