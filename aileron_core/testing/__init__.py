"""For tests of plugins, and of Aileron itself: hooks without plugins, a fake backend, a runner.

Names are imported when they are used, so that a test of a command does not import trio.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aileron_core.testing.backend import (
        IMAGE,
        FakeBackend,
        FakeWorld,
        aileron_error,
        fake_factory,
    )
    from aileron_core.testing.clock import FakeClock
    from aileron_core.testing.plugins import hooks_with, session_for
    from aileron_core.testing.programs import FakeProcess, FakeStream
    from aileron_core.testing.runner import Result, Runner

__all__ = [
    "IMAGE",
    "FakeBackend",
    "FakeClock",
    "FakeProcess",
    "FakeStream",
    "FakeWorld",
    "Result",
    "Runner",
    "aileron_error",
    "fake_factory",
    "hooks_with",
    "session_for",
]

_WHERE = {
    "IMAGE": "backend",
    "FakeBackend": "backend",
    "FakeWorld": "backend",
    "aileron_error": "backend",
    "fake_factory": "backend",
    "FakeClock": "clock",
    "hooks_with": "plugins",
    "session_for": "plugins",
    "FakeProcess": "programs",
    "FakeStream": "programs",
    "Result": "runner",
    "Runner": "runner",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
