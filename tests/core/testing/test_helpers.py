"""The rest of what plugin authors get."""

from __future__ import annotations

import types
from pathlib import Path

import pytest

import aileron_core.testing
from aileron_core.cli.help_cache import cache_file
from aileron_core.hookspecs import hookimpl
from aileron_core.testing import FakeClock, Runner, hooks_with, session_for


def test_every_name_that_is_offered_is_there() -> None:
    """They are imported when they are used; a wrong name is an AttributeError."""
    for name in aileron_core.testing.__all__:
        assert getattr(aileron_core.testing, name) is not None
    with pytest.raises(AttributeError):
        _ = aileron_core.testing.nothing


def test_the_clock_moves_when_it_is_told() -> None:
    """And never back."""
    clock = FakeClock(10.0)
    assert (clock(), clock.advance(2.5), clock()) == (10.0, 12.5, 12.5)
    with pytest.raises(ValueError, match="back"):
        clock.advance(-1)


def test_plugins_are_named_by_what_they_are() -> None:
    """A module by its last name, an object by its `name` or class, or as the test says."""

    class Thing:
        @hookimpl
        def aileron_modes(self) -> list[object]:
            """None."""
            return []

    named = Thing()
    named.name = "own"  # type: ignore[attr-defined]  # any object may be a plugin
    hooks = hooks_with(types.ModuleType("package.plugin_module"), Thing(), named, given=Thing())
    assert [fact.name for fact in hooks.plugins] == ["given", "own", "plugin_module", "thing"]


def test_a_session_has_harmless_facts() -> None:
    """Each can be given."""
    assert session_for(agent="claude").agent == "claude"
    assert session_for().listeners == {}


def test_the_runner_keeps_to_its_directories(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of the person's own configuration or state is touched."""
    runner = Runner(tmp_path)
    for path in (runner.paths.state, runner.paths.config, runner.paths.runtime, runner.paths.cache):
        assert path.is_relative_to(tmp_path)
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, runner.environment[name])
    assert cache_file() == str(runner.paths.cache / "help.txt")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_file() == str(tmp_path / ".cache/aileron/help.txt")
