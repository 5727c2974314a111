"""Session records in the daemon's database: what `sessions list` says after a ``kill -9`` too."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from attrs import asdict, evolve, frozen

from aileron_core.daemon.context import Database, SessionSummary
from aileron_core.errors import EXIT_NO_INPUT, EXIT_USAGE, ErrorCode
from aileron_core.records import SessionState

SESSION_UNKNOWN = ErrorCode("session-unknown", EXIT_NO_INPUT, "There is no such session.")
SESSION_AMBIGUOUS = ErrorCode(
    "session-ambiguous", EXIT_USAGE, "More than one session has an id that starts like this."
)

HISTORY = 1000
"""Ended sessions that are kept; older ones are forgotten."""

MIGRATIONS: tuple[tuple[str, str], ...] = (
    (
        "sessions-1",
        """
        CREATE TABLE IF NOT EXISTS sessions (
            number INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            name TEXT NOT NULL,
            final INTEGER NOT NULL,
            connection TEXT,
            token TEXT NOT NULL,
            record TEXT NOT NULL
        );
        CREATE INDEX IF NOT EXISTS sessions_final ON sessions (final, number);
        """,
    ),
)
"""Run in order by whoever opens the database. ``token`` is the SHA-256 of the session's token."""

_FINAL = tuple(state.value for state in SessionState if state.is_final)


@frozen
class StoredSession:
    """A record with what only the daemon needs."""

    summary: SessionSummary
    connection: str | None = None


class SessionStore:
    """Reads and writes records; every write is durable when it returns."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, summary: SessionSummary, connection: str | None, token: str) -> None:
        """A new record; ``token`` is the token's SHA-256."""

        def work(database: sqlite3.Connection) -> None:
            database.execute(
                "INSERT INTO sessions (id, name, final, connection, token, record)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (summary.id, summary.name, _final(summary), connection, token, _dump(summary)),
            )

        await self._database.write(work)

    async def save(self, summary: SessionSummary) -> None:
        """The record as it is now; a final one forgets its token, and the oldest ones go."""

        def work(database: sqlite3.Connection) -> None:
            final = _final(summary)
            database.execute(
                "UPDATE sessions SET name = ?, final = ?, record = ?,"
                " token = CASE WHEN ? THEN '' ELSE token END WHERE id = ?",
                (summary.name, final, _dump(summary), final, summary.id),
            )

        await self._database.write(work)

    async def unfinished(self) -> Sequence[StoredSession]:
        """Records that are not final, oldest first."""

        def work(database: sqlite3.Connection) -> list[StoredSession]:
            rows = database.execute("SELECT * FROM sessions WHERE final = 0 ORDER BY number")
            return [StoredSession(_load(row), row["connection"]) for row in rows]

        return await self._database.read(work)

    async def history(self, limit: int = HISTORY) -> Sequence[SessionSummary]:
        """All records, newest first."""

        def work(database: sqlite3.Connection) -> list[SessionSummary]:
            rows = database.execute("SELECT * FROM sessions ORDER BY number DESC LIMIT ?", (limit,))
            return [_load(row) for row in rows]

        return await self._database.read(work)

    async def matching(self, reference: str) -> SessionSummary:
        """By id, by name (the newest of that name), or by the beginning of an id.

        Raises:
            AileronError: ``session-unknown``, ``session-ambiguous``.
        """

        def work(database: sqlite3.Connection) -> list[sqlite3.Row]:
            for query in (
                "SELECT * FROM sessions WHERE id = ?",
                "SELECT * FROM sessions WHERE name = ? ORDER BY final, number DESC LIMIT 1",
            ):
                if rows := database.execute(query, (reference,)).fetchall():
                    return rows
            query = "SELECT * FROM sessions WHERE substr(id, 1, ?) = ? ORDER BY number DESC LIMIT 5"
            return database.execute(query, (len(reference), reference)).fetchall()

        return choose(reference, [_load(row) for row in await self._database.read(work)])

    async def used_backends(self) -> set[tuple[str, str | None]]:
        """Name and connection of every backend that a session in the history ran on."""

        def work(database: sqlite3.Connection) -> set[tuple[str, str | None]]:
            query = "SELECT DISTINCT json_extract(record, '$.backend'), connection FROM sessions"
            return {(str(row[0]), row[1]) for row in database.execute(query)}

        return await self._database.read(work)

    async def remove(self, session: str) -> None:
        """Forget a record; one that is not there is fine."""

        def work(database: sqlite3.Connection) -> None:
            database.execute("DELETE FROM sessions WHERE id = ?", (session,))

        await self._database.write(work)

    async def trim(self, keep: int = HISTORY) -> Sequence[str]:
        """Forget the oldest final records beyond ``keep``; their ids."""

        def work(database: sqlite3.Connection) -> list[str]:
            rows = database.execute(
                "DELETE FROM sessions WHERE final = 1 AND number NOT IN"
                " (SELECT number FROM sessions WHERE final = 1 ORDER BY number DESC LIMIT ?)"
                " RETURNING id",
                (keep,),
            ).fetchall()
            return [str(row["id"]) for row in rows]

        return await self._database.write(work)


def choose(reference: str, found: Sequence[SessionSummary]) -> SessionSummary:
    """The only one of ``found``.

    Raises:
        AileronError: ``session-unknown``, ``session-ambiguous``.
    """
    if not found or not reference:
        raise SESSION_UNKNOWN(f"no session {reference!r}", hints=["aileron sessions list --all"])
    if len(found) > 1:
        raise SESSION_AMBIGUOUS(
            f"more than one session starts with {reference!r}",
            why=", ".join(summary.id for summary in found),
            hints=["give more of the id"],
        )
    return found[0]


def _final(summary: SessionSummary) -> int:
    return int(summary.state in _FINAL)


def _dump(summary: SessionSummary) -> str:
    return json.dumps(asdict(summary))


def _load(row: sqlite3.Row) -> SessionSummary:
    record = json.loads(row["record"])
    for name in ("command", "notes"):
        record[name] = tuple(record[name])
    return evolve(SessionSummary(**record), attached=0)
