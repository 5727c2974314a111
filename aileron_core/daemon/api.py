"""The core's own calls on the host's side: status, sessions, end, plugins."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from attrs import frozen
from quart import Blueprint

from aileron_core import __version__
from aileron_core.daemon.calls import bounded, call
from aileron_core.daemon.context import SessionSummary

if TYPE_CHECKING:
    from aileron_core.daemon.main import LocalDaemon


@frozen
class Status:
    """The daemon as it is now."""

    pid: int
    version: str
    host: str
    started: float
    """Seconds since the epoch."""
    state: str
    """``serving`` or ``draining``."""
    sessions: tuple[SessionSummary, ...]
    """Those that have not ended."""
    recovered: tuple[str, ...]
    """What an earlier daemon had left, and what was done about it."""
    broken_plugins: tuple[str, ...]
    audit_records: int
    memory: int
    """Resident bytes."""


@frozen
class SessionQuery:
    """Which sessions to list."""

    all: bool = False
    """Those that have ended too."""


@frozen
class Stop:
    """How to end a session."""

    grace: float = bounded(10.0, 0, 86400)
    """Seconds between SIGTERM and SIGKILL."""
    by: str = "a person"


@frozen
class End:
    """How to end the daemon."""

    deadline: float | None = bounded(10.0, 0, 7 * 86400, or_none=True)
    """Seconds that sessions may go on; null: until they end by themselves."""


@frozen
class Drained:
    """What a drain came to."""

    drained: bool
    sessions: int
    """Sessions that are left."""


@frozen
class Stopping:
    """The daemon ends."""

    pid: int


@frozen
class PluginInfo:
    """A plugin as this daemon has it."""

    id: str
    state: str
    """``on``, ``off`` or ``broken``."""
    distribution: str
    version: str
    why: str


def host_blueprint(daemon: LocalDaemon) -> Blueprint:
    """The core's calls on the host's side."""
    calls = Blueprint("core", __name__)
    _add_daemon_calls(calls, daemon)
    _add_session_calls(calls, daemon)
    return calls


def _add_daemon_calls(calls: Blueprint, daemon: LocalDaemon) -> None:
    @calls.get("/v1/status")
    @call(answer=Status)
    async def status() -> Status:
        """Process id, version, sessions, and what the start found."""
        return Status(
            pid=os.getpid(),
            version=__version__,
            host=daemon.host,
            started=daemon.started,
            state="draining" if daemon.draining else "serving",
            sessions=tuple(await daemon.sessions.summaries()),
            recovered=daemon.recovered,
            broken_plugins=tuple(fact.name for fact in daemon.hooks.broken),
            audit_records=daemon.audit.head.seq,
            memory=_resident(),
        )

    @calls.get("/v1/plugins")
    @call(answer=tuple[PluginInfo, ...])
    async def plugins() -> Sequence[PluginInfo]:
        """Every plugin that is installed, and whether this daemon has it."""
        return tuple(_plugin_info(fact) for fact in daemon.hooks.plugins)

    @calls.post("/v1/drain")
    @call(body=End, answer=Drained)
    async def drain(body: End) -> Drained:
        """Take no new session, wait for those there are, end them at the deadline."""
        await daemon.drain(body.deadline)
        left = await daemon.sessions.summaries()
        return Drained(not left, len(left))

    @calls.post("/v1/shutdown")
    @call(body=End, answer=Stopping, status=202)
    async def shutdown(body: End) -> Stopping:
        """Drain, then end the daemon; the answer comes before the drain."""
        daemon.shut_down(body.deadline)
        return Stopping(os.getpid())


def _add_session_calls(calls: Blueprint, daemon: LocalDaemon) -> None:
    @calls.get("/v1/sessions")
    @call(query=SessionQuery, answer=tuple[SessionSummary, ...])
    async def sessions(query: SessionQuery) -> Sequence[SessionSummary]:
        """What is running; with ``all`` what was running too, newest first."""
        return tuple(await daemon.sessions.summaries(all=query.all))

    @calls.get("/v1/sessions/<ref>")
    @call(answer=SessionSummary)
    async def show(ref: str) -> SessionSummary:
        """One session, by id, start of an id, or name."""
        return await daemon.sessions.find(ref)

    @calls.post("/v1/sessions/<ref>/stop")
    @call(body=Stop, answer=SessionSummary)
    async def stop(ref: str, body: Stop) -> SessionSummary:
        """End a session and wait until it has ended; an ended one is fine."""
        found = await daemon.sessions.find(ref)
        return await daemon.sessions.stop(found.id, by=body.by, grace=body.grace)

    @calls.delete("/v1/sessions/<ref>")
    @call(status=204)
    async def forget(ref: str) -> None:
        """Remove the record, log and change set of a session that has ended."""
        found = await daemon.sessions.find(ref)
        await daemon.sessions.forget(found.id)


def _plugin_info(fact: Any) -> PluginInfo:
    state = "broken" if fact.broken else "on" if fact.enabled else "off"
    return PluginInfo(fact.name, state, fact.distribution, fact.version, fact.broken or fact.why)


def _resident() -> int:
    """Resident bytes of this process (proc(5), /proc/pid/statm, field 2 in pages)."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
