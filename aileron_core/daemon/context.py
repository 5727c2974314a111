"""What the daemon offers to its own parts and to plugins' routes: protocols, no implementation.

Parts are written against these, so that each is tested alone.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from attrs import frozen

from aileron_core.backend import Backend, Progress
from aileron_core.errors import AileronError
from aileron_core.paths import Paths
from aileron_core.plugins.facade import Hooks
from aileron_core.records import Decision, Event, NamedDecider, Observer, Request
from aileron_core.sessions.plan import LaunchPlan

T = TypeVar("T")


class Database(Protocol):
    """The daemon's SQLite database (WAL), one writer thread."""

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``work`` in one transaction (BEGIN IMMEDIATE); it is durable when this returns."""

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``work`` on a snapshot; it must not write."""


class Audit(Protocol):
    """The record: hash-chained, durable before an answer is given."""

    async def record(self, type: str, session: str | None, data: Mapping[str, Any]) -> Event:  # noqa: A002 - the word of the audit line
        """Append one line; it is on disk when this returns. Observers are told afterwards.

        Raises:
            AileronError: ``audit-unwritable``; the caller must then refuse what it was about to do.
        """

    def watch(self, session: str, observers: Sequence[Observer]) -> None:
        """Tell these of the session's records until `unwatch`."""

    def unwatch(self, session: str) -> None:
        """Tell nobody of the session's records any more."""

    def follow(self, after: int | None = None) -> AsyncIterator[tuple[int, Event]]:
        """Numbered events from after the given number on (None: from now), then live ones."""


class Policy(Protocol):
    """A compiled policy (`aileron_core.policy`): pure, never waits."""

    def decide(self, request: Request) -> Decision:
        """What the rules say; always something."""


class Gate(Protocol):
    """The one way to a decision."""

    async def decide(self, request: Request) -> Decision:
        """The strictest verdict of policy and deciders, recorded; anything missing is a deny."""

    def admit(self, session: str, policy: Policy, deciders: Sequence[NamedDecider] = ()) -> None:
        """From now on decide for this session; admitting again replaces policy and deciders."""

    def dismiss(self, session: str) -> None:
        """From now on everything this session asks for is denied."""


@frozen
class SessionSummary:
    """What is and was running, as ``sessions list`` shows it; JSON-able."""

    id: str
    name: str
    state: str
    agent: str
    command: tuple[str, ...]
    workspace: str
    workspace_mode: str
    image: str
    tier: str
    backend: str
    host: str
    created: float
    started: float | None = None
    ended: float | None = None
    exit_status: int | None = None
    reason: str = ""
    """Why it ended: ``exited``, ``stopped by …``, ``time limit``, ``daemon ended``, an error."""
    sandbox: str | None = None
    """The backend's id."""
    attached: int = 0
    timeout: float | None = None
    notes: tuple[str, ...] = ()


class Launching(Protocol):
    """A session that is being prepared."""

    error: AileronError | None
    """Why it failed; None while it has not."""
    summary: SessionSummary

    def abandon(self) -> None:
        """Nobody waits for it any more: everything is undone, unless the agent runs already."""


class Sessions(Protocol):
    """The sessions of this daemon."""

    async def launch(self, plan: LaunchPlan, progress: Progress) -> SessionSummary:
        """Carry out a plan up to `listen`; the first instruction runs when a console opens it.

        A detached session is started before this returns. Every failure undoes the steps before
        it and names itself.
        """

    async def begin(
        self, plan: LaunchPlan, progress: Progress, ready: Callable[[], None]
    ) -> Launching:
        """As `launch`, without waiting: ``ready`` is called when it is prepared or has failed."""

    async def dry_run(self, plan: LaunchPlan) -> Mapping[str, Any]:
        """The spec that would be created, with what every plugin adds; nothing is touched."""

    async def summaries(self, *, all: bool = False) -> Sequence[SessionSummary]:  # noqa: A002 - as `--all`
        """Sessions that are not final; with ``all`` the ended ones too, newest first."""

    async def find(self, reference: str) -> SessionSummary:
        """By id, unique id prefix or name. Raises ``session-unknown`` / ``session-ambiguous``."""

    async def stop(self, session: str, *, by: str, grace: float = 10.0) -> SessionSummary:
        """End it and wait until it has ended; an ended one is fine."""

    async def forget(self, session: str) -> None:
        """Remove the record, log and change set of an ended session."""

    async def recover(self) -> Sequence[str]:
        """End what an earlier daemon left; one line for each thing found."""

    async def drain(self, deadline: float | None) -> None:
        """No new sessions; wait for those there are up to ``deadline`` seconds, then end them."""


class Daemon(Protocol):
    """Everything together; what `Route.blueprint` is called with."""

    @property
    def paths(self) -> Paths:
        """The user's directories."""

    @property
    def host(self) -> str:
        """This machine's name, in every record."""

    @property
    def hooks(self) -> Hooks:
        """Every plugin that the user's own configuration leaves on."""

    @property
    def database(self) -> Database:
        """The one database."""

    @property
    def audit(self) -> Audit:
        """The record."""

    @property
    def gate(self) -> Gate:
        """The one way to a decision."""

    @property
    def sessions(self) -> Sessions:
        """The sessions."""

    async def backend(self, name: str, connection: str | None = None) -> Backend:
        """The backend of that name, opened once. Raises ``backend-unknown``, ``backend-…``."""
