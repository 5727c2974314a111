"""Change sets: what the agent left in an overlay is shown, applied, dropped, and harms nobody."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import field, frozen
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aileron_core.errors import AileronError
from aileron_launch.changes import apply_changes, discard_changes, render_diff, scan_changes
from aileron_launch.changes import diff as diffs
from aileron_launch.changes import scan as scans
from aileron_launch.changes.scan import Change, Changes, leads_out

OWNER = (os.getuid(), os.getgid())
SPACE = "trusted" if os.getuid() == 0 else "user"


@frozen
class Set:
    """A workspace and the upper directory over it."""

    root: Path
    since: float = field(factory=lambda: time.time() + 3600)
    """The session began later than anything that the test writes on the host."""

    @property
    def upper(self) -> Path:
        """What the agent wrote."""
        return self.root / "changes/upper"

    @property
    def work(self) -> Path:
        """The person's."""
        return self.root / "work"

    def host(self, path: str, text: str = "old\n") -> Path:
        """A file of the workspace."""
        return _write(self.work / path, text)

    def agent(self, path: str, text: str = "new\n") -> Path:
        """A file that the agent wrote."""
        return _write(self.upper / path, text)

    def gone(self, path: str) -> None:
        """Something that the agent deleted."""
        (self.upper / path).parent.mkdir(parents=True, exist_ok=True)
        os.mknod(self.upper / path, stat.S_IFCHR, os.makedev(0, 0))

    def mark(self, path: str, key: str, value: bytes = b"y") -> None:
        """An attribute that overlayfs sets."""
        os.setxattr(self.upper / path, f"{SPACE}.overlay.{key}", value)

    def scan(self, *protected: str, since: float | None = None) -> Changes:
        """The change set."""
        when = self.since if since is None else since
        return scan_changes(self.upper, self.work, protected=protected, since=when)

    def diff(self) -> str:
        """As text."""
        return render_diff(self.scan(), self.upper, self.work)

    def apply(self, *, force: bool = False, since: float | None = None) -> tuple[str, ...]:
        """What was applied."""
        found = self.scan(since=since)
        return apply_changes(found, self.upper, self.work, OWNER, force=force).applied


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def changes(tmp_path: Path) -> Set:
    """An empty workspace, nothing changed."""
    made = Set(tmp_path)
    made.upper.mkdir(parents=True)
    made.work.mkdir()
    return made


def kinds(found: Changes) -> dict[str, tuple[str, str]]:
    """Path to kind and type."""
    return {change.path: (change.kind, change.type) for change in found.changes}


# --- what is a change ---------------------------------------------------------------------------


def test_added_modified_deleted(changes: Set) -> None:
    """The three kinds, for files, directories and links; sorted, parents first."""
    changes.host("mod")
    changes.host("del")
    changes.host("dir/inner")
    changes.agent("mod")
    changes.agent("new/file")
    changes.gone("del")
    changes.gone("dir")
    (changes.upper / "link").symlink_to("mod")
    assert kinds(changes.scan()) == {
        "del": ("deleted", "file"),
        "dir": ("deleted", "directory"),
        "link": ("added", "link"),
        "mod": ("modified", "file"),
        "new": ("added", "directory"),
        "new/file": ("added", "file"),
    }


def test_what_was_only_touched_is_no_change(changes: Set) -> None:
    """The same bytes, the same mode, the same link: overlayfs copied it, nobody changed it."""
    changes.host("same", "x")
    changes.agent("same", "x")
    (changes.work / "link").symlink_to("a")
    (changes.upper / "link").symlink_to("a")
    changes.host("dir/f")
    (changes.upper / "dir").mkdir()
    changes.gone("never-was")
    assert changes.scan().changes == ()
    (changes.upper / "same").chmod(0o755)
    assert changes.scan().changes[0].executable


def test_nothing_is_an_empty_set(changes: Set) -> None:
    """An upper directory that is empty or gone holds no change."""
    assert changes.scan() == Changes()
    assert changes.diff() == ""
    discard_changes(changes.upper.parent)
    assert changes.scan() == Changes()
    discard_changes(changes.upper.parent)


def test_an_opaque_directory_hides_what_was_there(changes: Set) -> None:
    """A directory that was removed and made again lost all that it does not hold now."""
    changes.host("dir/one")
    changes.host("dir/two")
    changes.agent("dir/two", "old\n")
    changes.mark("dir", "opaque")
    assert kinds(changes.scan()) == {"dir/one": ("deleted", "file")}


def test_whiteouts_with_an_attribute(changes: Set) -> None:
    """An empty file with the whiteout attribute is a deletion too; without it, it is a file."""
    changes.host("one")
    changes.agent("one", "")
    assert kinds(changes.scan()) == {"one": ("modified", "file")}
    changes.mark("one", "whiteout")
    assert kinds(changes.scan()) == {"one": ("deleted", "file")}


@pytest.mark.parametrize("key", ["redirect", "metacopy"])
def test_what_cannot_be_interpreted_is_refused(key: str, changes: Set) -> None:
    """Content that is somewhere else is not guessed at."""
    (changes.upper / "dir").mkdir()
    changes.mark("dir", key, b"/elsewhere")
    with pytest.raises(AileronError, match="cannot be interpreted") as caught:
        changes.scan()
    assert caught.value.exit_status == 65


def test_devices_pipes_and_sockets_are_skipped(changes: Set) -> None:
    """They are named and never applied; nothing waits on a pipe."""
    os.mkfifo(changes.upper / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(changes.upper)
        listener.bind("sock")
        os.chdir(here)
        found = changes.scan()
    assert [(c.path, c.type, bool(c.skipped)) for c in found.changes] == [
        ("pipe", "special", True),
        ("sock", "special", True),
    ]
    assert changes.apply() == ()
    assert list(changes.work.iterdir()) == []


def test_protected_paths_are_never_applied(changes: Set) -> None:
    """What is never writable is skipped with what is in it; what stood in for it is not shown."""
    changes.agent(".git/hooks/post-commit")
    changes.agent(".git/index")
    changes.agent(".mcp.json", "")
    (changes.upper / ".claude").mkdir()
    found = changes.scan(".git/hooks/", ".claude/", ".mcp.json/")
    assert [change.path for change in found.applicable] == [".git", ".git/index"]
    assert [c.path for c in found.changes if c.skipped] == [".git/hooks", ".git/hooks/post-commit"]


@pytest.mark.parametrize(
    ("path", "target", "out"),
    [
        ("a", "b", False),
        ("d/a", "../b", False),
        ("a", "../b", True),
        ("d/a", "../../b", True),
        ("a", "/etc/passwd", True),
        ("a", "x/../../b", True),
        ("a", "./x/./../y", False),
        ("a", "", True),
    ],
)
def test_links_that_lead_out(path: str, target: str, out: bool) -> None:
    """Read as text, relative to where the link is."""
    assert leads_out(path, target) == out


def test_bounds(changes: Set, monkeypatch: Any) -> None:
    """Too many changes and too deep a tree are errors, not an endless list."""
    deep = changes.upper
    for _ in range(6):
        deep /= "d"
    deep.mkdir(parents=True)
    monkeypatch.setattr(scans, "DEEPEST", 3)
    with pytest.raises(AileronError, match="cannot be interpreted"):
        changes.scan()
    monkeypatch.undo()
    monkeypatch.setattr(scans, "MOST_CHANGES", 5)
    with pytest.raises(AileronError, match="cannot be interpreted") as caught:
        changes.scan()
    assert "more than 5" in caught.value.why


# --- conflicts ----------------------------------------------------------------------------------


def test_what_changed_on_the_host_is_a_conflict(changes: Set) -> None:
    """A file that the host changed since the session began is not overwritten without a word."""
    changes.host("mod")
    changes.host("del")
    changes.host("dir/sub/file")
    changes.agent("mod")
    changes.gone("del")
    changes.gone("dir")
    found = changes.scan(since=0.0)
    assert [change.path for change in found.conflicts] == ["del", "dir", "mod"]
    with pytest.raises(AileronError, match="3 of 3 changes") as caught:
        changes.apply(since=0.0)
    assert caught.value.exit_status == 1
    assert "dir/sub/file" in caught.value.why
    assert (changes.work / "mod").read_text() == "old\n"
    assert changes.apply(since=0.0, force=True) == ("del", "dir", "mod")
    assert [path.name for path in changes.work.iterdir()] == ["mod"]


def test_what_the_host_deleted_is_a_conflict(changes: Set) -> None:
    """A file that was copied up and is no longer there was deleted on the host."""
    changes.agent("mod")
    changes.mark("mod", "origin")
    assert "deleted on the host" in changes.scan().changes[0].conflict


def test_a_link_out_of_the_workspace_needs_a_word(changes: Set) -> None:
    """It is shown as a conflict, and applied as a link and nothing else with ``force``."""
    target = changes.root / "outside"
    target.write_text("mine\n")
    (changes.upper / "link").symlink_to(target)
    with pytest.raises(AileronError, match="1 of 1"):
        changes.apply()
    changes.apply(force=True)
    assert (changes.work / "link").readlink() == target
    assert target.read_text() == "mine\n"


@pytest.mark.parametrize("kind", ["directory", "file"])
def test_a_nested_repository_needs_a_word(kind: str, changes: Set) -> None:
    """Git on the host would run what its configuration names, as soon as the index names it."""
    changes.agent("sub/.git/config" if kind == "directory" else "sub/.git", "[core]\n")
    changes.agent(".git/index")
    (found,) = changes.scan().conflicts
    assert found.path == "sub/.git"
    with pytest.raises(AileronError, match="1 of"):
        changes.apply()


# --- applying -----------------------------------------------------------------------------------


def test_what_is_written(changes: Set) -> None:
    """Content and execute bits arrive; set-user-id does not; the owner is the workspace's."""
    changes.host("tool")
    changes.agent("tool", "#!/bin/sh\n").chmod(0o6755)
    (changes.upper / "deep/er").mkdir(parents=True)
    (changes.upper / "deep").chmod(0o2700)
    changes.agent("deep/er/file").chmod(0o640)
    assert changes.apply() == ("deep", "deep/er", "deep/er/file", "tool")
    assert (changes.work / "tool").read_text() == "#!/bin/sh\n"
    assert stat.S_IMODE((changes.work / "tool").stat().st_mode) == 0o755
    assert stat.S_IMODE((changes.work / "deep").stat().st_mode) == 0o700
    info = (changes.work / "deep/er/file").stat()
    assert (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid) == (0o640, *OWNER)
    assert changes.scan().changes == ()
    assert changes.apply() == ()
    assert not list(changes.root.rglob("*.part"))


def test_types_that_change(changes: Set) -> None:
    """A file becomes a directory, a directory a file or a link, and a link a file."""
    changes.host("file")
    changes.host("dir/inner")
    changes.host("tree/inner")
    (changes.work / "link").symlink_to("file")
    changes.agent("file/inner")
    changes.agent("dir")
    (changes.upper / "tree").symlink_to("file")
    changes.agent("link", "plain\n")
    changes.apply()
    assert (changes.work / "file/inner").read_text() == "new\n"
    assert (changes.work / "dir").read_text() == "new\n"
    assert os.readlink(changes.work / "tree") == "file"
    assert not (changes.work / "link").is_symlink()
    assert (changes.work / "link").read_text() == "plain\n"


def test_a_link_in_the_workspace_is_not_followed(changes: Set) -> None:
    """Where the host has a link to elsewhere, the agent's directory replaces it."""
    outside = changes.root / "outside"
    outside.mkdir()
    (outside / "kept").write_text("mine\n")
    (changes.work / "out").symlink_to(outside)
    changes.agent("out/file")
    changes.agent("out/kept")
    changes.apply()
    assert sorted(path.name for path in outside.iterdir()) == ["kept"]
    assert (outside / "kept").read_text() == "mine\n"
    assert not (changes.work / "out").is_symlink()


def test_a_link_that_appears_meanwhile_is_an_error(changes: Set) -> None:
    """Between looking and writing a directory became a link: nothing is written through it."""
    outside = changes.root / "outside"
    outside.mkdir()
    changes.host("dir/file")
    changes.agent("dir/file")
    found = changes.scan()
    shutil.rmtree(changes.work / "dir")
    (changes.work / "dir").symlink_to(outside)
    with pytest.raises(AileronError, match="cannot write dir/file"):
        apply_changes(found, changes.upper, changes.work, OWNER)
    assert list(outside.iterdir()) == []


def test_a_file_that_became_a_link_meanwhile(changes: Set) -> None:
    """The same on the agent's side: the link's target is not copied."""
    (changes.root / "secret").write_text("canary")
    changes.agent("file")
    found = changes.scan()
    (changes.upper / "file").unlink()
    (changes.upper / "file").symlink_to(changes.root / "secret")
    with pytest.raises(AileronError, match="cannot write file"):
        apply_changes(found, changes.upper, changes.work, OWNER)
    assert list(changes.work.iterdir()) == []


def test_a_full_disk_leaves_the_old_file(changes: Set, monkeypatch: Any) -> None:
    """A file is there whole or as it was, and the error says what was done before it."""
    changes.host("a")
    changes.agent("a")

    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(AileronError, match="cannot write a") as caught:
        changes.apply()
    assert "No space left" in caught.value.why
    assert (changes.work / "a").read_text() == "old\n"
    assert [path.name for path in changes.work.iterdir()] == ["a"]


def test_what_is_gone_already_stays_gone(changes: Set) -> None:
    """A deletion of what the host deleted meanwhile is no failure."""
    changes.host("dir/file")
    changes.gone("dir/file")
    found = changes.scan()
    shutil.rmtree(changes.work / "dir")
    assert apply_changes(found, changes.upper, changes.work, OWNER).applied == ("dir/file",)


def deep_tree(top: Path, depth: int) -> None:
    """Directories in each other, deeper than a path or a stack is long, with a file in the last."""
    here = os.open(top, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=here))
    os.close(here)


def test_discarding_what_is_nested_without_end(changes: Set) -> None:
    """Neither the stack, nor paths, nor open files run out."""
    deep_tree(changes.upper, 5000)
    with pytest.raises(AileronError, match="cannot be interpreted") as caught:
        changes.scan()
    assert "deeper than" in caught.value.why
    assert len(caught.value.message) < 200
    discard_changes(changes.upper.parent)
    assert not changes.upper.parent.exists()


def test_deleting_what_is_nested_without_end(changes: Set) -> None:
    """A repository can be deeper than the stack; that its deletion is shown is an error's text."""
    (changes.work / "deep").mkdir()
    deep_tree(changes.work / "deep", 1500)
    changes.gone("deep")
    with pytest.raises(AileronError, match="cannot be interpreted"):
        changes.scan()
    discard_changes(changes.work)


def test_what_holds_protected_paths_is_not_deleted(changes: Set) -> None:
    """Neither as a directory that goes away, nor for a file or link in its place."""
    for name in ("gone", "file", "link"):
        changes.host(f"{name}/hooks/pre-commit")
    changes.gone("gone")
    changes.agent("file")
    os.symlink("elsewhere", changes.upper / "link")
    found = changes.scan("gone/hooks", "file/hooks", "link/hooks")
    assert found.applicable == ()
    assert {change.skipped for change in found.changes} == {"it holds what is never writable"}


@pytest.mark.skipif(os.getuid() != 0, reason="an overlay of root: another namespace is its own")
def test_the_agents_own_attributes_mean_nothing(changes: Set) -> None:
    """It may set those of the namespace that overlays of root do not use."""
    changes.host("dir/kept")
    changes.agent("dir/new")
    for key in ("opaque", "redirect", "metacopy"):
        os.setxattr(changes.upper / "dir", f"user.overlay.{key}", b"y")
    assert [change.path for change in changes.scan().changes] == ["dir/new"]


def test_holes_stay_holes(changes: Set) -> None:
    """A file of a few bytes that says it has a terabyte does not fill the disk."""
    file = changes.agent("sparse", "begin")
    with file.open("r+b") as sparse:
        sparse.truncate(1 << 40)
        sparse.seek(1 << 30)
        sparse.write(b"middle")
    assert changes.apply() == ("sparse",)
    info = (changes.work / "sparse").stat()
    assert info.st_size == 1 << 40
    assert info.st_blocks * 512 < 1 << 20
    with (changes.work / "sparse").open("rb") as sparse:
        assert sparse.read(6) == b"begin\0"
        sparse.seek(1 << 30)
        assert sparse.read(7) == b"middle\0"


def test_a_name_cannot_write_lines_into_an_error(changes: Set) -> None:
    """Newlines and escapes in it are shown as such."""
    os.symlink("/", changes.upper / "a\nall is well\x1b[2J")
    with pytest.raises(AileronError) as caught:
        changes.apply()
    assert "a\\nall is well\\x1b[2J" in caught.value.why


def test_discarding_what_is_locked(changes: Set) -> None:
    """Directories without any permission are no obstacle."""
    changes.agent("locked/file")
    (changes.upper / "locked").chmod(0)
    discard_changes(changes.upper.parent)
    assert not changes.upper.parent.exists()


# --- the diff -----------------------------------------------------------------------------------


def test_the_diff_reads_like_gits(changes: Set) -> None:
    """`patch` understands it: applied to the old files it gives the new ones."""
    changes.host("mod", "one\ntwo\nthree\n")
    changes.host("del", "bye\n")
    changes.agent("mod", "one\n2\nthree\nfour")
    changes.agent("add", "\tnew\n")
    changes.gone("del")
    text = changes.diff()
    assert "new file mode 100644" in text
    assert "\\ No newline at end of file" in text
    copy = changes.root / "copy"
    shutil.copytree(changes.work, copy)
    subprocess.run(
        ["git", "apply", "--unsafe-paths", "-p1", "--directory", str(copy)],
        input=text.encode(),
        check=True,
        cwd="/",
    )
    changes.apply()
    assert tree(copy) == tree(changes.work)


def test_nothing_in_a_diff_reaches_the_terminal(changes: Set) -> None:
    """Escapes in names and contents are shown, not sent."""
    changes.agent("a\x1b]0;x\x07", "\x1b[31mred\r\u202e\n")
    text = changes.diff()
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\\x1b[31mred" in text


def test_what_is_not_text(changes: Set, monkeypatch: Any) -> None:
    """Binary, large and long files are named, not compared."""
    (changes.upper / "binary").write_bytes(b"\0\1")
    changes.agent("large", "x" * (diffs.LARGEST_FILE + 1))
    changes.agent("long", "x\n" * (diffs.MOST_LINES + 1))
    text = changes.diff()
    for start in ("Binary", "Large", "Long"):
        assert f"{start} files /dev/null and b/{start.lower()} differ" in text
    monkeypatch.setattr(diffs, "LARGEST_DIFF", 100)
    assert changes.diff().endswith("(cut: the diff is over 100 characters)\n")


def test_modes_links_and_directories(changes: Set) -> None:
    """Changes without content are told as well, and each file of a deleted directory."""
    changes.host("tool")
    changes.agent("tool", "old\n").chmod(0o755)
    changes.host("dir/sub/file", "x\n")
    (changes.work / "dir/link").symlink_to("sub")
    changes.gone("dir")
    (changes.upper / "link").symlink_to("tool")
    (changes.upper / "empty").mkdir()
    os.mkfifo(changes.upper / "pipe")
    text = changes.diff()
    assert "old mode 100644\nnew mode 100755\n" in text
    assert "deleted directory dir/sub\n" in text
    assert "--- a/dir/sub/file\n+++ /dev/null\n" in text
    assert "deleted file mode 120000" in text
    assert "new file mode 120000" in text
    assert "added directory empty\n" in text
    assert "added special pipe (devices" in text


def test_bytes_that_are_no_utf8(changes: Set) -> None:
    """Names and lines in any encoding can be shown."""
    os.close(os.open(os.fsencode(changes.upper) + b"/\xff", os.O_CREAT | os.O_WRONLY))
    (changes.upper / "latin").write_bytes(b"\xe9\n")
    text = changes.diff()
    assert "\\xff" in text
    assert "+\\xe9" in text
    text.encode()


# --- against the kernel -------------------------------------------------------------------------


def tree(root: Path) -> dict[str, Any]:
    """Everything below ``root``: content, link targets, execute bits."""
    found: dict[str, Any] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = ("link", os.readlink(path))
        elif path.is_dir():
            found[name] = "directory"
        else:
            found[name] = (path.read_bytes(), path.stat().st_mode & 0o111)
    return found


@contextmanager
def mounted(changes: Set) -> Iterator[Path]:
    """The overlay that a session would see."""
    merged, work = changes.root / "merged", changes.root / "changes/work"
    for directory in (merged, work):
        directory.mkdir(exist_ok=True)
    layers = f"lowerdir={changes.work},upperdir={changes.upper},workdir={work}"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, str(merged)], check=True)
    try:
        yield merged
    finally:
        subprocess.run(["umount", str(merged)], check=True)


NAMES = st.sampled_from(["a", "b", "d", "d/a", "d/b", "d/e", "d/e/a"])
STEPS = st.lists(
    st.tuples(st.sampled_from(["write", "mkdir", "remove", "link", "chmod", "move"]), NAMES, NAMES),
    max_size=12,
)


def act(root: Path, step: tuple[str, str, str]) -> None:
    """One thing that an agent does; what cannot be done is not."""
    how, name, other = step
    path = root / name
    try:
        if how == "write":
            path.write_text(f"{name} {other}\n")
        elif how == "mkdir":
            path.mkdir()
        elif how == "link":
            path.symlink_to(Path(other).name)
        elif how == "chmod" and not path.is_symlink():
            path.chmod(0o755)
        elif how == "move":
            path.rename(root / other)
        elif path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif how == "remove":
            path.unlink()
    except OSError:
        return


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(before=STEPS, after=STEPS)
def test_applied_the_workspace_is_what_the_agent_saw(
    before: Any, after: Any, tmp_path_factory: Any, kernel_cannot: Any
) -> None:
    """Whatever an agent does to whatever tree, applying its changes gives the tree it had."""
    if os.getuid() != 0:
        kernel_cannot("an overlay cannot be mounted by this user")
    changes = Set(tmp_path_factory.mktemp("overlay"))
    changes.upper.mkdir(parents=True)
    changes.work.mkdir()
    for step in before:
        act(changes.work, step)
    with mounted(changes) as merged:
        for step in after:
            act(merged, step)
        seen = tree(merged)
    changes.diff()
    changes.apply(force=True)
    assert tree(changes.work) == seen
    assert changes.scan().changes == ()
    shutil.rmtree(changes.root)


def test_a_change_is_a_record() -> None:
    """Equal facts are equal changes, so that reports can be compared."""
    assert Change("a", "added", "file") == Change("a", "added", "file")
