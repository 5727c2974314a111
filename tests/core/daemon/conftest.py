"""A daemon's parts in a test's own directories, with nothing of them faked."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field

from aileron_core.daemon import audit as audit_log
from aileron_core.daemon.audit import AuditLog, open_audit
from aileron_core.daemon.context import SessionSummary
from aileron_core.daemon.database import SqliteDatabase, open_database
from aileron_core.errors import ErrorCode
from aileron_core.paths import Paths, make_private
from aileron_core.sessions.engine import SESSION_ALIVE

NO_SESSION = ErrorCode("test-session-unknown", 66, "For tests.")


@pytest.fixture
def paths() -> Iterator[Paths]:
    """Directories of their own; short, because Unix sockets live there."""
    root = Path(tempfile.mkdtemp(prefix="ail-", dir="/tmp"))
    made = Paths(*(root / name for name in ("run", "state", "config", "data", "cache")))
    for directory in (made.runtime, made.state, made.config, made.data, made.cache):
        make_private(directory)
    yield made
    shutil.rmtree(root)


@pytest.fixture
async def database(paths: Paths) -> AsyncIterator[SqliteDatabase]:
    """A database with the record's table."""
    async with open_database(paths.database, audit_log.MIGRATIONS) as opened:
        yield opened


@pytest.fixture
async def audit(paths: Paths, database: SqliteDatabase) -> AsyncIterator[AuditLog]:
    """An empty record on a clock that stands still."""
    async with open_audit(paths.audit, "here", database, clock=lambda: 1000.0) as opened:
        yield opened


def summary_of(name: str, **facts: Any) -> SessionSummary:
    """A session's record with harmless facts."""
    defaults: dict[str, Any] = {
        "id": f"s_{name}",
        "name": name,
        "state": "running",
        "agent": "sh",
        "command": ("sh",),
        "workspace": "/work",
        "workspace_mode": "rw",
        "image": "fake/image:1",
        "tier": "byo",
        "backend": "fake",
        "host": "here",
        "created": 1000.0,
    }
    return SessionSummary(**{**defaults, **facts})


@define(eq=False)
class FakeSessions:
    """The sessions of a daemon, as a list."""

    known: list[SessionSummary] = field(factory=list)
    calls: list[tuple[Any, ...]] = field(factory=list)

    async def summaries(self, *, all: bool = False) -> list[SessionSummary]:  # noqa: A002 - the protocol's name
        """Those that run; all of them with ``all``."""
        return [one for one in self.known if all or one.ended is None]

    async def find(self, reference: str) -> SessionSummary:
        """By id or name."""
        for one in self.known:
            if reference in (one.id, one.name):
                return one
        raise NO_SESSION(f"no session {reference!r}")

    async def stop(self, session: str, *, by: str, grace: float = 10.0) -> SessionSummary:
        """Noted."""
        self.calls.append(("stop", session, by, grace))
        return await self.find(session)

    async def forget(self, session: str) -> None:
        """Noted, for one that has ended."""
        if (await self.find(session)).ended is None:
            raise SESSION_ALIVE(f"the session {session} has not ended")
        self.calls.append(("forget", session))

    async def drain(self, deadline: float | None) -> None:
        """Noted."""
        self.calls.append(("drain", deadline))


@pytest.fixture
def sessions() -> FakeSessions:
    """One session that runs and one that has ended."""
    return FakeSessions([summary_of("one"), summary_of("two", state="ended", ended=2000.0)])


@pytest.fixture
def tls(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context, and a client's that trusts it."""
    from aileron_core.sessions.certificates import SessionAuthority

    authority = SessionAuthority("s_test", now=__import__("time").time())
    client = ssl.create_default_context(cadata=authority.pem.decode())
    return authority.server_context(["127.0.0.1", "localhost"]), client


@pytest.fixture
def loopback() -> Iterator[socket.socket]:
    """A listening TCP socket on any free port of the loopback."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    yield listener
    listener.close()


@pytest.fixture
def tiny_disk(paths: Paths) -> Iterator[Path]:
    """A file system of 256 KiB that is full as soon as one wants."""
    if os.getuid() != 0:
        pytest.skip("mounting needs root")
    mounted = paths.state / "tiny"
    mounted.mkdir()
    assert os.system(f"mount -t tmpfs -o size=256k tmpfs {mounted}") == 0
    yield mounted
    os.system(f"umount -l {mounted}")
