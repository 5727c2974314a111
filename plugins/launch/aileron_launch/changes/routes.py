"""``/v1/sessions/{id}/changes``: what a session with ``--workspace overlay`` changed."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import trio
from attrs import frozen
from quart import Blueprint

from aileron_core.config.load import load_config
from aileron_core.config.tables import schema_of
from aileron_core.daemon.calls import call
from aileron_core.daemon.context import Daemon, SessionSummary
from aileron_core.errors import EXIT_PENDING, EXIT_USAGE, AileronError, ErrorCode
from aileron_core.paths import Paths
from aileron_core.records import SessionState
from aileron_core.sessions.prepare import overlay_of
from aileron_launch.changes.apply import apply_changes, discard_changes
from aileron_launch.changes.diff import render_diff
from aileron_launch.changes.scan import Change, Changes, scan_changes
from aileron_launch.settings import Settings
from aileron_launch.workspace import protect

CHANGES_NONE = ErrorCode(
    "changes-none",
    EXIT_USAGE,
    "The session wrote to the workspace itself, so nothing is kept aside.",
)
CHANGES_BUSY = ErrorCode(
    "changes-busy", EXIT_PENDING, "The session runs, and its changes are not complete."
)


@frozen
class ChangesQuery:
    """What to tell."""

    diff: bool = False
    """The unified diff as well."""


@frozen
class Report:
    """What a session changed."""

    session: str
    state: str
    workspace: str
    changes: tuple[Change, ...]
    conflicts: int
    diff: str = ""


@frozen
class Apply:
    """How to apply."""

    force: bool = False
    """Overwrite what changed on the host meanwhile."""


@frozen
class Applied:
    """What was applied; the change set is gone."""

    applied: tuple[str, ...]
    skipped: tuple[Change, ...]


@frozen
class Discarded:
    """How many changes were thrown away; 0 when they could not be interpreted."""

    discarded: int


def blueprint(daemon: Daemon) -> Blueprint:
    """The calls."""
    calls = Blueprint("changes", __name__)
    lock = trio.Lock()

    @calls.get("/v1/sessions/<ref>/changes")
    @call(query=ChangesQuery, answer=Report)
    async def changes(ref: str, query: ChangesQuery) -> Report:
        """What a session changed, in an overlay of its workspace."""
        summary = await _session(daemon, ref)
        return await trio.to_thread.run_sync(partial(report, daemon, summary, diff=query.diff))

    @calls.post("/v1/sessions/<ref>/changes/apply")
    @call(body=Apply, answer=Applied)
    async def apply(ref: str, body: Apply) -> Applied:
        """Carry a session's changes out in its workspace, and drop the change set."""
        async with lock:
            summary = await _ended(daemon, ref)
            found = await trio.to_thread.run_sync(scan, daemon, summary)
            facts = {"changes": len(found.applicable), "force": body.force}
            await daemon.audit.record("changes.applied", summary.id, facts)
            carry_out = partial(_carry_out, daemon.paths, summary, found, force=body.force)
            return await trio.to_thread.run_sync(carry_out)

    @calls.delete("/v1/sessions/<ref>/changes")
    @call(answer=Discarded)
    async def discard(ref: str) -> Discarded:
        """Throw a session's changes away."""
        async with lock:
            summary = await _ended(daemon, ref)
            count = await trio.to_thread.run_sync(_count, daemon, summary)
            await daemon.audit.record("changes.discarded", summary.id, {})
            place = overlay_of(daemon.paths, summary.id).upper.parent
            await trio.to_thread.run_sync(discard_changes, place)
            return Discarded(count)

    return calls


async def _session(daemon: Daemon, ref: str) -> SessionSummary:
    summary = await daemon.sessions.find(ref)
    if summary.workspace_mode != "overlay":
        raise CHANGES_NONE(
            f"the session {summary.id} kept no changes aside",
            why=f"it was launched with --workspace {summary.workspace_mode}",
            hints=["aileron launch --workspace overlay …"],
        )
    return summary


async def _ended(daemon: Daemon, ref: str) -> SessionSummary:
    summary = await _session(daemon, ref)
    if not SessionState(summary.state).is_final:
        raise CHANGES_BUSY(
            f"the session {summary.id} is {summary.state}",
            why="the agent may still change what would be applied or thrown away",
            hints=[f"aileron sessions stop {summary.id}"],
        )
    return summary


def report(daemon: Daemon, summary: SessionSummary, *, diff: bool) -> Report:
    """What a session changed, with the diff if that is asked for."""
    found = scan(daemon, summary)
    upper, workspace = overlay_of(daemon.paths, summary.id).upper, Path(summary.workspace)
    text = render_diff(found, upper, workspace) if diff else ""
    return Report(
        summary.id, summary.state, summary.workspace, found.changes, len(found.conflicts), text
    )


def scan(daemon: Daemon, summary: SessionSummary) -> Changes:
    """The change set of a session, as far as it may be applied now."""
    workspace = Path(summary.workspace)
    config = load_config(schema_of(daemon.hooks), paths=daemon.paths, project=workspace)
    given = config.table("launch", Settings)
    lists = (given.protected, given.protected_if_present, given.unprotected)
    kept = protect(workspace, *lists, check=False)
    upper = overlay_of(daemon.paths, summary.id).upper
    return scan_changes(upper, workspace, protected=kept.paths, since=summary.created)


def _count(daemon: Daemon, summary: SessionSummary) -> int:
    """How many changes there are; 0 for what cannot be interpreted, and is thrown away as well."""
    try:
        return len(scan(daemon, summary).changes)
    except AileronError:
        return 0


def _carry_out(paths: Paths, summary: SessionSummary, found: Changes, *, force: bool) -> Applied:
    upper, workspace = overlay_of(paths, summary.id).upper, Path(summary.workspace)
    info = workspace.stat()
    done = apply_changes(found, upper, workspace, (info.st_uid, info.st_gid), force=force)
    discard_changes(upper.parent)
    return Applied(done.applied, done.skipped)
