"""A clock that a test moves: for code that takes ``now: Callable[[], float]``.

Timeouts of trio are pytest-trio's ``autojump_clock``; this one is for wall-clock time in records.
"""

from __future__ import annotations

from attrs import define


@define
class FakeClock:
    """Call it for the time; `advance` moves it."""

    now: float = 1_700_000_000.0
    """Seconds since the epoch."""

    def __call__(self) -> float:
        """The time."""
        return self.now

    def advance(self, seconds: float) -> float:
        """Move on, and tell the new time."""
        if seconds < 0:
            raise ValueError("time does not go back")
        self.now += seconds
        return self.now
