"""At the daemon's start: what an earlier one left is ended, removed, and told of."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import structlog
import trio
from attrs import define, evolve, field

from aileron_core.backend import Backend, Found
from aileron_core.daemon.context import Daemon, SessionSummary
from aileron_core.errors import AileronError
from aileron_core.records import SessionState
from aileron_core.sessions.files import remove_tree
from aileron_core.sessions.prepare import journal_of
from aileron_core.sessions.spec import SESSION_LABEL
from aileron_core.sessions.store import SessionStore
from aileron_core.sessions.stubs import read_journal, remove_stubs

log = structlog.get_logger("aileron.sessions")

REASON = "daemon ended"


@define
class _Sweep:
    """What is told of the sandboxes, and whose may be running still."""

    lines: list[str] = field(factory=list)
    unseen: set[str] = field(factory=set)
    """Backends that could not be asked."""
    alive: set[str] = field(factory=set)
    """Sessions whose sandbox is there and could not be removed."""


async def recover(daemon: Daemon, store: SessionStore) -> Sequence[str]:
    """One line for each thing found. Sandboxes first: nothing must run while the rest is undone."""
    unfinished = await store.unfinished()
    wanted = {(one.summary.backend, one.connection) for one in unfinished}
    wanted |= await store.used_backends()
    sweep = _Sweep()
    for name, connection in sorted(wanted, key=str):
        await _end_sandboxes(daemon, name, connection, sweep)
    kept = set(sweep.alive)
    if sweep.unseen:
        kept |= {one.id for one in await store.history() if one.backend in sweep.unseen}
        kept |= {one.summary.id for one in unfinished if one.summary.backend in sweep.unseen}
    lines = [*sweep.lines, *await trio.to_thread.run_sync(_clean, daemon, kept)]
    for one in unfinished:
        lines.append(await _close_record(daemon, store, one.summary, sweep))
    return lines


async def _end_sandboxes(daemon: Daemon, name: str, connection: str | None, sweep: _Sweep) -> None:
    try:
        backend = await daemon.backend(name, connection)
        found = await backend.survey(str(daemon.paths.state))
    except AileronError as error:
        sweep.unseen.add(name)
        sweep.lines.append(f"the backend {name} cannot be asked for sandboxes: {error.message}")
        return
    async with trio.open_nursery() as nursery:
        for one in found:
            nursery.start_soon(_end_sandbox, backend, one, sweep)


async def _end_sandbox(backend: Backend, found: Found, sweep: _Sweep) -> None:
    session = found.labels.get(SESSION_LABEL, found.sandbox.session)
    what = f"the {found.state} sandbox {found.sandbox.id[:12]} of session {session}"
    try:
        await backend.remove(found.sandbox)
    except AileronError as error:  # one that stays must not keep the daemon from its others
        sweep.alive.add(session)
        sweep.lines.append(f"{what} cannot be removed: {error.message}")
    else:
        sweep.lines.append(f"removed {what}")


def _clean(daemon: Daemon, kept: set[str]) -> list[str]:
    """Directories and stubs; no session is ours yet, so all that is there was left.

    The stubs of the sessions in ``kept`` stay until their sandboxes are known to be gone: removing
    a stub takes its mount away from a sandbox that still runs, and with it the protection.
    """
    paths = daemon.paths
    lines = [_clean_directory(directory) for directory in _entries(paths.runtime / "sessions")]
    for directory in _entries(paths.state / "sessions"):
        journal = journal_of(paths, directory.name)
        if not journal.exists():
            continue
        if directory.name in kept:
            lines.append(f"left the stubs of session {directory.name}: its sandbox may still run")
        else:
            lines += _clean_stubs(journal)
    return lines


def _clean_directory(directory: Path) -> str:
    try:
        remove_tree(directory)
    except AileronError as error:
        return error.message
    return f"removed the directory {directory}"


def _clean_stubs(journal: Path) -> list[str]:
    stubs = read_journal(journal)
    left = remove_stubs(stubs)
    journal.unlink(missing_ok=True)
    lines = [f"removed {stub.path} from {stub.root}" for stub in stubs if stub.path not in left]
    return lines + [f"left {path} alone: it has changed" for path in left]


def _entries(directory: Path) -> Iterator[Path]:
    try:
        yield from sorted(entry for entry in directory.iterdir() if entry.is_dir())
    except FileNotFoundError:
        return


async def _close_record(
    daemon: Daemon, store: SessionStore, summary: SessionSummary, sweep: _Sweep
) -> str:
    """The record of a session that has ended with its daemon."""
    reason = REASON
    if summary.id in sweep.alive:
        reason = f"{REASON}; its sandbox could not be removed"
    elif summary.backend in sweep.unseen and summary.sandbox is not None:
        reason = f"{REASON}; its sandbox could not be looked for"
    final = evolve(
        summary, state=SessionState.FAILED.value, ended=time.time(), reason=reason, sandbox=None
    )
    await store.save(final)
    await daemon.audit.record("session.failed", summary.id, {"reason": reason})
    return f"session {summary.id} ended with the daemon ({summary.state} before)"
