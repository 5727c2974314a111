"""`aileron sessions` against real sessions."""

from __future__ import annotations

import json
import subprocess

import pytest


@pytest.fixture
def background(shared_aileron, quiet):
    """A detached session that prints and waits; its id. Ended afterwards."""
    script = "echo out; echo err >&2; exec sleep 300"
    session = shared_aileron.ok(*quiet, "--detach", "--", "sh", "-c", script).strip()
    yield session
    shared_aileron("sessions", "rm", "--force", session)


def test_list_and_show(shared_aileron, background):
    """A running session is listed with its state; one that ended only with --all."""
    listed = shared_aileron.json("sessions", "list")
    assert background in [one["id"] for one in listed]
    assert background in shared_aileron.ok("sessions", "list")
    shown = shared_aileron.json("sessions", "show", background)
    assert (shown["state"], shown["agent"]) == ("running", "sh")
    shared_aileron.ok("sessions", "stop", background)
    assert background not in [one["id"] for one in shared_aileron.json("sessions", "list")]
    kept = {one["id"]: one for one in shared_aileron.json("sessions", "list", "--all")}
    assert kept[background]["state"] == "ended"


def test_stop_reports_the_signal(shared_aileron, background):
    """SIGTERM first: the status is 143 and the reason names who stopped it."""
    shared_aileron.ok("sessions", "stop", background)
    record = shared_aileron.json("sessions", "show", background)
    assert record["exit_status"] == 143
    assert "stopped by" in record["reason"]


def test_exec(shared_aileron, background):
    """Another program runs as the agent's user, with its own status, input and variables."""
    script = "id -u; echo $A; cat; exit 3"
    done = shared_aileron(
        "sessions", "exec", "--env", "A=b", background, "--", "sh", "-c", script, input="in\n"
    )
    assert (done.returncode, done.stdout.split()) == (3, ["1000", "b", "in"]), done.stderr


def test_a_killed_exec_leaves_nothing_running(shared_aileron, background):
    """When the command line of exec is killed, the program that it started is ended too."""
    process = shared_aileron.start(
        "sessions", "exec", background, "--", "sh", "-c", "echo ready; sleep 4321",
        stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout.readline() == b"ready\n"
    process.kill()
    process.wait()
    script = (
        "i=0; while ps | grep -v grep | grep -q 'sleep 4321'; do"
        " i=$((i + 1)); [ $i -lt 30 ] || exit 1; sleep 0.2; done"
    )
    done = shared_aileron("sessions", "exec", background, "--", "sh", "-c", script)
    assert done.returncode == 0, done.stdout + done.stderr


def test_logs_keep_the_channels_apart(shared_aileron, background):
    """What was printed, replayed on the same channels, also after the end."""
    for _ in range(2):
        done = shared_aileron("sessions", "logs", background)
        assert (done.returncode, done.stdout, done.stderr) == (0, "out\n", "err\n")
        shared_aileron.ok("sessions", "stop", background)


def test_logs_follow_to_the_end(shared_aileron, quiet):
    """logs -f shows what is printed later and ends with the session."""
    script = "echo one; read x; echo two"
    process = shared_aileron.start(
        *quiet, "--name", "talker", "--", "sh", "-c", script,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout.readline() == b"one\n"
    follower = shared_aileron.start("sessions", "logs", "-f", "talker", stdout=subprocess.PIPE)
    assert follower.stdout.readline() == b"one\n"
    process.stdin.write(b"\n")
    process.stdin.close()
    assert follower.stdout.read() == b"two\n"
    assert follower.wait(timeout=30) == 0
    assert process.wait(timeout=30) == 0


def test_rm(shared_aileron, background):
    """A running session is refused, an ended one forgotten."""
    refused = shared_aileron("sessions", "rm", background)
    assert refused.returncode != 0
    shared_aileron.ok("sessions", "stop", background)
    shared_aileron.ok("sessions", "rm", background)
    gone = shared_aileron("--json", "sessions", "show", background)
    assert gone.returncode == 66
    assert json.loads(gone.stderr)["error"]["code"] == "session-unknown"


def test_a_dry_run_is_json_and_makes_nothing(shared_aileron, tiny_image):
    """--dry-run prints the plan; no session exists afterwards."""
    before = shared_aileron.json("sessions", "list", "--all")
    shown = json.loads(shared_aileron.ok("launch", "--image", tiny_image, "--dry-run", "true"))
    assert shown["spec"]["argv"] == ["true"]
    assert shared_aileron.json("sessions", "list", "--all") == before


def test_publish(shared_aileron, quiet):
    """A server inside answers on the host's loopback."""
    import socket

    script = "while :; do nc -l -p 8080 -e cat; done"
    session = shared_aileron.ok(
        *quiet, "--publish", "8080", "--detach", "--", "sh", "-c", script
    ).strip()
    notes = shared_aileron.json("sessions", "show", session)["notes"]
    (note,) = [note for note in notes if note.startswith("port 8080")]
    port = int(note.split("127.0.0.1:")[1].split()[0])
    answer = b""
    for _ in range(50):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(b"ping")
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(100)
        if answer:
            break
    assert answer == b"ping"
    shared_aileron.ok("sessions", "rm", "--force", session)


def test_an_overlay_is_reviewed_and_applied(shared_aileron, quiet):
    """diff shows what the agent changed, the host has it only after apply."""
    workspace = shared_aileron.env.workspace
    (workspace / "old").write_text("before\n")
    script = "echo after > old; echo x > new"
    shared_aileron.ok(*quiet, "--workspace", "overlay", "--name", "over", "--", "sh", "-c", script)
    assert (workspace / "old").read_text() == "before\n"
    assert "+after" in shared_aileron.ok("sessions", "diff", "over")
    shared_aileron.ok("sessions", "apply", "over")
    assert (workspace / "old").read_text() == "after\n"
    assert sorted(path.name for path in workspace.iterdir()) == ["new", "old"]
