"""Start the daemon, detached, exactly once, and wait until it serves. Standard library only.

The command line runs this in a process without other threads, which is what makes `os.fork` sound.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from aileron_core.client import Client
from aileron_core.errors import EXIT_CONFIG, EXIT_UNAVAILABLE, AileronError, ErrorCode
from aileron_core.paths import Paths, make_private

DAEMON_FAILED = ErrorCode("daemon-failed", EXIT_UNAVAILABLE, "The daemon did not start.")

READY_TIMEOUT = 120.0
"""Seconds until a daemon must serve; it may first have to end what an earlier one left."""

# What the daemon takes from the environment of whoever starts it. Everything else stays behind: it
# outlives that command, and may hold secrets that are none of its business.
_KEPT = {
    *("HOME", "USER", "LOGNAME", "SHELL", "PATH", "LANG", "LANGUAGE", "TZ", "TMPDIR"),
    *("DBUS_SESSION_BUS_ADDRESS", "SSH_AUTH_SOCK", "REGISTRY_AUTH_FILE", "DOCKER_CONFIG"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy", "VIRTUAL_ENV"),
}
_KEPT_PREFIXES = ("XDG_", "LC_", "CONTAINER", "PYTHON", "COVERAGE_")


def daemon_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What of ``environment`` the daemon gets."""
    return {
        name: value
        for name, value in environment.items()
        if name in _KEPT or name.startswith(_KEPT_PREFIXES)
    }


def ensure_daemon(paths: Paths) -> bool:
    """Start the daemon unless one runs; whether it was started. It serves when this returns.

    Raises:
        AileronError: the daemon's own reason, or ``daemon-failed``.
    """
    make_private(paths.runtime)
    make_private(paths.state)
    client = Client(paths, start=False)
    if client.is_running():
        return False
    with _one_at_a_time(paths.runtime / "start.lock"):
        if client.is_running():
            return False
        _start(paths)
    return True


@contextlib.contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _start(paths: Paths) -> None:
    log = os.open(paths.daemon_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        _become_daemon(log, writer)
    os.close(writer)
    os.close(log)
    os.waitpid(child, 0)
    try:
        _report(_read_all(reader, READY_TIMEOUT), paths)
    finally:
        os.close(reader)


def _become_daemon(log: int, ready: int) -> None:
    """In the forked child: detach, then become the daemon. Never returns."""
    status = 1
    try:
        os.setsid()
        if os.fork() != 0:
            status = 0
            return
        os.chdir("/")
        os.umask(0o077)
        null = os.open("/dev/null", os.O_RDONLY)
        # Copies above the standard three first, so that no dup2 overwrites what is still needed.
        null, log, ready = (fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (null, log, ready))
        for source, target in ((null, 0), (log, 1), (log, 2), (ready, 3)):
            os.dup2(source, target, inheritable=True)
        os.closerange(4, 1 << 16 if (limit := os.sysconf("SC_OPEN_MAX")) < 0 else limit)
        argv = [sys.executable, "-P", "-m", "aileron_core.daemon", "--ready-fd", "3"]
        os.execve(sys.executable, argv, daemon_environment(os.environ))  # noqa: S606 - no shell is wanted
    except BaseException as error:  # noqa: BLE001 - a forked child must not go on as the command
        os.write(2, f"cannot start the daemon: {error!r}\n".encode())
    finally:
        os._exit(status)


def _read_all(fd: int, timeout: float) -> bytes:
    """What is written until the other end is closed, or nothing when that takes too long."""
    deadline, data = time.monotonic() + timeout, b""
    while select.select([fd], [], [], max(0.0, deadline - time.monotonic()))[0]:
        piece = os.read(fd, 1 << 16)
        if not piece:
            return data
        data += piece
    return b'{"error": {"code": "daemon-failed", "message": "the daemon does not get ready"}}'


def _report(answer: bytes, paths: Paths) -> None:
    """Raise what the daemon wrote to the pipe; an empty error object is success.

    Raises:
        AileronError: the daemon did not come up.
    """
    if not answer:
        raise DAEMON_FAILED(
            "the daemon ended while starting",
            why=_last_words(paths.daemon_log),
            hints=[f"see {paths.daemon_log}"],
        )
    reported = json.loads(answer).get("error")
    if reported:
        error = AileronError.from_dict(reported)
        if error.exit_status != EXIT_CONFIG:  # what is written wrongly stays that
            error.exit_status = EXIT_UNAVAILABLE
        raise error


def _last_words(log: Path) -> str:
    try:
        lines = log.read_bytes()[-4096:].decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1] if lines else ""
