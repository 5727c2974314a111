"""Promise 9, the ways around the mounts: other names, other repositories, help from the host."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from real_aileron import explain

pytestmark = pytest.mark.container

TRAP = "fsmonitor = touch TRAPPED; false"
BARE = (
    "mkdir -p objects refs; echo 'ref: refs/heads/main' > HEAD;"
    f"printf '[core]\\n\\trepositoryformatversion = 0\\n\\tworktree = .\\n\\t{TRAP}\\n' > config;"
)


def git(workspace: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """The host's git, as a shell prompt calls it; its status is not checked."""
    return subprocess.run(["git", "-C", str(workspace), *args], capture_output=True, text=True)


@pytest.fixture
def repository(fresh_workspace: Path) -> Path:
    """A new git repository."""
    assert git(fresh_workspace, "init", "-q").returncode == 0
    return fresh_workspace


def test_the_host_does_not_take_the_protection_off(inside_tiny, repository):
    """Git replaces its configuration by renaming, which would take the read-only mount away."""
    session = inside_tiny("sleep 600", "--detach", "--quiet").stdout.strip()
    try:
        refused = git(repository, "config", "user.name", "somebody")
        assert refused.returncode != 0
        assert "lock" in refused.stderr
        done = inside_tiny.aileron(
            "sessions", "exec", session, "--", "sh", "-c",
            f"printf '[core]\\n\\t{TRAP}\\n' >> .git/config; rm -f .git/config.lock;"
            "mv .git/config.lock x; ls .git",
        )  # fmt: skip
        assert "config.lock" in done.stdout, explain(done)
    finally:
        inside_tiny.aileron("sessions", "stop", session)
    git(repository, "status")
    assert not (repository / "TRAPPED").exists()
    assert git(repository, "config", "user.name", "somebody").returncode == 0


@pytest.mark.parametrize("spoil", ["true", "rm -rf .git/HEAD .git/refs .git/objects"])
@pytest.mark.parametrize("start", ["git", "no-git"])
def test_the_workspace_does_not_become_a_bare_repository(
    inside_tiny, fresh_workspace, start, spoil
):
    """Where .git is none or spoilt, Git takes the directory itself for one, with its config."""
    if start == "git":
        git(fresh_workspace, "init", "-q")
    inside_tiny(f"{spoil}; {BARE}")
    git(fresh_workspace, "status")
    assert not (fresh_workspace / "TRAPPED").exists()


def test_a_protected_file_has_no_writable_name(inside_tiny, repository):
    """A first session makes a hook with two names; a second one may not write by the other."""
    done = inside_tiny("mkdir .githooks; echo true > .githooks/pre-commit; ln .githooks/* other")
    assert done.returncode == 0, explain(done)
    done = inside_tiny("echo hostile >> other")
    assert done.returncode == 78, explain(done)
    assert "[workspace-hostile]" in done.stderr
    assert (repository / ".githooks/pre-commit").read_text() == "true\n"


def test_a_hook_that_is_a_link_is_protected_where_it_leads(inside_tiny, repository):
    """Git runs what the link leads to, also once that comes into being."""
    (repository / "check").write_text("true\n")
    (repository / ".git/hooks/pre-commit").symlink_to("../../check")
    (repository / ".git/hooks/pre-push").symlink_to("../../absent")
    inside_tiny("echo hostile >> check; echo hostile > absent; mv check away; rm -rf absent")
    assert (repository / "check").read_text() == "true\n"
    assert not os.path.lexists(repository / "absent")


@pytest.mark.parametrize("name", [".git/config", ".mcp.json", ".aileron.toml", "HEAD"])
def test_a_pipe_in_a_protected_place_is_refused_at_once(inside_tiny, repository, name):
    """Nothing on the host waits for somebody to write to it."""
    (repository / name).unlink(missing_ok=True)
    os.mkfifo(repository / name)
    done = inside_tiny.run("true")
    assert done.returncode == 78, explain(done)
