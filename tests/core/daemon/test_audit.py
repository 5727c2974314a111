"""The record: durable when `record` returns, whole after a crash, honest about what is missing."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from aileron_core.daemon import audit as audit_log
from aileron_core.daemon.audit import AuditLog, open_audit
from aileron_core.daemon.database import SqliteDatabase, open_database
from aileron_core.errors import AileronError
from aileron_core.paths import Paths
from aileron_core.records import Event


@asynccontextmanager
async def reopened(paths: Paths) -> AsyncIterator[AuditLog]:
    """The record as a daemon that starts finds it."""
    async with (
        open_database(paths.database, audit_log.MIGRATIONS) as database,
        open_audit(paths.audit, "here", database) as opened,
    ):
        yield opened


async def record_some(paths: Paths, count: int) -> list[bytes]:
    """A log of ``count`` records by a daemon that has ended; its lines."""
    async with reopened(paths) as audit:
        for number in range(count):
            await audit.record("test.made", None, {"n": number})
    return paths.audit.read_bytes().splitlines(keepends=True)


async def test_record_is_on_disk_when_it_returns(audit: AuditLog, paths: Paths) -> None:
    """The line is in the file before the caller goes on, with the caller's facts."""
    event = await audit.record("session.started", "s_1", {"agent": "sh"})
    line = json.loads(paths.audit.read_bytes())
    assert event == Event("session.started", "s_1", {"agent": "sh"}, 1000.0)
    assert (line["seq"], line["type"], line["session"], line["host"], line["data"]) == (
        1,
        "session.started",
        "s_1",
        "here",
        {"agent": "sh"},
    )
    assert paths.audit.stat().st_mode & 0o777 == 0o600


async def test_records_at_once_share_writes(
    audit: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred records at the same time cost a few flushes, not a hundred, and none is lost."""
    flushes = []
    real = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda fd: (flushes.append(fd), real(fd))[1])
    async with trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(audit.record, "test.made", None, {"n": number})
    assert len(flushes) <= 3
    found = [entry.event.data["n"] async for entry in audit.entries()]
    assert sorted(found) == list(range(100))
    assert (await audit.verify()).is_sound


async def test_cancelled_caller_leaves_a_whole_record(audit: AuditLog) -> None:
    """A record that was begun is finished although its caller is cancelled."""
    with trio.CancelScope() as scope:
        scope.cancel()
        await audit.record("test.made", None, {})
    assert audit.head.seq == 1
    assert (await audit.verify()).is_sound


async def test_secret_is_refused_and_nothing_written(audit: AuditLog, paths: Paths) -> None:
    """A record with a key that names a secret does not exist afterwards."""
    with pytest.raises(ValueError, match="secret"):
        await audit.record("test.made", None, {"token": "x"})
    assert paths.audit.read_bytes() == b""


async def test_bad_record_does_not_spoil_its_batch(audit: AuditLog) -> None:
    """Of several written together the one that is no JSON fails alone."""
    failed = []

    async def bad() -> None:
        try:
            await audit.record("test.bad", None, {"x": object()})
        except ValueError as error:
            failed.append(str(error))

    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(audit.record, "test.made", None, {"n": number})
        nursery.start_soon(bad)
    assert len(failed) == 1
    assert audit.head.seq == 5
    assert (await audit.verify()).is_sound


async def test_full_disk_refuses_and_recovers(tiny_disk: Path, database: SqliteDatabase) -> None:
    """With no room left a record is refused with the mend; with room again it goes on, whole."""
    async with open_audit(tiny_disk / "audit.jsonl", "here", database) as audit:
        await audit.record("test.made", None, {})
        filler = tiny_disk / "filler"
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(b"x" * 4096):
                pass
        with pytest.raises(AileronError) as caught:
            await audit.record("test.made", None, {"filler": "y" * 8192})
        assert caught.value.code == "audit-unwritable"
        assert "free space" in caught.value.hints[0]
        filler.unlink()
        await audit.record("test.made", None, {})
        assert audit.head.seq == 2
        assert (await audit.verify()).is_sound


async def test_failed_flush_refuses_all_of_the_batch(
    audit: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the disk does not take it, everybody who waited is refused, and nothing counts."""
    refused = []

    def broken(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    async def one() -> None:
        try:
            await audit.record("test.made", None, {})
        except AileronError as error:
            refused.append(error.code)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", broken)
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(one)
    assert refused == ["audit-unwritable"] * 4
    assert audit.head.seq == 0
    await audit.record("test.made", None, {})
    assert (await audit.verify()).records == 1


async def test_unopenable_log_is_an_error_with_a_mend(
    paths: Paths, database: SqliteDatabase
) -> None:
    """A directory (or a link) in the log's place keeps the daemon from starting, and says so."""
    paths.audit.mkdir()
    with pytest.raises(AileronError) as caught:
        async with open_audit(paths.audit, "here", database):
            pass
    assert caught.value.code == "audit-unwritable"


# --- the end of the log, when a daemon starts ----------------------------------------------------


async def test_chain_goes_on_after_a_restart(paths: Paths) -> None:
    """The next daemon continues where the last one ended, and has nothing to say about it."""
    await record_some(paths, 3)
    async with reopened(paths) as audit:
        assert audit.repairs == ()
        await audit.record("test.made", None, {})
        assert audit.head.seq == 4
        assert (await audit.verify()).is_sound


async def test_torn_last_line_is_cut_and_told(paths: Paths) -> None:
    """Half a line, as ``kill -9`` leaves it, is cut off; the record itself says so."""
    await record_some(paths, 2)
    with paths.audit.open("ab") as file:
        file.write(b'{"data":{},"hash":"abc')
    async with reopened(paths) as audit:
        assert "torn (22 bytes" in audit.repairs[0]
        found = [entry async for entry in audit.entries()]
        assert [entry.event.type for entry in found] == ["test.made", "test.made", "audit.repaired"]
        assert (await audit.verify()).is_sound


async def test_line_beyond_the_anchor_is_adopted(paths: Paths, database: SqliteDatabase) -> None:
    """Killed between the file and the database, the daemon's last line still counts."""
    lines = await record_some(paths, 3)
    second = json.loads(lines[1])
    await database.write(audit_log._anchor(audit_log.Head(2, second["hash"])))
    async with reopened(paths) as audit:
        assert audit.repairs == ()
        assert audit.head.seq == 3


Tamper = Callable[[list[bytes]], list[bytes]]


@pytest.mark.parametrize(
    "tamper",
    [
        pytest.param(lambda lines: lines[:-1], id="last line removed"),
        pytest.param(lambda lines: lines[:1], id="end cut off"),
        pytest.param(lambda lines: [], id="emptied"),
        pytest.param(lambda lines: [*lines[:2], *lines[3:]], id="removed in the middle"),
        pytest.param(lambda lines: [lines[1], lines[0], *lines[2:]], id="reordered"),
        pytest.param(lambda lines: [*lines[:-1], lines[-1][:-9]], id="last line torn on purpose"),
        pytest.param(
            lambda lines: [lines[0].replace(b'"n":0', b'"n":9'), *lines[1:]], id="changed"
        ),
        pytest.param(
            lambda lines: [*lines[:-1], lines[-1].replace(b'"n":4', b'"n":9')], id="last changed"
        ),
        pytest.param(lambda lines: [*lines, lines[-1]], id="last repeated"),
    ],
)
async def test_tampering_stays_visible(paths: Paths, tamper: Tamper) -> None:
    """Whatever is done to the log while no daemon runs is found, also after more was recorded."""
    lines = await record_some(paths, 5)
    paths.audit.write_bytes(b"".join(tamper(lines)))
    for _ in range(2):
        async with reopened(paths) as audit:
            await audit.record("test.made", None, {})
            assert not (await audit.verify()).is_sound


async def test_deleted_log_is_found_and_told(paths: Paths) -> None:
    """A log that was deleted does not begin again at 1: the gap shows for ever."""
    await record_some(paths, 5)
    paths.audit.unlink()
    async with reopened(paths) as audit:
        assert "ends at record 0, the database knows record 5" in audit.repairs[0]
        assert audit.head.seq == 6
        (finding,) = (await audit.verify()).findings
        assert "record 6 follows 0" in finding.problem


async def test_log_cut_under_a_running_daemon_is_found(audit: AuditLog, paths: Paths) -> None:
    """Cutting the file behind the daemon's back does not go unseen."""
    for _ in range(3):
        await audit.record("test.made", None, {})
    paths.audit.write_bytes(paths.audit.read_bytes().splitlines(keepends=True)[0])
    assert not (await audit.verify()).is_sound
    found = [entry.seq async for entry in audit.entries()]
    assert found == [1]


# --- reading -------------------------------------------------------------------------------------


async def test_ranges_are_found_in_a_long_log(
    audit: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any range is found by halving, wherever it lies, and no more than needed is read."""
    monkeypatch.setattr(audit_log, "BATCH", 512)
    async with trio.open_nursery() as nursery:
        for number in range(200):
            nursery.start_soon(audit.record, "test.made", None, {"n": number})
    for after, last in ((0, 3), (77, 80), (190, None), (199, 200), (200, None), (500, None)):
        found = [entry.seq async for entry in audit.entries(after, last)]
        assert found == list(range(after + 1, (last or 200) + 1))


async def test_follower_gets_old_and_new(audit: AuditLog) -> None:
    """From a number on: first what is there, then what comes, each once and in order."""
    await audit.record("test.made", None, {"n": 1})
    await audit.record("test.made", None, {"n": 2})
    seen: list[tuple[int, Any]] = []
    got = trio.Event()

    async def follow() -> None:
        async for number, event in audit.follow(after=1):
            seen.append((number, event.data["n"]))
            if number == 4:
                got.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow)
        await audit.record("test.made", None, {"n": 3})
        await audit.record("test.made", None, {"n": 4})
        with trio.fail_after(10):
            await got.wait()
        nursery.cancel_scope.cancel()
    assert seen == [(2, 2), (3, 3), (4, 4)]


async def test_follower_from_now_sees_only_what_comes(audit: AuditLog) -> None:
    """Without a number the past is left out."""
    await audit.record("test.made", None, {"n": 1})
    seen: list[tuple[int, Any]] = []

    async def follow() -> None:
        async for number, event in audit.follow():
            seen.append((number, event.data))
            nursery.cancel_scope.cancel()

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow)
            await trio.testing.wait_all_tasks_blocked()
            await audit.record("test.made", None, {"n": 2})
            await trio.sleep_forever()
    assert seen == [(2, {"n": 2})]


async def test_observers_are_told_and_a_broken_one_is_left_out(audit: AuditLog) -> None:
    """Observers of a session hear its records after they are durable; a fault harms nobody."""
    seen: list[str] = []
    calls = []

    def broken(event: Event) -> None:
        calls.append(event)
        raise RuntimeError("observer")

    audit.watch("s_1", [broken, lambda event: seen.append(event.type)])
    await audit.record("one", "s_1", {})
    await audit.record("two", "s_1", {})
    await audit.record("other", "s_2", {})
    audit.unwatch("s_1")
    await audit.record("three", "s_1", {})
    assert seen == ["one", "two"]
    assert len(calls) == 1
