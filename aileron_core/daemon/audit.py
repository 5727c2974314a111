"""The record: appended, hash-chained, on disk before `AuditLog.record` returns.

Records that come at the same time share one write and one ``fdatasync`` (group commit). The head of
the chain is also kept in the database, so that a log whose end was cut off is found: the chain then
goes on from the head in the database, and the gap stays visible for ever.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import structlog
import trio
from attrs import define, field

from aileron_core.daemon.chain import (
    GENESIS,
    LONGEST_LINE,
    Entry,
    Head,
    Verification,
    make_line,
    parse_line,
    read_lines,
    refuse_secrets,
    verify_lines,
)
from aileron_core.daemon.database import Migration, SqliteDatabase
from aileron_core.errors import EXIT_OS, ErrorCode
from aileron_core.records import Event, Observer

AUDIT_UNWRITABLE = ErrorCode(
    "audit-unwritable", EXIT_OS, "The audit log cannot be written, so nothing is allowed."
)

MIGRATIONS: tuple[Migration, ...] = (
    (
        "audit-1",
        """
        CREATE TABLE audit_head (
            id INTEGER PRIMARY KEY CHECK (id = 1),
            seq INTEGER NOT NULL,
            hash TEXT NOT NULL
        )
        """,
    ),
)

BATCH = 256 << 10
"""Bytes that a reader takes at a time."""

log = structlog.get_logger("aileron.audit")


@define(eq=False)
class _Pending:
    """One record on its way to the disk."""

    event: Event
    seq: int = 0
    error: Exception | None = None
    is_done: bool = False


@define(eq=False)
class _File:
    """The open log; only ever used by one worker thread at a time."""

    path: Path
    fd: int
    host: str
    head: Head
    size: int
    """Bytes that are on disk and acknowledged; what lies beyond is cut before the next write."""

    def append(self, batch: Sequence[_Pending]) -> None:
        """Write the records; each learns its number or its error.

        Raises:
            OSError: nothing of the batch counts as written.
        """
        head, lines = self.head, []
        for pending in batch:
            try:
                line, head = make_line(head, self.host, pending.event)
            except (ValueError, TypeError) as error:
                pending.error = error
                continue
            pending.seq = head.seq
            lines.append(line)
        self._write(b"".join(lines))
        self.head = head

    def _write(self, data: bytes) -> None:
        if os.fstat(self.fd).st_size != self.size:
            os.ftruncate(self.fd, self.size)  # what an earlier failed write left
        view, at = memoryview(data), self.size
        while view:
            written = os.pwrite(self.fd, view, at)
            view, at = view[written:], at + written
        os.fdatasync(self.fd)
        self.size = at


@define(eq=False)
class AuditLog:
    """The `Audit` of the daemon; made by `open_audit`."""

    path: Path
    repairs: tuple[str, ...]
    """What was odd about the log when it was opened, for people."""
    _file: _File
    _database: SqliteDatabase
    _clock: Callable[[], float]
    _queue: list[_Pending] = field(factory=list)
    _turn: trio.Lock = field(factory=trio.Lock)
    _grown: trio.Event = field(factory=trio.Event)
    _observers: dict[str, list[Observer]] = field(factory=dict)

    @property
    def head(self) -> Head:
        """The last record that is on disk."""
        return self._file.head

    async def record(self, type: str, session: str | None, data: Mapping[str, Any]) -> Event:  # noqa: A002 - the protocol's name
        """Append one line; it is on disk when this returns. Observers are told afterwards.

        A record that was begun is finished, also when the caller is cancelled meanwhile.

        Raises:
            AileronError: ``audit-unwritable``; the caller must then refuse what it was about to do.
            ValueError: the data names a secret, is too long or is not JSON-able.
        """
        refuse_secrets(data)
        pending = _Pending(Event(type, session, dict(data), self._clock()))
        self._queue.append(pending)
        with trio.CancelScope(shield=True):
            async with self._turn:
                if not pending.is_done:  # somebody before us may have written it along
                    await self._commit()
        if pending.error is not None:
            raise self._shown(pending.error) from pending.error
        self._tell(pending.event)
        return pending.event

    async def _commit(self) -> None:
        batch, self._queue = self._queue, []
        error: Exception | None = None
        try:
            await trio.to_thread.run_sync(self._file.append, batch)
            await self._database.note(_anchor(self._file.head))
        except Exception as failure:  # noqa: BLE001 - whatever it is, each of the batch must learn it
            error = failure
        for pending in batch:
            pending.error = pending.error or error
            pending.is_done = True
        self._grown.set()
        self._grown = trio.Event()

    def _shown(self, error: Exception) -> Exception:
        if isinstance(error, ValueError | TypeError):
            return ValueError(f"this cannot be recorded: {error}")
        return AUDIT_UNWRITABLE(
            f"the audit log {self.path} cannot be written",
            why=str(error),
            hints=[f"free space on the file system of {self.path.parent}, or make it writable"],
        )

    # --- observers ------------------------------------------------------------------------

    def watch(self, session: str, observers: Sequence[Observer]) -> None:
        """Tell these of the session's records until `unwatch`."""
        self._observers.setdefault(session, []).extend(observers)

    def unwatch(self, session: str) -> None:
        """Tell nobody of the session's records any more."""
        self._observers.pop(session, None)

    def _tell(self, event: Event) -> None:
        observers = self._observers.get(event.session or "", [])
        for observer in tuple(observers):
            try:
                observer(event)
            except Exception as error:  # noqa: BLE001 - a plugin's fault must not undo a record
                log.error("observer failed and is left out", error=repr(error))
                observers.remove(observer)

    # --- reading --------------------------------------------------------------------------

    async def follow(self, after: int | None = None) -> AsyncGenerator[tuple[int, Event], None]:
        """Numbered events after the given number (None: from now), then live ones, without end."""
        async with aclosing(self.follow_entries(after)) as entries:
            async for entry in entries:
                yield entry.seq, entry.event

    async def follow_entries(self, after: int | None = None) -> AsyncGenerator[Entry, None]:
        """As `follow`, with the whole record. The file is the queue: no buffer can run over."""
        last = self._file.head.seq if after is None else after
        while True:
            await self.wait_beyond(last)
            head = self._file.head.seq
            async with aclosing(self.entries(last, head)) as entries:
                async for entry in entries:
                    yield entry
            last = head

    async def entries(self, after: int = 0, last: int | None = None) -> AsyncGenerator[Entry, None]:
        """The records after number ``after`` up to ``last`` that are there now, in file order."""
        at, end = await self._find(after), self._file.size
        while at < end:
            batch, at = await trio.to_thread.run_sync(self._batch, at)
            for entry in batch:
                if entry.seq > after and (last is None or entry.seq <= last):
                    yield entry

    async def verify(self) -> Verification:
        """Read the whole log and check every line, and that its end is the one in the database."""
        async with self._turn:  # so that file and database agree
            size, anchor = self._file.size, await self._database.read(_read_anchor)
        return await trio.to_thread.run_sync(self._verify, size, anchor)

    def _verify(self, size: int, anchor: Head | None) -> Verification:
        return verify_lines(read_lines(self.path, size), anchor or self._file.head)

    def _batch(self, at: int) -> tuple[list[Entry], int]:
        """The records that begin in the next `BATCH` bytes, and where to go on."""
        entries: list[Entry] = []
        end = min(at + BATCH, self._file.size)
        with self.path.open("rb") as file:
            file.seek(at)
            while at < end:
                line = file.readline(LONGEST_LINE)
                if not line:
                    return entries, self._file.size  # somebody cut the file: nothing more to come
                at += len(line)
                entries.extend(_readable(line))
        return entries, at

    async def _find(self, after: int) -> int:
        """An offset at or before the record that follows number ``after``."""
        if after <= 0:
            return 0
        if after >= self._file.head.seq:
            return self._file.size
        return await trio.to_thread.run_sync(_bisect, self.path, self._file.size, after)

    async def wait_beyond(self, seq: int) -> None:
        """Until there is a record with a number greater than ``seq``."""
        while self._file.head.seq <= seq:
            await self._grown.wait()

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file.fd)


def _readable(line: bytes) -> Iterator[Entry]:
    try:
        yield parse_line(line)
    except ValueError:
        return  # a damaged line is `verify`'s to report


def _bisect(path: Path, size: int, after: int) -> int:
    """Where a line starts from which on every number greater than ``after`` is found."""
    low, high = 0, size
    with path.open("rb") as file:
        while high - low > BATCH:
            middle = (low + high) // 2
            file.seek(middle)
            file.readline(LONGEST_LINE)  # to the start of a whole line
            start, line = file.tell(), file.readline(LONGEST_LINE)
            entry = next(_readable(line), None)
            if entry is not None and entry.seq <= after:
                low = start
            else:
                high = middle
    return low


# --- opening ------------------------------------------------------------------------------


def _anchor(head: Head) -> Callable[[sqlite3.Connection], None]:
    def work(connection: sqlite3.Connection) -> None:
        connection.execute(
            "INSERT INTO audit_head VALUES (1, ?, ?) "
            "ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, hash = excluded.hash",
            (head.seq, head.hash),
        )

    return work


def _read_anchor(connection: sqlite3.Connection) -> Head | None:
    row = connection.execute("SELECT seq, hash FROM audit_head").fetchone()
    return None if row is None else Head(row["seq"], row["hash"])


def _last_lines(fd: int, size: int) -> list[bytes]:
    """The lines in the last `LONGEST_LINE` * 2 bytes; the first may be a part of one."""
    span = min(size, 2 * LONGEST_LINE)
    return os.pread(fd, span, size - span).splitlines(keepends=True)


def _open_file(path: Path, host: str, anchor: Head | None) -> tuple[_File, list[str]]:
    """The log, with a torn last line cut off, and what was odd about it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    repairs = []
    size = os.fstat(fd).st_size
    lines = _last_lines(fd, size)
    if lines and not lines[-1].endswith(b"\n"):
        torn = len(lines.pop())
        size -= torn
        os.ftruncate(fd, size)
        repairs.append(f"the last line was torn ({torn} bytes, never acknowledged): cut off")
    tail = [entry for line in lines[-2:] for entry in _readable(line)]
    head = Head(tail[-1].seq, tail[-1].hash) if tail else Head()
    chosen = _continue_from(head, anchor, lines)
    if chosen != head:
        repairs.append(
            f"the log ends at record {head.seq}, the database knows record {chosen.seq}: records "
            "were removed or changed; `aileron audit verify` shows where"
        )
    return _File(path, fd, host, chosen, size), repairs


def _continue_from(head: Head, anchor: Head | None, lines: Sequence[bytes]) -> Head:
    """The head to go on from: the file's own, unless the database knows better.

    The file may be ahead of the database (killed between the two writes), never behind it.
    """
    if anchor is None or anchor == head:
        return head
    if head.seq > anchor.seq:
        known = {(e.seq, e.hash) for line in lines for e in _readable(line)}
        if (anchor.seq, anchor.hash) in known:
            return head
    return anchor


@asynccontextmanager
async def open_audit(
    path: Path, host: str, database: SqliteDatabase, clock: Callable[[], float] = time.time
) -> AsyncIterator[AuditLog]:
    """The log at ``path``; repairs made while opening are themselves recorded.

    Raises:
        AileronError: ``audit-unwritable``.
    """
    anchor = await database.read(_read_anchor)
    try:
        file, repairs = await trio.to_thread.run_sync(_open_file, path, host, anchor)
    except OSError as error:
        raise AUDIT_UNWRITABLE(
            f"the audit log {path} cannot be opened",
            why=str(error),
            hints=[f"check {path.parent}"],
        ) from error
    audit = AuditLog(path, tuple(repairs), file, database, clock)
    try:
        for repair in repairs:
            await audit.record("audit.repaired", None, {"found": repair})
        yield audit
    finally:
        audit.close()


__all__ = ["AUDIT_UNWRITABLE", "GENESIS", "MIGRATIONS", "AuditLog", "open_audit"]
