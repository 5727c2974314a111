"""Promise 11: at a session's end no container, socket, token, mount, directory, process is left."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from real_aileron import explain, look, podman, wait_until

pytestmark = pytest.mark.container


def settled(aileron):
    """What is left once the daemon had time to tidy up; empty when it did."""

    def clean() -> bool:
        return not look(aileron.env, daemon=True)

    try:
        wait_until("nothing is left", clean, 20)
    except AssertionError:
        return look(aileron.env, daemon=True)
    return look(aileron.env, daemon=True)


@pytest.mark.parametrize(
    "script", ["true", "exit 7", "kill -9 $$", "sleep 600 & sleep 600 & exit 0"]
)
def test_nothing_is_left_however_the_agent_ends(aileron, tiny_image, script):
    """Exit, failure, a signal, children that linger: all of it goes."""
    done = aileron("launch", "--image", tiny_image, "--", "sh", "-c", script)
    assert done.returncode in (0, 7, 137), explain(done)
    left = settled(aileron)
    assert not left, left


def test_nothing_is_left_when_memory_runs_out(aileron, tiny_image):
    """The container's monitor drops a marker where Podman works: in nobody's directory."""
    script = "head -c 256000000 /dev/zero | tail -c 255000000 | wc -c"
    aileron("launch", "--image", tiny_image, "--memory", "64m", "--", "sh", "-c", script)
    markers = [path for path in (Path("/oom"), aileron.env.workspace / "oom") if path.exists()]
    left = settled(aileron)
    assert (markers, str(left)) == ([], "nothing")


def test_nothing_is_left_in_the_workspace(aileron, tiny_image):
    """The stubs under never-writable paths that were absent are gone again."""
    workspace = aileron.env.workspace
    aileron.ok("launch", "--image", tiny_image, "--", "true")
    assert list(workspace.iterdir()) == []


def test_nothing_is_left_of_a_launch_that_failed(aileron, tiny_image):
    """An agent that is not in the image: an error, and nothing half-started."""
    done = aileron("launch", "--image", tiny_image, "--", "no-such-agent")
    assert done.returncode in (66, 127), explain(done)
    left = settled(aileron)
    assert not left, left


def test_nothing_is_left_when_the_command_line_is_killed(aileron, tiny_image):
    """Kill -9 of a foreground launch ends its session."""
    process = aileron.start(
        "launch", "--image", tiny_image, "--", "sh", "-c", "echo up; sleep 600",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    left = settled(aileron)
    assert not left, left


def test_nothing_is_left_when_the_container_is_killed(aileron, tiny_image):
    """A container removed behind the daemon's back: the session ends and says so."""
    aileron.ok("launch", "--image", tiny_image, "--detach", "--name", "gone", "--", "sleep", "600")
    [container] = podman(
        "ps", "-q", "--no-trunc", "--filter", f"label=io.aileron.owner={aileron.env.state}"
    ).stdout.split()
    podman("kill", container, env=aileron.env.variables)
    wait_until("the session has ended", lambda: _state(aileron, "gone") in ("ended", "failed"))
    left = settled(aileron)
    assert not left, left


def _state(aileron, name):
    listed = aileron.json("sessions", "list", "--all")
    return next(s["state"] for s in listed if s["name"] == name)


def test_nothing_is_left_when_the_daemon_is_killed(aileron, tiny_image):
    """Kill -9 of the daemon: the next command finds what was left, ends it, and tells the truth."""
    aileron.ok(
        "launch", "--image", tiny_image, "--detach", "--name", "orphan", "--", "sleep", "600"
    )
    pid = aileron.json("daemon", "status")["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_until("it is dead", lambda: not os.path.exists(f"/proc/{pid}"))
    assert _state(aileron, "orphan") in ("ended", "failed")
    left = settled(aileron)
    assert not left, left
    assert "verified" in aileron.ok("audit", "verify")
    aileron.ok("daemon", "stop")
    # The dead daemon's Podman service notices by itself that nobody is connected, within 5 s.
    wait_until("its Podman service has ended", lambda: not look(aileron.env), 15)


def test_nothing_is_left_after_interrupts(aileron, tiny_image):
    """Ctrl-C in the foreground reaches the agent; when it ends, all of it goes."""
    process = aileron.start(
        "launch", "--image", tiny_image, "--", "sh", "-c", "echo up; sleep 600",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(30) != 0
    left = settled(aileron)
    assert not left, left
