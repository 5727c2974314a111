"""The daemon as a process: started once, found, killed, stopped; nothing left, everything kept."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from real_aileron import Aileron, explain, wait_until

from aileron_core import __version__


def status(aileron: Aileron) -> Any:
    """What ``daemon status`` says, or None when there is no daemon."""
    done = aileron("--json", "daemon", "status")
    return json.loads(done.stdout) if done.returncode == 0 else None


def has_ended(pid: int) -> bool:
    """The process is gone (a zombie is gone)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Send a signal and wait for the end."""
    os.kill(pid, number)
    wait_until(f"process {pid} has ended", lambda: has_ended(pid))


def records(aileron: Aileron) -> list[dict[str, Any]]:
    """The audit log, as it is on the disk."""
    lines = (aileron.env.state / "audit.jsonl").read_bytes().splitlines()
    return [json.loads(line) for line in lines]


def test_start_status_stop(aileron: Aileron) -> None:
    """Started it serves and says who it is; stopped it is gone with its sockets, on record."""
    started = aileron.json("daemon", "start")
    found = aileron.json("daemon", "status")
    assert found["pid"] == started["pid"]
    assert found["version"] == __version__
    assert found["sessions"] == []
    assert not has_ended(found["pid"])
    aileron.ok("daemon", "stop")
    assert has_ended(found["pid"])
    assert not (aileron.env.runtime / "daemon.sock").exists()
    assert not (aileron.env.runtime / "console.sock").exists()
    assert [one["type"] for one in records(aileron)] == ["daemon.started", "daemon.stopped"]


def test_idle_daemon_is_small(aileron: Aileron) -> None:
    """An idle daemon holds at most 110 MB."""
    aileron.ok("daemon", "start")
    assert aileron.json("daemon", "status")["memory"] < 110e6


def test_private_files(aileron: Aileron) -> None:
    """Sockets, database, record and log are the user's alone."""
    aileron.ok("daemon", "start")
    assert aileron.env.runtime.stat().st_mode & 0o777 == 0o700
    assert aileron.env.state.stat().st_mode & 0o777 == 0o700
    for path in (*aileron.env.runtime.iterdir(), *aileron.env.state.iterdir()):
        assert path.stat().st_mode & 0o077 == 0, path


def test_no_daemon_is_status_69(aileron: Aileron) -> None:
    """Asking for the status starts nothing and exits 69; stopping nothing is fine."""
    done = aileron("daemon", "status")
    assert done.returncode == 69, explain(done)
    assert "no daemon is running" in done.stderr
    assert "aileron daemon start" in done.stderr
    aileron.ok("daemon", "stop")
    assert not (aileron.env.runtime / "daemon.lock").exists()


def test_second_start_finds_the_first(aileron: Aileron) -> None:
    """Starting again changes nothing."""
    first = aileron.json("daemon", "start")["pid"]
    assert aileron.json("daemon", "start")["pid"] == first


def test_second_daemon_is_refused_by_the_lock(aileron: Aileron) -> None:
    """A second process, started by hand, sees the lock, names the first, and leaves it alone."""
    pid = aileron.json("daemon", "start")["pid"]
    done = subprocess.run(
        [sys.executable, "-m", "aileron_core.daemon"],
        env=aileron.env.variables,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 69
    log = (aileron.env.state / "daemon.log").read_text()
    assert f"process {pid} holds" in log
    assert aileron.json("daemon", "status")["pid"] == pid


def test_thirty_commands_start_one_daemon(aileron: Aileron) -> None:
    """Thirty commands at once that need a daemon get one, the same."""
    with ThreadPoolExecutor(30) as pool:
        found = list(pool.map(lambda _: aileron("--json", "daemon", "start"), range(30)))
    assert {one.returncode for one in found} == {0}, "\n".join(map(explain, found))
    assert len({json.loads(one.stdout)["pid"] for one in found}) == 1
    assert [one["type"] for one in records(aileron)] == ["daemon.started"]


def test_detached_from_the_command(aileron: Aileron) -> None:
    """The daemon has its own session, ``/`` as directory, and no descriptor of its starter."""
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    process = aileron.start("daemon", "start", stdout=subprocess.PIPE, close_fds=False)
    process.communicate(timeout=60)
    os.close(writer)
    assert os.read(reader, 1) == b""  # nobody holds the pipe any more
    os.close(reader)
    pid = status(aileron)["pid"]
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert os.getsid(pid) != os.getsid(0)
    assert os.readlink(f"/proc/{pid}/fd/0") == "/dev/null"
    assert os.readlink(f"/proc/{pid}/fd/1") == str(aileron.env.state / "daemon.log")


def test_environment_stays_behind(aileron: Aileron) -> None:
    """Secrets in the environment of the command that starts the daemon are not in the daemon's."""
    aileron.ok("daemon", "start", env={"GH_TOKEN": "ghp_canary", "AWS_SECRET_ACCESS_KEY": "canary"})
    pid = status(aileron)["pid"]
    assert b"canary" not in Path(f"/proc/{pid}/environ").read_bytes()


def test_killed_daemon_is_replaced(aileron: Aileron) -> None:
    """After ``kill -9`` the next command starts a new daemon; what was recorded is still there."""
    first = aileron.json("daemon", "start")["pid"]
    before = records(aileron)
    kill(first)
    assert (aileron.env.runtime / "daemon.sock").exists()
    assert aileron("daemon", "status").returncode == 69
    second = aileron.json("daemon", "start")["pid"]
    assert second != first
    assert records(aileron)[: len(before)] == before
    assert aileron.json("audit", "verify")["sound"]


@pytest.mark.parametrize("content", ["", "999999999\n", "rubbish"])
def test_stale_lock_and_socket_are_no_obstacle(aileron: Aileron, content: str) -> None:
    """Files that look like a daemon's keep none from starting: only the lock itself counts."""
    aileron.env.runtime.mkdir(mode=0o700)
    (aileron.env.runtime / "daemon.lock").write_text(content)
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(aileron.env.runtime / "daemon.sock"))
    stale.close()
    aileron.ok("daemon", "start")


def test_signal_stops_cleanly(aileron: Aileron) -> None:
    """SIGTERM (and Ctrl-C) drain and stop: sockets gone, the end on record."""
    for number in (signal.SIGTERM, signal.SIGINT):
        pid = aileron.json("daemon", "start")["pid"]
        kill(pid, number)
        assert not (aileron.env.runtime / "daemon.sock").exists()
        assert records(aileron)[-1]["type"] == "daemon.stopped"


def test_drained_daemon_takes_nothing_new(aileron: Aileron) -> None:
    """After a drain the daemon says so and refuses launches until it is stopped."""
    aileron.ok("daemon", "start")
    assert aileron.json("daemon", "drain") == {"drained": True, "sessions": 0}
    assert status(aileron)["state"] == "draining"


def test_open_event_stream_does_not_hold_up_the_end(aileron: Aileron) -> None:
    """Somebody who follows the record sees the daemon's end, and the end does not wait for him."""
    aileron.ok("daemon", "start")
    follower = aileron.start("--json", "audit", "follow", "--after", "0", stdout=subprocess.PIPE)
    assert json.loads(follower.stdout.readline())["type"] == "daemon.started"
    before = time.monotonic()
    aileron.ok("daemon", "stop")
    assert time.monotonic() - before < 5
    out, _ = follower.communicate(timeout=30)
    assert [json.loads(line)["type"] for line in out.splitlines()] == ["daemon.stopped"]


def test_other_version_is_told_to_stop_the_daemon(aileron: Aileron) -> None:
    """A command of another version gets a clear error, and may still stop the daemon."""
    aileron.ok("daemon", "start")
    answer = _raw(aileron, b"GET /v1/sessions HTTP/1.1\r\naileron-version: 9.9\r\n")
    assert b"daemon-version" in answer
    assert b"aileron daemon stop" in answer
    assert b"200" in _raw(aileron, b"GET /v1/status HTTP/1.1\r\naileron-version: 9.9\r\n")


def _raw(aileron: Aileron, head: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(aileron.env.runtime / "daemon.sock"))
        connection.sendall(head + b"host: x\r\nconnection: close\r\n\r\n")
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_logs_show_what_the_daemon_said(aileron: Aileron) -> None:
    """``daemon logs`` works while the daemon runs and after it has ended."""
    aileron.ok("daemon", "start")
    assert "started" in aileron.ok("daemon", "logs")
    aileron.ok("daemon", "stop")
    assert "stopped" in aileron.ok("daemon", "logs", "--lines", "1")


# --- other users ----------------------------------------------------------------------------------

_ASK = """
import os, socket, sys
os.setgid(65534); os.setuid(65534)
with socket.socket(socket.AF_UNIX) as s:
    try:
        s.connect(sys.argv[1])
        s.sendall(b"GET /v1/status HTTP/1.1\\r\\nhost: x\\r\\nconnection: close\\r\\n\\r\\n")
        print("got", s.recv(1000))
    except OSError as error:
        print("refused", type(error).__name__)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="becoming another user needs root")
@pytest.mark.parametrize("name", ["daemon.sock", "console.sock"])
def test_other_user_gets_nothing(aileron: Aileron, name: str) -> None:
    """Another user cannot connect; and where the file's mode would let him, his uid is refused."""
    aileron.ok("daemon", "start")
    path = aileron.env.runtime / name
    command = [sys.executable, "-c", _ASK, str(path)]
    assert subprocess.run(command, capture_output=True, text=True).stdout == (
        "refused PermissionError\n"
    )
    for opened in (aileron.env.root, aileron.env.root / "run", aileron.env.runtime):
        opened.chmod(0o755)
    path.chmod(0o777)
    said = subprocess.run(command, capture_output=True, text=True).stdout
    assert said in ("got b''\n", "refused ConnectionResetError\n", "refused BrokenPipeError\n")
    for closed in (aileron.env.runtime, aileron.env.root / "run"):
        closed.chmod(0o700)


# --- trouble at the start -------------------------------------------------------------------------


def test_start_error_is_the_daemons_own(aileron: Aileron) -> None:
    """What keeps the daemon from starting reaches the person, with the mend and exit 69."""
    (aileron.env.state).mkdir(mode=0o700)
    (aileron.env.state / "aileron.db").write_bytes(b"no database at all, but text\n" * 100)
    done = aileron("daemon", "start")
    assert done.returncode == 69, explain(done)
    assert "[database-corrupt]" in done.stderr
    assert f"mv {aileron.env.state}/aileron.db" in done.stderr
    (aileron.env.state / "aileron.db").unlink()
    aileron.ok("daemon", "start")


def test_broken_configuration_is_named_at_start(aileron: Aileron) -> None:
    """A typing error in the user's file is reported with its line, and nothing is left running."""
    aileron.env.user_config.write_text("[plugins]\ndisable = [\n")
    done = aileron("daemon", "start")
    assert done.returncode == 78, explain(done)
    assert "config.toml" in done.stderr


@pytest.fixture
def tiny_state(aileron: Aileron) -> Iterator[Path]:
    """The state directory on a file system of 1 MiB."""
    if os.getuid() != 0:
        pytest.skip("mounting needs root")
    aileron.env.state.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", str(aileron.env.state)]
    subprocess.run(mount, check=True)
    yield aileron.env.state
    aileron("daemon", "stop")
    subprocess.run(["umount", "--lazy", str(aileron.env.state)], check=True)


def fill(directory: Path) -> Path:
    """A file that takes all the room there is."""
    filler = directory / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65536, 4096, 512, 1):
            try:
                while file.write(b"x" * size) == size:
                    pass
            except OSError:
                continue
    return filler


def test_full_disk_at_start_is_a_clear_error(aileron: Aileron, tiny_state: Path) -> None:
    """Without room the daemon does not start and says why; with room it does."""
    filler = fill(tiny_state)
    done = aileron("daemon", "start")
    assert done.returncode == 69, explain(done)
    assert "database-unwritable" in done.stderr or "audit-unwritable" in done.stderr
    assert "free space" in done.stderr
    filler.unlink()
    aileron.ok("daemon", "start")


def test_full_disk_while_running_keeps_the_record_whole(aileron: Aileron, tiny_state: Path) -> None:
    """A daemon whose disk fills up goes on answering; the record stays sound."""
    aileron.ok("daemon", "start")
    filler = fill(tiny_state)
    assert aileron.json("daemon", "status")["state"] == "serving"
    assert aileron.json("audit", "verify")["sound"]
    pid = aileron.json("daemon", "status")["pid"]
    kill(pid, signal.SIGTERM)
    filler.unlink()
    aileron.ok("daemon", "start")
    assert aileron.json("audit", "verify")["sound"]


# --- the record -----------------------------------------------------------------------------------


def test_tampering_while_stopped_is_found(aileron: Aileron) -> None:
    """A record cut, changed or deleted between daemons: ``audit verify`` exits 1 and says where."""
    for _ in range(3):
        aileron.ok("daemon", "start")
        aileron.ok("daemon", "stop")
    path = aileron.env.state / "audit.jsonl"
    kept = path.with_suffix(".kept")
    shutil.copy(aileron.env.state / "aileron.db", aileron.env.state / "kept.db")
    shutil.copy(path, kept)
    whole = kept.read_bytes().splitlines(keepends=True)
    for tampered in (whole[:-1], whole[1:], [*whole[:2], *whole[3:]], []):
        shutil.copy(aileron.env.state / "kept.db", aileron.env.state / "aileron.db")
        path.write_bytes(b"".join(tampered))
        done = aileron("audit", "verify")
        assert done.returncode == 1, explain(done)
        assert "line " in done.stdout
        aileron.ok("daemon", "stop")
    shutil.copy(aileron.env.state / "kept.db", aileron.env.state / "aileron.db")
    shutil.copy(kept, path)
    assert aileron("audit", "verify").returncode == 0


def test_record_is_listed_shown_and_exported(aileron: Aileron, tmp_path: Path) -> None:
    """The same records by every way to look at them."""
    aileron.ok("daemon", "start")
    listed = aileron.json("audit", "list")
    assert [(one["id"], one["type"]) for one in listed] == [(1, "daemon.started")]
    assert "daemon.started" in aileron.ok("audit", "list", "--type", "daemon.")
    assert aileron.json("audit", "show", "1")["data"]["version"] == __version__
    missing = aileron("audit", "show", "9")
    assert (missing.returncode, "record-unknown" in missing.stderr) == (66, True)
    aileron.ok("audit", "export", "--output", tmp_path / "out.jsonl")
    assert json.loads((tmp_path / "out.jsonl").read_text())["seq"] == 1
    refused = aileron("audit", "export", "--output", tmp_path / "out.jsonl")
    assert refused.returncode == 73
    rows = aileron.ok("audit", "export", "--format", "csv").splitlines()
    assert rows[0] == "seq,time,type,session,host,data,hash"
    assert rows[1].startswith("1,")
    assert "daemon.started" in rows[1]


def test_lock_is_held_as_long_as_the_daemon_lives(aileron: Aileron) -> None:
    """Nobody can take the daemon's lock while it runs; afterwards anybody can."""
    aileron.ok("daemon", "start")
    with (aileron.env.runtime / "daemon.lock").open() as file:
        with pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        aileron.ok("daemon", "stop")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
