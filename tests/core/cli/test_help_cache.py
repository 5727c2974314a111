"""The remembered help text, and the shortest ways through the program."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from aileron_core import __version__
from aileron_core.__main__ import main
from aileron_core.cli.help_cache import cache_file, recall, remember


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without anything, in which the test is."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in list(os.environ):
        if name.startswith(("XDG_", "AILERON_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def aileron(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Calls the entry point."""

    def aileron(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["aileron", *arguments])
        return main()

    return aileron


def test_what_was_remembered_is_recalled(home: Path) -> None:
    """Word for word."""
    remember("Usage:\n\n  text\n", [str(home / "config.toml")])
    assert recall() == "Usage:\n\n  text\n"


def test_nothing_is_recalled_before(home: Path) -> None:
    """There is no file."""
    assert recall() is None


def test_a_file_that_appears_or_changes_ends_it(home: Path) -> None:
    """Its time and size are kept, or that it is not there."""
    file = home / "config.toml"
    remember("text", [str(file)])
    file.write_text("x")
    assert recall() is None
    remember("text", [str(file)])
    assert recall() == "text"
    os.utime(file, ns=(1, 1))
    assert recall() is None


def test_another_width_is_another_text(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines are wrapped for the terminal."""
    remember("text", [])
    monkeypatch.setenv("COLUMNS", "40")
    assert recall() is None


def test_variables_and_project_files_are_never_guessed_about(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With them the text is made anew, and not kept."""
    remember("text", [])
    (home / ".aileron.toml").touch()
    assert recall() is None
    remember("other", [])
    (home / ".aileron.toml").unlink()
    assert recall() == "text"
    monkeypatch.setenv("AILERON_PLUGINS_DISABLE", "proxy")
    assert cache_file() is None
    assert recall() is None
    remember("other", [])


@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"aileron-help 1\n\nevil", b"\n\n", b"x y\nz\n\n"]
)
def test_an_odd_file_is_ignored(home: Path, content: bytes) -> None:
    """Cut off, not text, of another version."""
    remember("text", [])
    file = cache_file()
    assert file is not None
    Path(file).write_bytes(content)
    assert recall() is None


def test_a_place_that_cannot_be_written_is_no_error(home: Path) -> None:
    """The text is made anew each time."""
    (home / ".cache").write_text("")
    remember("text", [])
    assert recall() is None


def test_the_version(aileron: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    """One line, status 0."""
    assert aileron("--version") == 0
    assert capsys.readouterr().out == f"aileron {__version__}\n"


def test_help_is_the_same_made_or_remembered(
    home: Path, aileron: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody can tell which it was."""
    assert aileron("--help") == 0
    made = capsys.readouterr().out
    assert recall() in (None, made)
    assert aileron("--help") == 0
    assert capsys.readouterr().out == made


def test_ctrl_c_while_starting(
    home: Path, aileron: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """130, without a traceback."""

    def interrupted(arguments: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("aileron_core.cli.main.run", interrupted)
    assert aileron("config", "path") == 130
