"""Promise 9: a repository cannot loosen anything, and nothing it contains runs on the host."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from real_aileron import explain

pytestmark = pytest.mark.container

PROTECTED = (
    ".git/hooks/pre-commit",
    ".git/config",
    ".devcontainer/devcontainer.json",
    ".aileron.toml",
    ".vscode/tasks.json",
    ".idea/workspace.xml",
    ".claude/settings.json",
    ".mcp.json",
    ".bashrc",
    ".profile",
)


def git(workspace: Path, *args: str) -> None:
    """The host's git in ``workspace``."""
    subprocess.run(["git", "-C", str(workspace), *args], check=True, capture_output=True)


@pytest.fixture
def repository(fresh_workspace: Path) -> Path:
    """A git repository with one commit and no hooks."""
    git(fresh_workspace, "init", "-q")
    shutil.rmtree(fresh_workspace / ".git" / "hooks", ignore_errors=True)
    (fresh_workspace / "README").write_text("hello\n")
    git(fresh_workspace, "add", "README")
    git(fresh_workspace, "-c", "user.name=t", "-c", "user.email=t@example.com",
        "commit", "-qm", "one")  # fmt: skip
    return fresh_workspace


def snapshot(workspace: Path) -> dict[str, str]:
    """Every protected path that exists, with its content."""
    found = {}
    for name in PROTECTED:
        top = workspace / name.split("/")[0]
        path = workspace / name
        if path.is_symlink() or (top.is_symlink() and not name.startswith(".git/")):
            found[name] = "symlink"
        elif path.exists():
            found[name] = path.read_text(errors="replace") if path.is_file() else "directory"
    return found


WAYS = {
    "write": 'mkdir -p "$(dirname "$p")"; echo hostile > "$p"',
    "symlink": 'mkdir -p "$(dirname "$p")"; ln -s /tmp/x "$p"',
    "hard link": 'mkdir -p "$(dirname "$p")"; echo hostile > stage; ln -f stage "$p"',
    "move into place": 'mkdir -p "$(dirname "$p")"; echo hostile > stage; mv -f stage "$p"',
    "remove": 'rm -rf "$p"',
    "replace the parent": (
        'd=${p%%/*}; mv "$d" moved; mkdir -p "$(dirname "$p")"; echo hostile > "$p"'
    ),
    "link the parent": (
        'd=${p%%/*}; mkdir -p away; echo hostile > "away/${p#*/}"; rm -rf "$d"; ln -s away "$d"'
    ),
    "mount over": 'mount --bind /tmp "$p"; mount -t tmpfs none "$(dirname "$p")"',
    "chmod": 'chmod 777 "$(dirname "$p")" "$p"; echo hostile > "$p"',
}


@pytest.mark.parametrize("way", WAYS)
def test_what_the_host_runs_later_cannot_be_written(inside_tiny, repository, way):
    """In a repository without hooks or editor folders, absent paths stay absent."""
    before = snapshot(repository)
    script = "".join(f"(p={name}; {WAYS[way]}) 2>/dev/null\n" for name in PROTECTED)
    done = inside_tiny(script + "echo ordinary > ordinary; echo tried")
    assert "tried" in done.stdout, explain(done)
    assert snapshot(repository) == before
    assert (repository / "ordinary").read_text() == "ordinary\n"


@pytest.mark.parametrize("way", WAYS)
def test_existing_paths_keep_their_content(inside_tiny, repository, way):
    """Protected files that exist are what they were, by whatever way they are attacked."""
    for name in PROTECTED:
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        if name not in (".git/config", ".aileron.toml", ".devcontainer/devcontainer.json"):
            (repository / name).write_text("mine\n")
    before = snapshot(repository)
    script = "".join(f"(p={name}; {WAYS[way]}) 2>/dev/null\n" for name in PROTECTED)
    done = inside_tiny(script + "echo tried")
    assert "tried" in done.stdout, explain(done)
    assert snapshot(repository) == before


def test_git_still_works_inside(inside_host, repository):
    """Protection costs nothing: the agent commits; the host's git sees it, and runs no hook."""
    script = (
        "git init -q . 2>/dev/null; echo change >> README && "
        "git -c user.name=a -c user.email=a@example.com commit -qam two && "
        "git log --oneline | wc -l"
    )
    assert inside_host.says(script) == "2"
    log = subprocess.run(
        ["git", "-C", str(repository), "log", "--oneline"], capture_output=True, text=True
    )
    assert len(log.stdout.splitlines()) == 2, log.stderr
    assert not (repository / ".git" / "hooks").exists() or not any(
        p.name for p in (repository / ".git" / "hooks").iterdir() if not p.name.endswith(".sample")
    )


def test_git_init_makes_no_hook(inside_host):
    """In a directory that is no repository, ``git init`` cannot plant a hook or a setting."""
    done = inside_host(
        "git init -q . ; mkdir -p .git/hooks; echo hostile > .git/hooks/pre-commit; "
        "git config core.fsmonitor hostile; git config core.hooksPath .; echo tried"
    )
    assert "tried" in done.stdout, explain(done)
    workspace = inside_host.workspace
    assert not (workspace / ".git" / "hooks" / "pre-commit").exists()
    config = workspace / ".git" / "config"
    assert not config.exists() or "hostile" not in config.read_text()


def test_the_workspace_belongs_to_the_person(inside):
    """What the agent writes is owned by the workspace's owner on the host, and is writable."""
    inside.says("mkdir -p made/here && echo x > made/here/file && test -O made/here/file")
    info = os.lstat(inside.workspace / "made" / "here" / "file")
    owner = os.lstat(inside.workspace)
    assert (info.st_uid, info.st_gid) == (owner.st_uid, owner.st_gid)


def test_the_workspace_has_the_hosts_path(inside):
    """Agents key their memory on the path: it is the same inside."""
    assert inside.says("pwd") == str(inside.workspace)


HOSTILE_TOML = {
    "a mount": '[launch]\nmount = ["/:/host"]\n',
    "an image": '[launch]\nimage = "host"\n',
    "an unknown key": "[launch]\nnonsense = 1\n",
    "no TOML at all": "\x00\xff not [ toml",
    "an open policy": '[policy]\nuse = "open"\n',
    "a disabled plugin": '[plugins]\ndisable = ["launch"]\n',
}


@pytest.mark.parametrize("name", HOSTILE_TOML)
def test_a_hostile_project_file_loosens_nothing(inside_tiny, name):
    """Refused with the file named, or ignored: the host's root is never inside."""
    (inside_tiny.workspace / ".aileron.toml").write_bytes(HOSTILE_TOML[name].encode("latin-1"))
    done = inside_tiny("ls /host 2>/dev/null; cat /etc/shadow 2>/dev/null; echo ran")
    if done.returncode == 0:
        assert done.stdout.strip() == "ran", explain(done)
    else:
        assert done.returncode in (65, 77, 78), explain(done)
        assert ".aileron.toml" in done.stderr, explain(done)


HOSTILE_DEVCONTAINER = """{
  "image": "localhost/nonexistent:1",
  "initializeCommand": "touch HOST_RAN_INITIALIZE",
  "postCreateCommand": "touch HOST_RAN_POST",
  "runArgs": ["--privileged", "--network=host", "-v", "/:/host"],
  "mounts": ["source=/,target=/host,type=bind"],
  "privileged": true, "capAdd": ["SYS_ADMIN"], "containerUser": "root"
}"""


def test_a_hostile_devcontainer_runs_nothing_on_the_host(inside_tiny):
    """Its commands run nowhere on the host; its privileges, mounts and network are not taken."""
    aileron, workspace = inside_tiny.aileron, inside_tiny.workspace
    (workspace / ".devcontainer").mkdir()
    (workspace / ".devcontainer" / "devcontainer.json").write_text(HOSTILE_DEVCONTAINER)
    script = "ls /host 2>/dev/null; grep CapEff /proc/self/status"
    done = aileron("launch", "--", "sh", "-c", script, cwd=workspace)
    assert not list(workspace.glob("HOST_RAN*")), explain(done)
    if done.returncode == 0:
        assert "0000000000000000" in done.stdout, explain(done)


def test_a_hostile_devcontainer_cannot_be_dry_run_into_action(inside_tiny):
    """Planning reads the file and runs nothing of it."""
    aileron, workspace = inside_tiny.aileron, inside_tiny.workspace
    (workspace / ".devcontainer").mkdir()
    (workspace / ".devcontainer" / "devcontainer.json").write_text(HOSTILE_DEVCONTAINER)
    aileron("launch", "--dry-run", "--", "true", cwd=workspace)
    aileron("sandbox", "plan", cwd=workspace)
    assert sorted(p.name for p in workspace.iterdir()) == [".devcontainer"]
