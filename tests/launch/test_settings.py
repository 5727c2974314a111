"""What a project's own file may do with ``[launch]`` before it is trusted."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import fields

from aileron_core.config import setting_of
from aileron_launch.settings import BaseImage, Settings

TIGHTER = [
    ("memory", "4g", "1g", True),
    ("memory", "4g", "8g", False),
    ("memory", None, "8g", True),
    ("memory", "4g", None, False),
    ("memory", "4g", "nonsense", False),
    ("timeout", None, "1h", True),
    ("timeout", "1h", "90m", False),
    ("timeout", "1h", "nonsense", False),
    ("pids", 100, 100, True),
    ("pids", 100, 101, False),
    ("cpus", None, 1.5, True),
    ("files", 10, None, False),
    ("workspace", "rw", "overlay", True),
    ("workspace", "overlay", "ro", True),
    ("workspace", "ro", "rw", False),
    ("workspace", "overlay", "rw", False),
    ("state", "kept", "session", True),
    ("state", "session", "kept", False),
    ("protected", (), ("x",), True),
]


@pytest.mark.parametrize(("name", "now", "wanted", "expected"), TIGHTER)
def test_tighter(name: str, now: Any, wanted: Any, expected: bool) -> None:
    """A value counts when it is at least as strict as the one so far, and can be read."""
    known = setting_of(getattr(fields(Settings), name))
    assert known.tighter is not None
    assert known.tighter(now, wanted) is expected


def test_all_else_is_the_persons() -> None:
    """Images, mounts, variables, the backend and what is taken off a list are never a project's."""
    free = {item.name for item in fields(Settings) if setting_of(item).project != "never"}
    assert free == {name for name, *_ in TIGHTER} | {"protected_if_present"}
    assert all(setting_of(item).project == "never" for item in fields(BaseImage))


def test_every_setting_is_described() -> None:
    """Each has a sentence for the page."""
    for item in (*fields(Settings), *fields(BaseImage)):
        assert setting_of(item).doc.endswith("."), item.name
