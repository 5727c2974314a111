"""Kill -9 of the daemon, the command line and the container at each step: nothing is left.

Each test compares the machine before and after: containers, processes, mounts, sockets, session
directories, and the workspace's own files.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from real_aileron import podman, wait_until

LOOP = "echo ready; while :; do sleep 0.1; done"


def daemon_pid(aileron):
    """The daemon's process id."""
    return int((aileron.env.runtime / "daemon.lock").read_text())


def has_directory(env):
    """The session's runtime directory is there: the step prepare has begun."""
    return any((env.runtime / "sessions").glob("*"))


def has_container(env):
    """A container of this environment is there: the step create has begun."""
    listed = podman(
        "ps", "-a", "--format", "{{.ID}}", f"--filter=label=io.aileron.owner={env.state}"
    )
    return listed.stdout.strip()


def state_is(*states):
    """The newest record is in one of these states, as the audit log has it."""

    def check(env):
        if not (env.state / "audit.jsonl").exists():
            return False
        lines = (env.state / "audit.jsonl").read_text().splitlines()
        types = [json.loads(line)["type"] for line in lines if line.endswith("}")]
        return bool(types) and types[-1] in states

    return check


STEPS = {
    "prepare": has_directory,
    "create": has_container,
    "listen": state_is("session.created", "session.running"),
    "run": state_is("session.running"),
    "end": state_is("session.ending", "session.ended"),
}


@pytest.fixture
def warm(aileron, quiet):
    """The daemon runs and knows the image."""
    aileron.ok(*quiet, "--", "true")
    return aileron


def services(env):
    """Processes that serve this environment's Podman socket."""
    socket = os.fsencode(env.runtime)
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if b"system\0service" in command and socket in command:
            # By socket: a plain user's service is two processes, one in the user's own namespace.
            found.update(word for word in command.split(b"\0") if socket in word)
    return found


def settled(aileron, leftovers):
    """Nothing is left, once what ends has ended."""
    wait_until("nothing left", lambda: not leftovers(), 40)
    # A service of Podman's that lost its daemon ends by itself after five seconds.
    wait_until("one service", lambda: len(services(aileron.env)) <= 1, 40)
    assert os.listdir(aileron.env.workspace) == []


@pytest.mark.parametrize("step", STEPS)
def test_the_daemon_is_killed(warm, quiet, leftovers, step):
    """The command says so (69), the next one finds the truth, and all is removed."""
    script = "exit 0" if step == "end" else LOOP
    process = warm.start(
        *quiet, "--", "sh", "-c", script, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    wait_until(step, lambda: STEPS[step](warm.env))
    os.kill(daemon_pid(warm), signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode in ((69, 0) if step == "end" else (69,)), errors
    sessions = warm.json("sessions", "list", "--all")
    assert len(sessions) == 2
    assert sessions[0]["state"] in ("failed", "ended")
    if sessions[0]["state"] == "failed":
        assert "daemon ended" in sessions[0]["reason"]
    settled(warm, leftovers)
    assert warm(*quiet, "--", "true").returncode == 0


@pytest.mark.parametrize("step", ["prepare", "create", "listen", "run"])
def test_the_command_line_is_killed(warm, quiet, leftovers, step):
    """The daemon notices, ends the session and removes everything."""
    process = warm.start(*quiet, "--", "sh", "-c", LOOP, stdout=subprocess.PIPE)
    wait_until(step, lambda: STEPS[step](warm.env))
    process.kill()
    process.communicate()
    settled(warm, leftovers)
    wait_until("ended", lambda: warm.json("sessions", "list") == [])


def test_the_container_is_killed(warm, quiet, leftovers):
    """Its session has ended with 137, and everything is removed."""
    process = warm.start(*quiet, "--", "sh", "-c", LOOP, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    podman("kill", has_container(warm.env))
    assert process.wait(timeout=60) == 137
    settled(warm, leftovers)


def test_the_container_is_removed_from_outside(warm, quiet, leftovers):
    """`podman rm -f` behind our back is an end like any other."""
    process = warm.start(*quiet, "--", "sh", "-c", LOOP, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    podman("rm", "--force", "--time=0", has_container(warm.env))
    assert process.wait(timeout=60) == 137
    settled(warm, leftovers)


@pytest.mark.parametrize("step", ["prepare", "create", "listen"])
def test_ctrl_c_while_preparing(warm, quiet, leftovers, step):
    """The first Ctrl-C undoes the launch; the status is 130 (or the agent's, when it had begun)."""
    process = warm.start(
        *quiet, "--", "sh", "-c", "sleep 300", stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    wait_until(step, lambda: STEPS[step](warm.env))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert b"Traceback" not in errors
    settled(warm, leftovers)


def test_a_second_ctrl_c_leaves_at_once(warm, quiet, leftovers):
    """Two in a row: the command is gone, the daemon undoes the rest."""
    process = warm.start(*quiet, "--", "sh", "-c", LOOP, stderr=subprocess.PIPE)
    wait_until("prepare", lambda: has_directory(warm.env))
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    settled(warm, leftovers)


def test_stubs_of_a_killed_daemon_are_removed(warm, quiet):
    """Protected paths that were absent are gone again after the next start; changed ones stay."""
    process = warm.start(*quiet, "--", "sh", "-c", LOOP, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    workspace: Path = warm.env.workspace
    assert (workspace / ".vscode").is_dir()
    (workspace / ".vscode/settings.json").write_text("{}")
    os.kill(daemon_pid(warm), signal.SIGKILL)
    process.wait(timeout=60)
    warm("sessions", "list")
    assert os.listdir(workspace) == [".vscode"]
    assert os.listdir(workspace / ".vscode") == ["settings.json"]
    wait_until("one service", lambda: len(services(warm.env)) <= 1, 40)


def test_twenty_at_once(warm, quiet, leftovers):
    """Twenty launches in one workspace at the same time all work, and nothing is left."""
    processes = [
        warm.start(
            *quiet, "--", "sh", "-c", f"echo {number}; exit {number}", stdout=subprocess.PIPE
        )
        for number in range(20)
    ]
    results = [(p.communicate(timeout=120)[0], p.returncode) for p in processes]
    assert results == [(f"{number}\n".encode(), number) for number in range(20)]
    settled(warm, leftovers)
