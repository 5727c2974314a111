"""The record's calls on the host's side: list, show, verify, export, and events as they happen."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any

import trio
from attrs import frozen
from quart import Blueprint

from aileron_core.daemon.calls import HEARTBEAT, bounded, call, last_event_id, sse
from aileron_core.daemon.problems import RECORD_UNKNOWN

if TYPE_CHECKING:
    from aileron_core.daemon.audit import AuditLog
    from aileron_core.daemon.chain import Entry
    from aileron_core.daemon.main import LocalDaemon

LARGEST_PAGE = 1000
_MOST = (1 << 53) - 1  # what every JSON reader can hold exactly (RFC 8259, 6)


@frozen
class Record:
    """One line of the audit log."""

    seq: int
    time: float
    type: str
    session: str | None
    host: str
    data: dict[str, Any]
    hash: str


@frozen
class RecordQuery:
    """Which records to list: the newest ``limit`` of those after ``after``."""

    after: int = bounded(0, 0, _MOST)
    limit: int = bounded(100, 1, LARGEST_PAGE)
    session: str | None = None
    type: str | None = None
    """A type, or the start of one that ends with a dot (``session.``)."""


@frozen
class Range:
    """Which records to export: from ``first`` to ``last``, both included."""

    first: int = bounded(1, 0, _MOST)
    last: int | None = bounded(None, 0, _MOST, or_none=True)


@frozen
class EventQuery:
    """Where to begin; ``Last-Event-ID`` counts more. Without either: from now on."""

    after: int | None = bounded(None, 0, _MOST, or_none=True)


@frozen
class Problem:
    """Something wrong with the log."""

    line: int
    problem: str


@frozen
class Verdict:
    """What the verification of the whole log found."""

    sound: bool
    records: int
    head: int
    """Number of the last record."""
    findings: tuple[Problem, ...]


def record_blueprint(daemon: LocalDaemon) -> Blueprint:
    """The calls about the record."""
    calls = Blueprint("record", __name__)
    _add_reading(calls, daemon.audit)
    _add_streams(calls, daemon)
    return calls


def _add_reading(calls: Blueprint, audit: AuditLog) -> None:
    @calls.get("/v1/audit")
    @call(query=RecordQuery, answer=tuple[Record, ...])
    async def records(query: RecordQuery) -> list[dict[str, Any]]:
        """Records, oldest first; without ``after`` the newest there are."""
        return [entry.to_dict() for entry in await _newest(audit, query)]

    @calls.get("/v1/audit/<int:seq>")
    @call(answer=Record)
    async def record(seq: int) -> dict[str, Any]:
        """One record by its number."""
        if 1 <= seq <= audit.head.seq:
            async with aclosing(audit.entries(seq - 1, seq)) as entries:
                async for entry in entries:
                    return entry.to_dict()
        raise RECORD_UNKNOWN(f"there is no record {seq}", hints=["aileron audit list"])

    @calls.get("/v1/audit/verification")
    @call(answer=Verdict)
    async def verification() -> Verdict:
        """Read the whole log, check every line and that its end is the one last written."""
        found = await audit.verify()
        problems = tuple(Problem(one.line, one.problem) for one in found.findings)
        return Verdict(found.is_sound, found.records, found.head.seq, problems)


def _matches(entry: Entry, query: RecordQuery) -> bool:
    if query.session is not None and entry.event.session != query.session:
        return False
    if query.type is None or entry.event.type == query.type:
        return True
    return query.type.endswith(".") and entry.event.type.startswith(query.type)


async def _newest(audit: AuditLog, query: RecordQuery) -> list[Entry]:
    """The newest that match, looked for backwards in growing steps: a long log costs little."""
    head, span = audit.head.seq, query.limit
    while True:
        start = max(query.after, head - span)
        found = [entry async for entry in audit.entries(start, head) if _matches(entry, query)]
        if len(found) >= query.limit or start <= query.after:
            return found[-query.limit :]
        span *= 8


def _add_streams(calls: Blueprint, daemon: LocalDaemon) -> None:
    audit = daemon.audit

    @calls.get("/v1/audit/export")
    @call(query=Range, answer=Record, stream="application/x-ndjson")
    async def export(query: Range) -> AsyncGenerator[bytes, None]:
        """Records as lines of JSON, as many as there are now."""
        return _lines(audit, query)

    @calls.get("/v1/events")
    @call(query=EventQuery, answer=Record, stream="text/event-stream")
    async def events(query: EventQuery) -> AsyncGenerator[bytes, None]:
        """Records as they are made, as server-sent events; ``Last-Event-ID`` resumes after one."""
        given = last_event_id()
        return _events(audit, query.after if given is None else given, daemon.stopped)


async def _lines(audit: AuditLog, query: Range) -> AsyncGenerator[bytes, None]:
    async with aclosing(audit.entries(query.first - 1, query.last)) as entries:
        async for entry in entries:
            yield json.dumps(entry.to_dict()).encode() + b"\n"


async def _events(
    audit: AuditLog, after: int | None, stopped: trio.Event
) -> AsyncGenerator[bytes, None]:
    """Events, with a comment now and then, until the daemon stops."""
    last = audit.head.seq if after is None else after
    yield b": aileron\n\n"
    while True:
        is_last, head = stopped.is_set(), audit.head.seq
        async with aclosing(audit.entries(last, head)) as entries:
            async for entry in entries:
                yield sse(entry.event.type, entry.to_dict(), entry.seq)
        last = max(last, head)
        if is_last:
            return
        with trio.move_on_after(HEARTBEAT) as patience:
            await _either(partial(audit.wait_beyond, last), stopped.wait)
        if patience.cancelled_caught:
            yield b": still here\n\n"


async def _either(*waits: Callable[[], Awaitable[None]]) -> None:
    """Until one of them is over."""
    async with trio.open_nursery() as nursery:

        async def wait(one: Callable[[], Awaitable[None]]) -> None:
            await one()
            nursery.cancel_scope.cancel()

        for one in waits:
            nursery.start_soon(wait, one)
