"""At the daemon's start: what an earlier one left is ended, removed, and told of."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import structlog
import trio
from attrs import evolve

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


async def recover(daemon: Daemon, store: SessionStore) -> Sequence[str]:
    """One line for each thing found. Sandboxes first: nothing must run while the rest is undone."""
    lines: list[str] = []
    unfinished = await store.unfinished()
    wanted = {(one.summary.backend, one.connection) for one in unfinished}
    wanted |= await store.used_backends()
    unseen = []
    for name, connection in sorted(wanted, key=str):
        try:
            backend = await daemon.backend(name, connection)
            lines += await _end_sandboxes(backend, str(daemon.paths.state))
        except AileronError as error:
            unseen.append(name)
            lines.append(f"the backend {name} cannot be asked for sandboxes: {error.message}")
    lines += await trio.to_thread.run_sync(_clean, daemon)
    for one in unfinished:
        lines.append(await _close_record(daemon, store, one.summary, unseen))
    return lines


async def _end_sandboxes(backend: Backend, owner: str) -> list[str]:
    found = await backend.survey(owner)
    async with trio.open_nursery() as nursery:
        for one in found:
            nursery.start_soon(backend.remove, one.sandbox)
    return [_sandbox_line(one) for one in found]


def _sandbox_line(found: Found) -> str:
    session = found.labels.get(SESSION_LABEL, found.sandbox.session)
    return f"removed the {found.state} sandbox {found.sandbox.id[:12]} of session {session}"


def _clean(daemon: Daemon) -> list[str]:
    """Directories and stubs; no session is alive, so all that is there was left."""
    paths = daemon.paths
    lines = []
    for directory in _entries(paths.runtime / "sessions"):
        remove_tree(directory)
        lines.append(f"removed the directory {directory}")
    for directory in _entries(paths.state / "sessions"):
        lines += _clean_stubs(journal_of(paths, directory.name))
    return lines


def _clean_stubs(journal: Path) -> list[str]:
    if not journal.exists():
        return []
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
    daemon: Daemon, store: SessionStore, summary: SessionSummary, unseen: list[str]
) -> str:
    """The record of a session that has ended with its daemon."""
    is_unseen = summary.backend in unseen and summary.sandbox is not None
    reason = f"{REASON}; its sandbox could not be looked for" if is_unseen else REASON
    final = evolve(
        summary, state=SessionState.FAILED.value, ended=time.time(), reason=reason, sandbox=None
    )
    await store.save(final)
    await daemon.audit.record("session.failed", summary.id, {"reason": reason})
    return f"session {summary.id} ended with the daemon ({summary.state} before)"
