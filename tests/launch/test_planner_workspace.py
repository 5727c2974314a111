"""Which directories may be workspaces, and what in them is never writable."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aileron_core.errors import AileronError
from aileron_launch.gitdir import config_paths
from aileron_launch.settings import PROTECTED, PROTECTED_IF_PRESENT
from aileron_launch.workspace import (
    Surroundings,
    check_workspace,
    protect,
    refusal,
)

HOME = Path("/nowhere/person")
AROUND = Surroundings(HOME, (Path("/nowhere/person/own/aileron"),))


@pytest.mark.parametrize(
    "place",
    [
        "/",
        "/etc",
        "/etc/nginx",
        "/proc/1",
        "/run/user/1000/x",
        "/usr",
        "/usr/lib/python3",
        "/home",
        "/root",
        "/tmp",
        "/var/lib/docker",
        "/nowhere",
        "/nowhere/person",
        "/nowhere/person/.ssh",
        "/nowhere/person/.config/nvim",
        "/nowhere/person/own",
        "/nowhere/person/own/aileron",
        "/nowhere/person/own/aileron/sessions",
        "/nowhere/a\nb",
        "/nowhere/a\x1b[31m",
        "/nowhere/\udcff",
    ],
)
def test_what_must_not_be_a_workspace(place: str) -> None:
    """The system, a home, what holds keys, and Aileron's own directories are refused."""
    assert refusal(Path(place), AROUND)


@pytest.mark.parametrize(
    "place",
    ["/srv/project", "/nowhere/person/src/x", "/usr/src/linux", "/tmp/x", "/var/www/x", "/work/ü"],
)
def test_what_may_be_a_workspace(place: str) -> None:
    """Ordinary project directories are taken, wherever they are."""
    assert refusal(Path(place), AROUND) == ""


def test_a_link_to_a_refused_place_is_refused(tmp_path: Path) -> None:
    """What counts is where the path leads."""
    (tmp_path / "link").symlink_to("/etc")
    with pytest.raises(AileronError, match="/etc cannot be the workspace"):
        check_workspace(str(tmp_path / "link"), AROUND, os.getuid())


def test_the_real_path_is_the_workspace(tmp_path: Path) -> None:
    """Links in a good path are resolved once, here."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    around = Surroundings(HOME, ())
    assert check_workspace(str(tmp_path / "link"), around, os.getuid()) == tmp_path / "real"


@pytest.mark.parametrize("name", ["missing", "file", "fifo", "file/below", "loop", "a\0b"])
def test_what_is_no_directory_is_missing(name: str, tmp_path: Path) -> None:
    """Missing, a file, a pipe, a link in a circle: exit status 66 and a reason."""
    (tmp_path / "file").write_text("")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(AileronError) as caught:
        check_workspace(f"{tmp_path}/{name}", AROUND, os.getuid())
    assert caught.value.exit_status == 66


def test_protected_paths_of_a_repository(tmp_path: Path) -> None:
    """In a repository the default list holds, with the locks that keep Git from replacing files."""
    (tmp_path / ".git").mkdir()
    kept = protect(tmp_path, PROTECTED, PROTECTED_IF_PRESENT)
    assert kept.paths == (*PROTECTED, ".git/config.lock", ".git/config.worktree.lock")
    assert kept.notes == ()


def test_without_a_repository_none_can_be_made(tmp_path: Path) -> None:
    """An empty read-only .git stands for all paths in it."""
    kept = protect(tmp_path, PROTECTED)
    assert ".git/" in kept.paths
    assert not [path for path in kept.paths if path.startswith(".git/") and path != ".git/"]
    assert "no Git repository" in kept.notes[0]


def test_a_linked_worktree_keeps_its_pointer(tmp_path: Path) -> None:
    """Where .git is a file, the file itself cannot be pointed elsewhere."""
    (tmp_path / ".git").write_text("gitdir: /elsewhere\n")
    kept = protect(tmp_path, PROTECTED)
    assert ".git/" in kept.paths
    assert "worktree" in kept.notes[0]


def test_what_exists_is_protected_if_present(tmp_path: Path) -> None:
    """The second list counts only for what is there, so that nothing more is put there."""
    (tmp_path / ".pre-commit-config.yaml").write_text("")
    paths = protect(tmp_path, (), PROTECTED_IF_PRESENT).paths
    assert paths == (".pre-commit-config.yaml",)


def test_a_person_takes_paths_off(tmp_path: Path) -> None:
    """``unprotected`` counts for both lists and with or without the slash."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "mise.toml").write_text("")
    kept = protect(tmp_path, (".claude/", ".vscode/"), ("mise.toml",), (".claude", "mise.toml"))
    assert kept.paths == (".vscode/",)


@pytest.mark.parametrize("path", ["/etc", "../x", "a/../../x", "", ".", "a\nb"])
def test_paths_outside_are_refused(path: str, tmp_path: Path) -> None:
    """A protected path lies in the workspace."""
    with pytest.raises(AileronError, match="not inside the workspace"):
        protect(tmp_path, (path,))


@pytest.mark.parametrize("link", [".claude", ".config"])
def test_links_at_protected_paths_are_refused(link: str, tmp_path: Path) -> None:
    """A link cannot be kept in place by a mount, so it is an error with two mends."""
    (tmp_path / link).symlink_to("/etc")
    with pytest.raises(AileronError, match="symbolic link") as caught:
        protect(tmp_path, (".claude/", ".config/fish/"))
    assert len(caught.value.hints) == 2
    assert protect(tmp_path, (".claude/", ".config/fish/"), check=False).paths


def test_what_git_runs_by_configuration_is_protected(tmp_path: Path) -> None:
    """A hooks directory in the tree, included configuration and submodules' hooks count too."""
    modules = tmp_path / ".git/modules/lib/sub"
    modules.mkdir(parents=True)
    (modules / "config").write_text("")
    (tmp_path / ".git/config").write_text(
        "[core]\n\thooksPath = tools/hooks ; mine\n[include]\n\tpath = ../.gitconfig\n"
        '[includeIf "gitdir:/x/"]\n\tpath = /outside/config\n[user]\n\tpath = not-this\n'
    )
    paths = protect(tmp_path, (".git/config",)).paths
    assert paths == (
        ".git/config",
        "tools/hooks/",
        ".gitconfig",
        ".git/modules/lib/sub/config",
        ".git/modules/lib/sub/hooks/",
        ".git/config.lock",
        ".git/modules/lib/sub/config.lock",
    )


def test_a_pipe_in_place_of_the_configuration_is_not_waited_for(tmp_path: Path) -> None:
    """Opening it would wait for a writer for ever; what it is is refused when it is mounted."""
    (tmp_path / ".git").mkdir()
    os.mkfifo(tmp_path / ".git/config")
    assert ".git/config" in protect(tmp_path, (".git/config",)).paths


def test_many_submodules_are_protected_as_a_whole(tmp_path: Path) -> None:
    """Decoys do not push a real submodule's configuration off the list."""
    for number in range(70):
        (tmp_path / f".git/modules/{number:03}").mkdir(parents=True)
        (tmp_path / f".git/modules/{number:03}/config").touch()
    assert protect(tmp_path, (".git/config",)).paths == (
        ".git/config",
        ".git/modules/",
        ".git/config.lock",
    )


def test_modules_behind_a_link_are_refused(tmp_path: Path) -> None:
    """An agent could have put the directory elsewhere, where nothing of it is protected."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".git/modules").symlink_to("../elsewhere")
    with pytest.raises(AileronError, match="symbolic link"):
        protect(tmp_path, (".git/config",))


def test_what_hooks_are_links_to_is_protected(tmp_path: Path) -> None:
    """Also what is not there yet; not what lies outside, nor a directory."""
    hooks = tmp_path / ".git/hooks"
    hooks.mkdir(parents=True)
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts/check").touch()
    targets = ("../../scripts/check", "../../absent", "/etc/passwd", "../../scripts", "pre-push")
    for number, target in enumerate(targets):
        (hooks / f"hook-{number}").symlink_to(target)
    assert protect(tmp_path, (".git/hooks/",)).paths == (".git/hooks/", "scripts/check", "absent/")


def test_a_bare_repository_as_a_workspace_is_protected(tmp_path: Path) -> None:
    """It has no .git: its hooks and configuration lie in the workspace itself."""
    (tmp_path / "HEAD").write_text("ref: refs/heads/main\n")
    kept = protect(tmp_path, PROTECTED).paths
    assert {"HEAD/", ".git/", "hooks/", "config/", "commondir"} <= set(kept)


@given(st.text(max_size=300))
def test_no_git_configuration_breaks_it(text: str) -> None:
    """The agent wrote that file: anything may be in it."""
    for key, value in config_paths(text):
        assert key
        assert value
