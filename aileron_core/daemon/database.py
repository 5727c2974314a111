"""SQLite in worker threads: one writer, a few readers, migrations, errors that say what to do.

The journal is a WAL with ``synchronous=FULL``: what `SqliteDatabase.write` returned from survives
``kill -9`` and a power cut (https://sqlite.org/wal.html).
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import trio
from attrs import define, field

from aileron_core.errors import EXIT_DATA, EXIT_OS, EXIT_SOFTWARE, AileronError, ErrorCode

T = TypeVar("T")

Migration = tuple[str, str]
"""A unique name (``sessions-1``) and the SQL that is run once, in the order given."""

DATABASE_CORRUPT = ErrorCode(
    "database-corrupt", EXIT_DATA, "The daemon's database is damaged or no database."
)
DATABASE_NEWER = ErrorCode(
    "database-newer", EXIT_SOFTWARE, "The database was written by a newer Aileron."
)
DATABASE_UNWRITABLE = ErrorCode(
    "database-unwritable", EXIT_OS, "The database cannot be written: disk full, read-only, busy."
)

BUSY_TIMEOUT = 5.0
"""Seconds to wait for another process's lock (somebody with a sqlite3 shell)."""
READERS = 4
"""Connections, and so threads, that read at the same time."""
_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT}


def database_error(path: Path, error: sqlite3.Error) -> AileronError | None:
    """The error to show for a failure of the disk or the file; None for a fault in the SQL."""
    primary = getattr(error, "sqlite_errorcode", 0) & 0xFF  # extended codes keep it in the low byte
    if primary in _CORRUPT:
        return _damaged(path, str(error))
    mends = {
        sqlite3.SQLITE_FULL: f"free space on the file system of {path.parent}",
        sqlite3.SQLITE_IOERR: f"check the file system of {path.parent} (full, failing, over quota)",
        sqlite3.SQLITE_CANTOPEN: f"check that {path.parent} is a directory that you may write",
        sqlite3.SQLITE_READONLY: f"make {path} writable",
        sqlite3.SQLITE_PERM: f"make {path} writable",
        sqlite3.SQLITE_BUSY: f"close the other program that has {path} open",
        sqlite3.SQLITE_LOCKED: f"close the other program that has {path} open",
    }
    if primary not in mends:
        return None
    return DATABASE_UNWRITABLE(
        f"the database {path} cannot be used", why=str(error), hints=[mends[primary]]
    )


def _damaged(path: Path, why: str) -> AileronError:
    return DATABASE_CORRUPT(
        f"the database {path} is damaged",
        why=why,
        hints=[
            "stop the daemon (aileron daemon stop)",
            f"move it away (mv {path} {path}.damaged): only ended sessions are forgotten",
        ],
    )


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection with the settings that everything here relies on."""
    connection = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
    )
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    if read_only:
        connection.execute("PRAGMA query_only = ON")
    return connection


def migrate(connection: sqlite3.Connection, migrations: Sequence[Migration]) -> None:
    """Run those migrations that this database has not seen, each in one transaction.

    Raises:
        AileronError: ``database-newer`` when it has seen one that is not in ``migrations``.
        ValueError: two migrations of one name.
    """
    names = [name for name, _ in migrations]
    if len(set(names)) != len(names):
        raise ValueError(f"a migration is named twice: {sorted(names)}")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY, applied REAL NOT NULL)"
    )
    seen = {row["name"] for row in connection.execute("SELECT name FROM migrations")}
    if unknown := sorted(seen - set(names)):
        raise DATABASE_NEWER(
            "the database was written by a newer Aileron, or with a plugin that is gone",
            why=f"it holds {', '.join(unknown)}, which this version does not know",
            hints=["install that version again, or move the database file away"],
        )
    for name, sql in migrations:
        if name not in seen:
            _apply(connection, name, sql)


def _apply(connection: sqlite3.Connection, name: str, sql: str) -> None:
    quoted = name.replace("'", "''")
    try:
        connection.executescript(
            f"BEGIN IMMEDIATE;\n{sql}\n;INSERT INTO migrations VALUES ('{quoted}', unixepoch());"  # noqa: S608 - the name is ours and quoted
            "\nCOMMIT;"
        )
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@define(eq=False)
class SqliteDatabase:
    """The `Database` of the daemon; made by `open_database`."""

    path: Path
    _writer: sqlite3.Connection
    _readers: list[sqlite3.Connection] = field(factory=list)
    _one_writer: trio.CapacityLimiter = field(factory=lambda: trio.CapacityLimiter(1))
    _some_readers: trio.CapacityLimiter = field(factory=lambda: trio.CapacityLimiter(READERS))

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``work`` in one transaction (BEGIN IMMEDIATE); it is durable when this returns.

        Raises:
            AileronError: ``database-unwritable`` or ``database-corrupt``; nothing was changed.
        """
        return await trio.to_thread.run_sync(self._write, work, "FULL", limiter=self._one_writer)

    async def note(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """As `write`, but it survives ``kill -9`` only, not a power cut: no wait for the disk."""
        return await trio.to_thread.run_sync(self._write, work, "NORMAL", limiter=self._one_writer)

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``work`` on a snapshot; it must not write."""
        return await trio.to_thread.run_sync(self._read, work, limiter=self._some_readers)

    def _write(self, work: Callable[[sqlite3.Connection], T], synchronous: str) -> T:
        try:
            self._writer.execute(f"PRAGMA synchronous = {synchronous}")
            self._writer.execute("BEGIN IMMEDIATE")
            result = work(self._writer)
            if isinstance(result, sqlite3.Cursor):
                result.close()  # an open one would keep the WAL from being folded in at the end
            self._writer.execute("COMMIT")
        except BaseException as error:
            self._undo(self._writer)
            self._explain(error)
            raise
        return result

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        connection = None
        try:
            connection = self._reader()
            connection.execute("BEGIN")
            return work(connection)
        except BaseException as error:
            self._explain(error)
            raise
        finally:
            if connection is not None:
                self._undo(connection)
                self._readers.append(connection)

    def _reader(self) -> sqlite3.Connection:
        return self._readers.pop() if self._readers else connect(self.path, read_only=True)

    def _undo(self, connection: sqlite3.Connection) -> None:
        if connection.in_transaction:
            connection.execute("ROLLBACK")

    def _explain(self, error: BaseException) -> None:
        """Raise the `AileronError` for ``error`` when the file or the disk is the cause."""
        if isinstance(error, sqlite3.Error):
            shown = database_error(self.path, error)
            if shown is not None:
                raise shown from error

    def close(self) -> None:
        """Close every connection; the WAL is folded into the file."""
        for connection in (*self._readers, self._writer):
            connection.close()


def _open(path: Path, migrations: Sequence[Migration]) -> SqliteDatabase:
    try:
        path.touch(mode=0o600, exist_ok=True)
        connection = connect(path)
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            connection.close()
            raise _damaged(path, found)
        migrate(connection, migrations)
    except OSError as error:
        raise DATABASE_UNWRITABLE(
            f"the database {path} cannot be made", why=str(error), hints=[f"check {path.parent}"]
        ) from error
    except sqlite3.DatabaseError as error:
        shown = database_error(path, error)
        if shown is None:
            raise
        raise shown from error
    return SqliteDatabase(path, connection)


@asynccontextmanager
async def open_database(
    path: Path, migrations: Sequence[Migration]
) -> AsyncIterator[SqliteDatabase]:
    """The database at ``path``, made and migrated when needed, closed at the end.

    Raises:
        AileronError: ``database-corrupt``, ``database-newer`` or ``database-unwritable``.
    """
    database = await trio.to_thread.run_sync(_open, path, migrations)
    try:
        yield database
    finally:
        database.close()
