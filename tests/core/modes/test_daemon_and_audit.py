"""``aileron daemon`` and ``aileron audit``, against a real daemon; no container is needed."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import pytest
from real_aileron import explain, wait_until


def test_a_daemon_starts_says_so_and_ends(shared_aileron):
    """start, status, start again (the same one), stop, status: 69, stop: nothing to do."""
    aileron = shared_aileron
    pid = aileron.json("daemon", "start")["pid"]
    assert aileron.json("daemon", "status")["pid"] == pid
    assert f"pid {pid}" in aileron.ok("daemon", "start")
    assert f"{pid}\n" in aileron.ok("daemon", "status")
    assert aileron.json("daemon", "stop") == {"state": "stopped", "pid": pid}
    wait_until("it is reaped", lambda: not os.path.exists(f"/proc/{pid}"))
    absent = aileron("daemon", "status")
    assert (absent.returncode, "[daemon-absent]" in absent.stderr) == (69, True), explain(absent)
    assert aileron.ok("daemon", "stop") == "no daemon runs\n"


def test_a_drained_daemon_takes_no_new_session(shared_aileron):
    """``drain`` says that nothing is left; a launch is then refused until the daemon was ended."""
    aileron = shared_aileron
    aileron.ok("daemon", "start")
    assert aileron.json("daemon", "drain", "--deadline", "1") == {"drained": True, "sessions": 0}
    refused = aileron("launch", "--image", "host", "--", "true")
    assert refused.returncode in (69, 75), explain(refused)
    aileron.ok("daemon", "stop")


def test_the_daemons_log_is_shown(shared_aileron):
    """Its lines for people, as objects with ``--json``; as many as are asked for."""
    aileron = shared_aileron
    pid = aileron.json("daemon", "start")["pid"]
    assert f"info started pid={pid}" in aileron.ok("daemon", "logs")
    last = json.loads(aileron.ok("--json", "daemon", "logs", "-n", "1"))
    assert (last["event"], last["pid"]) == ("started", pid)
    assert aileron.ok("daemon", "logs", "-n", "0") == ""


def test_the_daemons_log_is_followed(shared_aileron):
    """``-f`` goes on as lines are written, and ends with Ctrl-C."""
    aileron = shared_aileron
    aileron.ok("daemon", "start")
    process = aileron.start("daemon", "logs", "-f", "-n", "0", stdout=subprocess.PIPE, text=True)
    aileron.ok("daemon", "stop")
    assert process.stdout is not None
    assert "stopped" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130


def test_the_record_is_listed_shown_and_exported(shared_aileron, tmp_path):
    """A start of the daemon is on record: in the list, by its number, and in the export."""
    aileron = shared_aileron
    aileron.ok("daemon", "start")
    newest = aileron.json("audit", "list", "--type", "daemon.", "-n", "1")[0]
    assert (newest["state"], newest["id"]) == ("daemon.started", newest["seq"])
    assert aileron.json("audit", "show", str(newest["seq"]))["hash"] == newest["hash"]
    assert "daemon.started" in aileron.ok("audit", "list")
    exported = [json.loads(line) for line in aileron.ok("audit", "export").splitlines()]
    assert [entry["seq"] for entry in exported] == list(range(1, newest["seq"] + 1))
    file = tmp_path / "record.jsonl"
    aileron.ok("audit", "export", "-o", file, "--first", "1", "--last", "1")
    assert json.loads(file.read_text())["seq"] == 1
    again = aileron("audit", "export", "-o", file)
    assert (again.returncode, "[export-failed]" in again.stderr) == (73, True), explain(again)


def test_a_record_that_is_not_there(shared_aileron):
    """A number beyond the end is an error that says where to look."""
    done = shared_aileron("audit", "show", "999999")
    assert done.returncode != 0
    assert "aileron audit list" in done.stderr, explain(done)


def test_the_record_is_followed(shared_aileron):
    """``follow --after 0`` begins with the first record and goes on until Ctrl-C."""
    aileron = shared_aileron
    aileron.ok("daemon", "start")
    process = aileron.start("audit", "follow", "--after", "0", stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("1 ")
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130


@pytest.mark.parametrize("change", ["changed", "removed", "reordered"])
def test_a_changed_record_is_found(aileron, change):
    """A line that was changed, removed or moved is named by ``verify``, with exit status 1."""
    for _ in range(2):
        aileron.ok("daemon", "start")
        aileron.ok("daemon", "stop")
    aileron.ok("daemon", "start")
    assert aileron.ok("audit", "verify").startswith("verified: ")
    log = aileron.env.state / "audit.jsonl"
    first, second, *rest = log.read_bytes().splitlines(keepends=True)
    changed = first.replace(b'"version":"', b'"version":"9')
    log.write_bytes(b"".join({
        "changed": [changed, second, *rest],
        "removed": [second, *rest],
        "reordered": [second, first, *rest],
    }[change]))  # fmt: skip
    done = aileron("audit", "verify")
    assert done.returncode == 1, explain(done)
    assert "NOT sound" in done.stdout, explain(done)
    assert json.loads(aileron("--json", "audit", "verify").stdout)["sound"] is False
