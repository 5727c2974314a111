"""Changing the user's file keeps all else in it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from aileron_core.config.edit import change_disabled
from aileron_core.errors import AileronError

TEXT = """\
# my own notes
[plugins]   # what is off
disable = [
  "one",  # because
  "two",
]

[launch]
image = 'host'  # fast
"""


def switch(file: Path, *, off: str | None = None, on: str | None = None) -> bool:
    """Disable or enable one plugin."""

    def change(names: list[str]) -> None:
        if off and off not in names:
            names.append(off)
        if on in names:
            names.remove(on)

    return change_disabled(file, change, [])


def test_comments_and_order_stay(tmp_path: Path) -> None:
    """Only the items change."""
    file = tmp_path / "config.toml"
    file.write_text(TEXT)
    assert switch(file, off="three", on="two")
    text = file.read_text()
    for kept in ("# my own notes", "# what is off", "# because", "image = 'host'  # fast"):
        assert kept in text
    assert '"three"' in text
    assert '"two"' not in text


def test_a_file_is_made_private_when_there_is_none(tmp_path: Path) -> None:
    """With its directory."""
    file = tmp_path / "new" / "config.toml"
    assert switch(file, off="x")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text() == '[plugins]\ndisable = ["x"]\n'
    assert [one.name for one in file.parent.iterdir()] == ["config.toml"]


def test_nothing_is_written_when_nothing_changes(tmp_path: Path) -> None:
    """The file's time tells caches that it is new."""
    file = tmp_path / "config.toml"
    file.write_text(TEXT)
    before = file.stat()
    assert not switch(file, off="one")
    assert file.stat().st_ino == before.st_ino


@pytest.mark.parametrize(
    "text",
    [
        "plugins.disable = ['one']\n",
        "plugins = { disable = ['one'] }\n",
        "[plugins]\n",
        "x = 1\n",
        "",
    ],
)
def test_every_way_to_write_the_list(tmp_path: Path, text: str) -> None:
    """Dotted, inline, empty, absent."""
    import tomllib

    file = tmp_path / "config.toml"
    file.write_text(text)
    switch(file, off="two")
    assert tomllib.loads(file.read_text())["plugins"]["disable"][-1] == "two"


@pytest.mark.parametrize("text", ["plugins = 3\n", "[plugins]\ndisable = 'x'\n", "[plugins\n"])
def test_a_file_that_is_wrong_stays_as_it_is(tmp_path: Path, text: str) -> None:
    """The error names it."""
    file = tmp_path / "config.toml"
    file.write_text(text)
    with pytest.raises(AileronError, match=str(file)):
        switch(file, off="x")
    assert file.read_text() == text


def test_a_link_keeps_pointing_where_it_points(tmp_path: Path) -> None:
    """Dotfiles live in repositories."""
    real = tmp_path / "dotfiles.toml"
    real.write_text("")
    link = tmp_path / "config.toml"
    link.symlink_to(real)
    switch(link, off="x")
    assert link.is_symlink()
    assert '"x"' in real.read_text()


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """A file where the directory should be."""
    (tmp_path / "file").write_text("")
    with pytest.raises(AileronError) as caught:
        switch(tmp_path / "file" / "config.toml", off="x")
    assert caught.value.code == "config-unwritable"
