"""Stubs of protected paths: made, shared, journaled, removed; hostile workspaces refused."""

from __future__ import annotations

import json
import os

import pytest

from aileron_core.errors import AileronError
from aileron_core.sessions.stubs import StubKeeper, effective, read_journal, remove_stubs

PROTECTED = (".git/hooks/", ".git/config", ".mcp.json", ".config/fish/")


@pytest.fixture
def workspace(tmp_path):
    """An empty workspace."""
    path = tmp_path / "work"
    path.mkdir()
    return path


@pytest.fixture
def make(workspace, tmp_path):
    """Call it with a keeper and a session: stubs in the workspace."""

    def do(keeper, session="s_1", **changes):
        facts = {
            "owner": (os.getuid(), os.getgid()),
            "journal": tmp_path / f"{session}.json",
            **changes,
        }
        root = facts.pop("root", workspace)
        return keeper.make(session, root, facts.pop("protected", PROTECTED), **facts)

    return do


def tree(root):
    """Everything below, relative."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def test_stubs_come_and_go(make, workspace, tmp_path):
    """Directories for those with a slash, empty files for the others; nothing stays."""
    keeper = StubKeeper()
    make(keeper)
    assert tree(workspace) == [
        ".config", ".config/fish", ".git", ".git/config", ".git/hooks", ".mcp.json",
    ]  # fmt: skip
    assert (workspace / ".git/hooks").is_dir()
    assert (workspace / ".mcp.json").stat().st_mode & 0o777 == 0o644
    assert keeper.release("s_1", tmp_path / "s_1.json") == ()
    assert tree(workspace) == []
    assert not (tmp_path / "s_1.json").exists()


def test_modes_do_not_depend_on_the_umask(make, workspace):
    """The daemon's umask is 077; the workspace's owner can read its stubs all the same."""
    before = os.umask(0o077)
    try:
        make(StubKeeper())
    finally:
        os.umask(before)
    assert (workspace / ".git").stat().st_mode & 0o777 == 0o755


def test_what_exists_is_left_as_it_is(make, workspace, tmp_path):
    """Only what is absent gets a stub, and only stubs are removed."""
    (workspace / ".git/hooks").mkdir(parents=True)
    (workspace / ".mcp.json").write_text("{}")
    keeper = StubKeeper()
    made = make(keeper)
    assert ".mcp.json" not in made
    keeper.release("s_1", tmp_path / "s_1.json")
    assert tree(workspace) == [".git", ".git/hooks", ".mcp.json"]


def test_what_changed_stays(make, workspace, tmp_path):
    """A stub that somebody wrote to is theirs now; the answer names it."""
    keeper = StubKeeper()
    make(keeper)
    (workspace / ".mcp.json").write_text("{}")
    (workspace / ".git/hooks/pre-commit").write_text("x")
    left = keeper.release("s_1", tmp_path / "s_1.json")
    assert set(left) == {".mcp.json", ".git/hooks", ".git"}
    assert tree(workspace) == [".git", ".git/hooks", ".git/hooks/pre-commit", ".mcp.json"]


def test_another_file_in_its_place_stays(make, workspace, tmp_path):
    """Identity counts, not the name: an empty file that somebody else made is not removed."""
    keeper = StubKeeper()
    make(keeper)
    (workspace / "other").touch()
    (workspace / ".mcp.json").unlink()
    (workspace / "other").rename(workspace / ".mcp.json")
    assert keeper.release("s_1", tmp_path / "s_1.json") == (".mcp.json",)


def test_two_sessions_share(make, workspace, tmp_path):
    """The last one removes, in whatever order they end."""
    keeper = StubKeeper()
    make(keeper, "s_1")
    make(keeper, "s_2")
    keeper.release("s_1", tmp_path / "s_1.json")
    assert (workspace / ".git/hooks").is_dir()
    keeper.release("s_2", tmp_path / "s_2.json")
    assert tree(workspace) == []


def test_a_crash_is_recovered_from_the_journals(make, workspace, tmp_path):
    """With the keeper gone, either journal alone is enough to remove what it names."""
    keeper = StubKeeper()
    make(keeper, "s_1")
    make(keeper, "s_2")
    remove_stubs(read_journal(tmp_path / "s_2.json"))
    assert tree(workspace) == []
    assert remove_stubs(read_journal(tmp_path / "s_1.json")) == ()


def test_the_journal_is_there_before_the_stubs(make, workspace, tmp_path, monkeypatch):
    """Killed between the journal and the stubs, what was made is found and removed."""
    from aileron_core.sessions import stubs

    real = stubs._make

    def killed(stub, owner):
        real(stub, owner)
        raise KeyboardInterrupt

    monkeypatch.setattr(stubs, "_make", killed)
    with pytest.raises(KeyboardInterrupt):
        make(StubKeeper())
    assert tree(workspace) != []
    remove_stubs(read_journal(tmp_path / "s_1.json"))
    assert tree(workspace) == []


@pytest.mark.parametrize("content", ["", "{", "[1]", '[{"root": 1}]', "{}"])
def test_a_broken_journal_names_nothing(tmp_path, content):
    """What cannot be read removes nothing."""
    path = tmp_path / "j.json"
    path.write_text(content)
    assert read_journal(path) == []
    assert read_journal(tmp_path / "absent") == []


@pytest.mark.parametrize("where", [".git", ".git/hooks", ".mcp.json"])
def test_links_are_refused(make, workspace, tmp_path, where):
    """A link at a protected path or on the way to it: refused, and nothing outside is touched."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (workspace / where).parent.mkdir(exist_ok=True)
    (workspace / where).symlink_to(outside)
    with pytest.raises(AileronError) as caught:
        make(StubKeeper())
    assert caught.value.code == "workspace-hostile"
    assert where in caught.value.message
    assert tree(outside) == []


def test_a_link_that_appears_in_between(make, workspace, tmp_path, monkeypatch):
    """A directory swapped for a link after the look: the making does not follow it."""
    from aileron_core.sessions import stubs

    outside = tmp_path / "outside"
    outside.mkdir()
    (workspace / ".git").mkdir()
    real = stubs._write_journal

    def swapped(journal, entries):
        real(journal, entries)
        if (workspace / ".git").is_dir() and not (workspace / ".git").is_symlink():
            (workspace / ".git").rmdir()
            (workspace / ".git").symlink_to(outside)

    monkeypatch.setattr(stubs, "_write_journal", swapped)
    with pytest.raises(AileronError) as caught:
        make(StubKeeper())
    assert caught.value.code == "host-refused"
    assert tree(outside) == []


def test_removing_does_not_follow_links(make, workspace, tmp_path):
    """A journal's path that leads through a link now is not removed."""
    keeper = StubKeeper()
    make(keeper)
    outside = tmp_path / "outside"
    (workspace / ".git").rename(outside)
    (workspace / ".git").symlink_to(outside)
    keeper.release("s_1", tmp_path / "s_1.json")
    assert tree(outside) == ["config", "hooks"]


def test_devices_and_pipes_are_refused(make, workspace):
    """A protected path is a file or a directory."""
    os.mkfifo(workspace / ".mcp.json")
    with pytest.raises(AileronError):
        make(StubKeeper())


def test_a_worktree_protects_its_git_file(workspace):
    """Where .git is a file, the file itself is what must not change."""
    (workspace / ".git").write_text("gitdir: /elsewhere\n")
    assert effective(workspace, PROTECTED) == (".git", ".mcp.json", ".config/fish/")


def test_an_overlays_stubs_are_in_its_upper_directory(make, workspace, tmp_path):
    """Nothing reaches the workspace; what exists below needs no stub."""
    (workspace / ".mcp.json").write_text("{}")
    (workspace / ".git").mkdir()
    upper = tmp_path / "upper"
    upper.mkdir()
    make(StubKeeper(), root=upper, below=workspace)
    assert tree(upper) == [".config", ".config/fish", ".git", ".git/config", ".git/hooks"]
    assert tree(workspace) == [".git", ".mcp.json"]


def test_stubs_belong_to_the_workspaces_owner(make, workspace):
    """The person finds nothing of root's in the workspace."""
    if os.getuid() != 0:
        pytest.skip("kernel: only root gives files away")
    make(StubKeeper(), owner=(4321, 4322))
    for path in workspace.rglob("*"):
        assert (path.stat().st_uid, path.stat().st_gid) == (4321, 4322)


def test_the_journal_is_plain_data(make, tmp_path):
    """A list of objects: what a person can read after a crash."""
    make(StubKeeper())
    entries = json.loads((tmp_path / "s_1.json").read_text())
    assert {"root", "path", "directory", "device", "inode"} == set(entries[0])
