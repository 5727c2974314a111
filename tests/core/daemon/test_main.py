"""The daemon put together, in process: its order, its end, its log, and the lock."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog
import trio

from aileron_core.client import Client
from aileron_core.daemon import log as daemon_log
from aileron_core.daemon.__main__ import _as_aileron_error, _Ready
from aileron_core.daemon.app import make_app
from aileron_core.daemon.main import LocalDaemon, _locked, daemon_parts, serve_daemon
from aileron_core.daemon.problems import BAD_REQUEST
from aileron_core.errors import AileronError
from aileron_core.paths import Paths
from aileron_core.testing import hooks_with


@asynccontextmanager
async def running(paths: Paths) -> AsyncIterator[LocalDaemon]:
    """A daemon that serves on the test's sockets, in this process; it must end by itself."""
    ready = trio.Event()
    with trio.fail_after(60):
        async with daemon_parts(paths, hooks_with()) as daemon, trio.open_nursery() as nursery:
            nursery.start_soon(serve_daemon, daemon, ready.set)
            await ready.wait()
            yield daemon


async def ask(paths: Paths, method: str, path: str, body: Any = None) -> Any:
    """One call by the real client, in a thread."""
    client = Client(paths, start=False)
    return await trio.to_thread.run_sync(partial(client.request, method, path, body))


def types(paths: Paths) -> list[str]:
    """What is on record."""
    return [json.loads(line)["type"] for line in paths.audit.read_bytes().splitlines()]


async def test_serves_until_it_is_shut_down(paths: Paths) -> None:
    """Sockets are there while it runs and gone afterwards; begin and end are on record."""
    async with running(paths):
        found = await ask(paths, "GET", "/v1/status")
        assert found["pid"] == os.getpid()
        assert paths.console.is_socket()
        assert await ask(paths, "POST", "/v1/shutdown", {"deadline": 1}) == {"pid": os.getpid()}
    assert not paths.socket.exists()
    assert not paths.console.exists()
    assert types(paths) == ["daemon.started", "daemon.stopped"]


async def test_signal_ends_it(paths: Paths) -> None:
    """A first SIGTERM is taken and ends it in order."""
    async with running(paths):
        os.kill(os.getpid(), signal.SIGTERM)
    assert types(paths)[-1] == "daemon.stopped"


async def test_end_that_cannot_be_recorded_is_an_end(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk does not keep the daemon from stopping."""

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    async with running(paths) as daemon:
        monkeypatch.setattr(os, "fdatasync", full)
        daemon.shut_down(0.0)
    assert not paths.socket.exists()


_TWICE = """
import os, signal, trio
from aileron_core.daemon.main import _end_on_signals

class Stuck:
    def shut_down(self, deadline):
        os.kill(os.getpid(), signal.SIGTERM)

async def main():
    async with trio.open_nursery() as nursery:
        await nursery.start(_end_on_signals, Stuck(), 10.0)
        os.kill(os.getpid(), signal.SIGTERM)
        await trio.sleep_forever()

trio.run(main)
"""


def test_second_signal_ends_it_at_once() -> None:
    """While it drains, one more signal ends the process by that signal."""
    done = subprocess.run([sys.executable, "-c", _TWICE], timeout=60, capture_output=True)
    assert done.returncode == -signal.SIGTERM, done.stderr


def test_lock_is_exclusive_and_names_its_holder(paths: Paths) -> None:
    """Who holds the lock is named to who wants it; let go, it can be taken again."""
    with _locked(paths.lock):
        assert paths.lock.read_text() == f"{os.getpid()}\n"
        with pytest.raises(AileronError) as caught, _locked(paths.lock):
            pass
        assert caught.value.code == "daemon-running"
        assert f"process {os.getpid()} holds" in caught.value.why
    with _locked(paths.lock):
        pass


def test_starter_is_told_once() -> None:
    """Success closes the pipe; a failure is written and the pipe is left to the process's end."""
    reader, writer = os.pipe()
    ready = _Ready(writer)
    ready.serves()
    ready.failed(BAD_REQUEST("late"))
    assert os.read(reader, 100) == b"{}"
    assert os.read(reader, 100) == b""
    os.close(reader)
    reader, writer = os.pipe()
    _Ready(writer).failed(BAD_REQUEST("early"))
    assert json.loads(os.read(reader, 1000))["error"]["message"] == "early"
    os.close(reader)
    _Ready(writer).serves()  # whoever started us is gone: no fault
    _Ready(None).serves()


def test_error_to_show_is_found_in_groups() -> None:
    """Of a group of exceptions the one meant for people is shown; a fault is called one."""
    meant = BAD_REQUEST("meant")
    group = ExceptionGroup("g", [ValueError(), ExceptionGroup("h", [meant])])
    assert _as_aileron_error(group) is meant
    assert _as_aileron_error(KeyError("x")).code == "internal"


async def test_error_raised_in_a_task_reaches_the_caller() -> None:
    """A call whose nursery ends with an error for people answers with that error."""
    app = make_app("test", [])

    @app.get("/x")
    async def fail() -> str:
        raise ExceptionGroup("g", [ExceptionGroup("h", [BAD_REQUEST("meant")])])

    response = await app.test_client().get("/x")
    assert response.status_code == 400
    assert json.loads(await response.get_data())["error"]["message"] == "meant"


@pytest.fixture
def logged(tmp_path: Path) -> Iterator[Path]:
    """The daemon's log in a file of the test's; everything as before at the end."""
    root = logging.getLogger()
    handlers, level, config = root.handlers, root.level, structlog.get_config()
    handler = daemon_log.write_log_to(tmp_path / "daemon.log")
    yield tmp_path / "daemon.log"
    handler.close()
    root.handlers, root.level = handlers, level
    structlog.configure(**config)


def test_log_is_lines_of_json(logged: Path) -> None:
    """What we say and what libraries say are lines of JSON with a time and a name."""
    structlog.get_logger("aileron.test").info("said", number=1)
    logging.getLogger("library").warning("said %s", "too")
    ours, theirs = map(json.loads, logged.read_text().splitlines())
    assert (ours["event"], ours["number"], ours["logger"]) == ("said", 1, "aileron.test")
    assert (theirs["event"], theirs["level"]) == ("said too", "warning")
    assert "timestamp" in theirs


def test_log_is_bounded(logged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is turned over before it grows too large; one older file is kept."""
    handler = logging.getLogger().handlers[0]  # pytest adds its own after it
    monkeypatch.setattr(handler, "maxBytes", 2000)
    for number in range(100):
        structlog.get_logger("aileron.test").info("said", number=number)
    assert sorted(path.name for path in logged.parent.iterdir()) == ["daemon.log", "daemon.log.1"]
    assert logged.stat().st_size <= 2000
