"""What trust is bound to: a path and every byte there."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aileron_core.config.trust import digest_path, distrust, is_trusted, trust
from aileron_core.errors import AileronError


def tree(root: Path) -> Path:
    """A directory with something in it."""
    (root / "tree/sub").mkdir(parents=True)
    (root / "tree/a.json").write_text("{}")
    (root / "tree/sub/run.sh").write_text("echo")
    (root / "tree/link").symlink_to("a.json")
    return root / "tree"


CHANGES: dict[str, Callable[[Path], object]] = {
    "a byte": lambda t: (t / "a.json").write_text("{ }"),
    "a new file": lambda t: (t / "sub/new").write_text(""),
    "a name": lambda t: (t / "a.json").rename(t / "b.json"),
    "a file gone": lambda t: (t / "sub/run.sh").unlink(),
    "executable": lambda t: (t / "sub/run.sh").chmod(0o755),
    "a link's target": lambda t: ((t / "link").unlink(), (t / "link").symlink_to("sub")),
}


@pytest.mark.parametrize("what", CHANGES)
def test_any_change_of_a_tree_ends_its_trust(files: Any, what: str) -> None:
    """Content, names, executable bits and where links point."""
    root = tree(files.project)
    trust(files.paths, root)
    assert is_trusted(files.paths, root)
    CHANGES[what](root)
    assert not is_trusted(files.paths, root)


def test_trust_does_not_follow_content_to_another_place(files: Any) -> None:
    """The same text in another project is not trusted there."""
    trust(files.paths, files.of_project(""))
    other = files.root / "other.toml"
    other.write_text("")
    assert not is_trusted(files.paths, other)


def test_trust_can_be_taken_back(files: Any) -> None:
    """Once; the second time there is nothing to forget."""
    file = files.of_project("")
    trust(files.paths, file)
    assert distrust(files.paths, file)
    assert not distrust(files.paths, file)
    assert not is_trusted(files.paths, file)


def test_there_is_nothing_to_trust_where_nothing_is(files: Any) -> None:
    """No record is made."""
    assert trust(files.paths, files.project / "none") is None
    assert not is_trusted(files.paths, files.project / "none")


def test_records_are_private(files: Any) -> None:
    """Another user's record would let a repository loosen things."""
    trust(files.paths, files.of_project(""))
    (record,) = (files.paths.state / "trust").iterdir()
    assert stat.S_IMODE(record.stat().st_mode) == 0o600
    assert stat.S_IMODE(record.parent.stat().st_mode) == 0o700


def test_a_record_that_is_odd_trusts_nothing(files: Any) -> None:
    """Cut off, empty or no text."""
    file = files.of_project("")
    trust(files.paths, file)
    (record,) = (files.paths.state / "trust").iterdir()
    for content in (b"", b"\n", b"\xff", record.read_bytes()[:30]):
        record.write_bytes(content)
        assert not is_trusted(files.paths, file)


def test_what_is_no_plain_file_cannot_be_trusted(files: Any) -> None:
    """A FIFO in the tree would block, a device could say anything."""
    root = tree(files.project)
    os.mkfifo(root / "fifo")
    with pytest.raises(AileronError) as caught:
        digest_path(root)
    assert caught.value.code == "config-unreadable"


def test_a_tree_of_too_many_files_cannot_be_trusted(files: Any) -> None:
    """Bounded work at every launch."""
    for number in range(1001):
        (files.project / f"f{number}").touch()
    with pytest.raises(AileronError, match="cannot trust"):
        digest_path(files.project)
