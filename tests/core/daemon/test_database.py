"""SQLite under the daemon: durable, one writer, migrated, and plain about a broken file or disk."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import trio

from aileron_core.daemon.database import (
    Migration,
    SqliteDatabase,
    connect,
    database_error,
    migrate,
    open_database,
)
from aileron_core.errors import AileronError
from aileron_core.paths import Paths

TABLE: Migration = ("test-1", "CREATE TABLE things (n INTEGER PRIMARY KEY, text TEXT)")
MORE: Migration = ("test-2", "ALTER TABLE things ADD COLUMN more TEXT; CREATE TABLE others (x)")


async def test_write_is_seen_by_reads_and_by_the_next_daemon(paths: Paths) -> None:
    """What was written is there at once and after a restart; the file is the user's alone."""
    async with open_database(paths.database, [TABLE]) as database:
        await database.write(lambda c: c.execute("INSERT INTO things VALUES (1, 'a')"))
        assert await database.read(_texts) == ["a"]
    assert paths.database.stat().st_mode & 0o777 == 0o600
    async with open_database(paths.database, [TABLE, MORE]) as database:
        assert await database.read(_texts) == ["a"]


def _texts(connection: sqlite3.Connection) -> list[str]:
    return [row["text"] for row in connection.execute("SELECT text FROM things ORDER BY n")]


async def test_failed_write_changes_nothing(paths: Paths) -> None:
    """An exception in the middle of a transaction undoes all of it and comes out as it was."""

    def work(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO things VALUES (1, 'a')")
        raise KeyError("middle")

    async with open_database(paths.database, [TABLE]) as database:
        with pytest.raises(KeyError, match="middle"):
            await database.write(work)
        assert await database.read(_texts) == []
        await database.note(lambda c: c.execute("INSERT INTO things VALUES (1, 'b')"))
        assert await database.read(_texts) == ["b"]


async def test_read_cannot_write(paths: Paths) -> None:
    """A reader's connection refuses to change anything."""
    async with open_database(paths.database, [TABLE]) as database:
        with pytest.raises(AileronError) as caught:
            await database.read(lambda c: c.execute("INSERT INTO things VALUES (1, 'a')"))
        assert caught.value.code == "database-unwritable"
        assert await database.read(_texts) == []


async def test_reads_see_a_snapshot(paths: Paths) -> None:
    """A read that began before a write does not see it, however long it takes."""
    between, done = trio.Event(), trio.Event()

    async with open_database(paths.database, [TABLE]) as database:

        def slow(connection: sqlite3.Connection) -> tuple[int, int]:
            first = len(_texts(connection))
            trio.from_thread.run_sync(between.set)
            trio.from_thread.run(done.wait)
            return first, len(_texts(connection))

        async def write() -> None:
            await between.wait()
            await database.write(lambda c: c.execute("INSERT INTO things VALUES (1, 'a')"))
            done.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            assert await database.read(slow) == (0, 0)


async def test_many_at_once(paths: Paths) -> None:
    """Writes and reads from a hundred tasks all succeed: one writer, a few readers."""
    async with open_database(paths.database, [TABLE]) as database:

        async def one(number: int) -> None:
            await database.write(
                lambda c: c.execute("INSERT INTO things VALUES (?, 'x')", (number,))
            )
            assert await database.read(_texts)

        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(one, number)
        assert len(await database.read(_texts)) == 100
        assert len(database._readers) <= 4


def test_migration_runs_once_and_whole(tmp_path: Path) -> None:
    """A migration that fails leaves nothing; mended, it runs; then never again."""
    connection = connect(tmp_path / "db")
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, [TABLE, ("test-2", "CREATE TABLE others (x); CREATE TABLE broken (")])
    names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    assert "things" in names
    assert "others" not in names
    migrate(connection, [TABLE, MORE])
    migrate(connection, [TABLE, MORE])
    connection.close()


def test_two_migrations_of_one_name_are_a_fault(tmp_path: Path) -> None:
    """Components that clash are found before anything is changed."""
    connection = connect(tmp_path / "db")
    with pytest.raises(ValueError, match="named twice"):
        migrate(connection, [TABLE, TABLE])
    connection.close()


async def test_newer_database_is_refused(paths: Paths) -> None:
    """An older Aileron does not touch what a newer one wrote."""
    async with open_database(paths.database, [TABLE, MORE]):
        pass
    with pytest.raises(AileronError) as caught:
        async with open_database(paths.database, [TABLE]):
            pass
    assert caught.value.code == "database-newer"
    assert "test-2" in caught.value.why


@pytest.mark.parametrize("content", [b"this is no database, but text\n" * 200, b"\0" * 4096])
async def test_damaged_file_is_refused_with_a_mend(paths: Paths, content: bytes) -> None:
    """What is no database keeps the daemon from starting, and says which file to move away."""
    paths.database.write_bytes(content)
    with pytest.raises(AileronError) as caught:
        async with open_database(paths.database, [TABLE]):
            pass
    assert caught.value.code == "database-corrupt"
    assert str(paths.database) in caught.value.hints[1]


async def test_damage_inside_is_found_at_start(paths: Paths) -> None:
    """A page overwritten in the middle of a good database is found before it is used."""
    async with open_database(paths.database, [TABLE]) as database:
        await database.write(
            lambda c: c.executemany("INSERT INTO things VALUES (?, ?)", _rows(2000))
        )
    with paths.database.open("r+b") as file:
        file.seek(4096 * 3)
        file.write(b"\xff" * 4096 * 4)
    with pytest.raises(AileronError) as caught:
        async with open_database(paths.database, [TABLE]):
            pass
    assert caught.value.code == "database-corrupt"


def _rows(count: int) -> list[tuple[int, str]]:
    return [(number, "x" * 100) for number in range(count)]


async def test_full_disk_is_an_error_with_a_mend(tiny_disk: Path) -> None:
    """Without room a write fails as a whole, names the directory, and works again with room."""
    async with open_database(tiny_disk / "db", [TABLE]) as database:
        with pytest.raises(AileronError) as caught:
            await database.write(
                lambda c: c.executemany("INSERT INTO things VALUES (?, ?)", _rows(5000))
            )
        assert caught.value.code == "database-unwritable"
        assert str(tiny_disk) in caught.value.hints[0]
        assert await database.read(_texts) == []
        await database.write(lambda c: c.execute("INSERT INTO things VALUES (1, 'a')"))


async def test_missing_directory_is_an_error_with_a_mend(paths: Paths) -> None:
    """A directory that is not there is named."""
    with pytest.raises(AileronError) as caught:
        async with open_database(paths.state / "absent" / "db", [TABLE]):
            pass
    assert caught.value.code == "database-unwritable"


async def test_fault_in_sql_stays_a_fault(database: SqliteDatabase) -> None:
    """A mistake in a statement is no trouble with the disk and is not dressed up as one."""
    with pytest.raises(sqlite3.OperationalError):
        await database.write(lambda c: c.execute("SELECT nonsense FROM nowhere"))
    assert database_error(database.path, sqlite3.OperationalError("no code")) is None
