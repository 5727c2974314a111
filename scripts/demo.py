"""``make demo``: a scripted agent in a real sandbox, step by step, each looked at from the host.

Exit status 1 when any step is not as promised. It makes its own temporary directory, removes its
session at the end, and stops the daemon when it was the one to start it.
"""

from __future__ import annotations

import json
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
AILERON = str(Path(sys.executable).parent / "aileron")
GREET = 'def greet(name):\n    return "Helo, " + name + "!"\n'
TEST = """import unittest
from greet import greet

class TestGreet(unittest.TestCase):
    def test_greet(self):
        self.assertEqual(greet("World"), "Hello, World!")
"""


def aileron(*args: str, **more: object) -> subprocess.CompletedProcess[str]:
    """Run the real command line; nothing is checked."""
    return subprocess.run([AILERON, *args], capture_output=True, text=True, **more)  # type: ignore[call-overload]  # options of run


class Steps:
    """Says each step in plain language, and remembers whether one failed."""

    def __init__(self) -> None:
        self.failed = 0

    def check(self, holds: bool, text: str, detail: str = "") -> None:
        """One step: a tick or a cross, what it means, what was seen."""
        self.failed += not holds
        print(f"  {'✓' if holds else '✗'} {text}" + (f"\n      {detail}" if detail else ""))


def make_workspace(root: Path) -> Path:
    """A git repository with a bug, and a secret beside it."""
    workspace = root / "project"
    workspace.mkdir()
    (workspace / "greet.py").write_text(GREET)
    (workspace / "test_greet.py").write_text(TEST)
    shutil.copy(HERE / "demo_agent.py", workspace / "demo_agent.py")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "A greeting with a bug"]):
        git(workspace, *command)
    return workspace


def git(workspace: Path, *args: str) -> str:
    """The host's git, with no hook and no setting of the repository's that runs something."""
    command = ["git", "-c", "core.hooksPath=/dev/null", "-c", "user.name=You"]
    command += ["-c", "user.email=you@example.com", "-C", str(workspace), *args]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def launch(workspace: Path, name: str, port: int, secret: Path) -> dict[str, str]:
    """Run the agent; what it saw, by name."""
    command = ["launch", "--image", "base", "--name", name, "--", "python3", "demo_agent.py"]
    command += [str(port), str(secret)]
    print(f"\n$ cd {workspace} && aileron {' '.join(command)}")
    done = aileron(*command, cwd=workspace)
    for line in (done.stderr + done.stdout).splitlines():
        print(f"  | {line}")
    if done.returncode != 0:
        print(f"  launch exited {done.returncode}")
    lines = (line.partition("\t") for line in done.stdout.splitlines() if "\t" in line)
    return {key: seen for key, _, seen in lines}


def look(steps: Steps, workspace: Path, secret: Path, arrived: bool, seen: dict[str, str]) -> None:
    """The promises, as the host sees them."""

    def refused(name: str) -> bool:
        return seen.get(name, "").startswith("refused")

    mended = '"Hello, "' in (workspace / "greet.py").read_text()
    log = git(workspace, "log", "-1", "--format=%s")
    owner = (workspace / "greet.py").stat().st_uid == workspace.stat().st_uid
    steps.check(
        mended and log == "Mend the greeting" and owner, "its task is done", f"commit: {log}"
    )
    steps.check(
        refused("host") and not arrived, "this machine is unreachable", seen.get("host", "")
    )
    steps.check(refused("world"), "no other machine is reachable", seen.get("world", ""))
    hidden = refused("secret") and secret.read_text() not in str(seen)
    steps.check(hidden, "a secret file is invisible", seen.get("secret", ""))
    steps.check(refused("passwords"), "so are password hashes", seen.get("passwords", ""))
    hook = workspace / ".git" / "hooks" / "post-commit"
    safe = refused("protected") and not hook.exists()
    steps.check(safe, "a git hook cannot be planted", seen.get("protected", ""))


def look_at_record(steps: Steps, name: str) -> None:
    """The session is listed, and the record is whole."""
    listed = aileron("--json", "sessions", "list", "--all")
    rows = json.loads(listed.stdout) if listed.returncode == 0 else []
    state = next((row["state"] for row in rows if row["name"] == name), "not listed")
    steps.check(state == "ended", "the session is in `aileron sessions list --all`", state)
    verified = aileron("audit", "verify")
    said = (verified.stdout + verified.stderr).strip()
    steps.check(verified.returncode == 0, "`aileron audit verify` passes", said)


def listen() -> tuple[socket.socket, Callable[[], bool]]:
    """A listener on this machine's loopback, and whether anybody came."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)

    def arrived() -> bool:
        try:
            listener.accept()[0].close()
        except BlockingIOError:
            return False
        return True

    return listener, arrived


def main() -> int:
    """Everything, in order."""
    ours = aileron("daemon", "status").returncode != 0
    name = f"demo-{secrets.token_hex(3)}"
    root = Path(tempfile.mkdtemp(prefix="aileron-demo-"))
    steps = Steps()
    print("A scripted agent gets a task, does it, and then looks for a way out of its sandbox.")
    try:
        workspace = make_workspace(root)
        secret = root / "secret-key"
        secret.write_text(secrets.token_hex(16))
        listener, arrived = listen()
        with listener:
            seen = launch(workspace, name, listener.getsockname()[1], secret)
            print("\nSeen from outside:")
            look(steps, workspace, secret, arrived(), seen)
        look_at_record(steps, name)
    finally:
        aileron("sessions", "rm", name)
        if ours:
            aileron("daemon", "stop")
        shutil.rmtree(root, ignore_errors=True)
    print("\nEverything held." if not steps.failed else f"\n{steps.failed} steps did not hold.")
    if steps.failed and not ours:  # it may be of before an update, or of a tree that was moved
        print("A daemon ran already and was used: aileron daemon stop, then make demo again.")
    return 1 if steps.failed else 0


if __name__ == "__main__":
    sys.exit(main())
