"""`SessionEngine`: the sessions of a daemon. It keeps those in flight and answers for all."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import structlog
import trio
from attrs import asdict, define, evolve, field

from aileron_core.backend import Backend, ImageInfo, Progress
from aileron_core.daemon.context import Daemon, SessionSummary
from aileron_core.daemon.sandbox_api import serve_sandbox_api
from aileron_core.errors import EXIT_PENDING, EXIT_UNAVAILABLE, EXIT_USAGE, AileronError, ErrorCode
from aileron_core.records import Service, Session
from aileron_core.sessions import prepare, probe, recover
from aileron_core.sessions import spec as specs
from aileron_core.sessions.console import Console
from aileron_core.sessions.files import remove_tree, write_bundle
from aileron_core.sessions.hub import Hub
from aileron_core.sessions.log import SessionLog
from aileron_core.sessions.outcome import GRACE_SECONDS, Ending
from aileron_core.sessions.plan import LaunchPlan
from aileron_core.sessions.run import Run
from aileron_core.sessions.store import SessionStore
from aileron_core.sessions.stubs import StubKeeper

NAME_TAKEN = ErrorCode("session-name-taken", EXIT_USAGE, "A running session has this name.")
SESSION_ALIVE = ErrorCode(
    "session-alive", EXIT_PENDING, "The session has not ended, so its record stays."
)
SESSIONS_DRAINING = ErrorCode(
    "sessions-draining", EXIT_UNAVAILABLE, "The daemon is finishing and starts no new session."
)
SESSIONS_TOO_MANY = ErrorCode(
    "sessions-too-many", EXIT_UNAVAILABLE, "As many sessions run as this daemon takes."
)

CREATIONS = 4
"""Sandboxes that are created at the same time; more only wait for each other in the kernel."""
LARGEST = 200
"""Sessions at the same time."""
_ALPHABET = "abcdefghjkmnpqrstvwxyz23456789"

log = structlog.get_logger("aileron.sessions")


def _as_data(plan: LaunchPlan) -> dict[str, Any]:
    """The plan without what is no data: how recipes are prepared."""
    return asdict(plan, filter=lambda field, _: field.name != "make")


def new_session_id() -> str:
    """``s_`` and ten characters that are hard to confuse (49 bits): an id, never a secret."""
    return "s_" + "".join(secrets.choice(_ALPHABET) for _ in range(10))


@define(eq=False)
class SessionEngine:
    """The `Sessions` of the daemon. Sessions live in ``nursery``."""

    daemon: Daemon
    nursery: trio.Nursery
    store: SessionStore = field(init=False)
    stubs: StubKeeper = field(factory=StubKeeper, init=False)
    creations: trio.CapacityLimiter = field(
        factory=lambda: trio.CapacityLimiter(CREATIONS), init=False
    )
    stub_lock: trio.Lock = field(factory=trio.Lock, init=False)
    runs: dict[str, Run] = field(factory=dict, init=False)
    unsaved: dict[str, SessionSummary] = field(factory=dict, init=False)
    """How sessions ended whose records the database does not take; it is tried again and again."""
    is_draining: bool = field(default=False, init=False)
    serves_api: bool = field(default=True, kw_only=True)
    """Whether something answers on the sessions' API listeners."""

    def __attrs_post_init__(self) -> None:
        self.store = SessionStore(self.daemon.database)

    # --- the protocol -------------------------------------------------------------------------

    async def launch(self, plan: LaunchPlan, progress: Progress) -> SessionSummary:
        """See `Sessions.launch`. Cancelled, it returns when everything is undone."""
        run = await self.begin(plan, progress)
        try:
            await run.ready.wait()
        except trio.Cancelled:
            run.abandon()
            if run.is_ending:  # else it has just started, and goes on by itself
                with trio.CancelScope(shield=True):
                    await run.finished.wait()
            raise
        if run.error is not None:
            raise run.error
        return run.summary

    async def begin(
        self, plan: LaunchPlan, progress: Progress, ready: Callable[[], None] = lambda: None
    ) -> Run:
        """See `Sessions.begin`: record the session and start its task."""
        self._admit(plan)
        run = self._new_run(plan, progress)
        self.runs[plan.session] = run
        self.nursery.start_soon(self._live, run)
        self.nursery.start_soon(_call_when, run.ready, ready)
        return run

    async def dry_run(self, plan: LaunchPlan) -> Mapping[str, Any]:
        """See `Sessions.dry_run`."""
        plan = await prepare.settle_protected(plan)
        session = self._session(plan)
        contributions = self.daemon.hooks.contributions(session)
        inputs = prepare.spec_inputs(self.daemon.paths, plan, contributions)
        spec = specs.compose(plan, evolve(inputs, token="(made at launch)"))  # noqa: S106 - a note
        shown = {**spec.env, **dict.fromkeys(plan.env, "(given)")}
        return {
            "plan": {
                **_as_data(evolve(plan, rules=None)),
                "env": dict.fromkeys(plan.env, "(given)"),
            },
            "spec": asdict(evolve(spec, env=shown, seccomp={})),
            "listeners": [asdict(one) for one in specs.listeners(contributions)],
            "contributions": [plugin for plugin, _ in contributions],
            "notes": list(plan.notes),
        }

    async def summaries(self, *, all: bool = False) -> Sequence[SessionSummary]:  # noqa: A002 - the protocol's word
        """See `Sessions.summaries`."""
        live = {run.summary.id: self._seen(run) for run in self.runs.values()}
        if not all:
            return sorted(live.values(), key=_created, reverse=True)
        history = await self.store.history()
        known = {**self.unsaved, **live}
        return [known.get(summary.id, summary) for summary in history]

    async def find(self, reference: str) -> SessionSummary:
        """See `Sessions.find`."""
        if (run := self.running(reference)) is not None:
            return self._seen(run)
        found = await self.store.matching(reference)
        run = self.runs.get(found.id)
        return self.unsaved.get(found.id, found) if run is None else self._seen(run)

    async def stop(self, session: str, *, by: str, grace: float = GRACE_SECONDS) -> SessionSummary:
        """See `Sessions.stop`."""
        summary = await self.find(session)
        run = self.runs.get(summary.id)
        if run is None:
            return summary
        run.end(Ending(f"stopped by {by}", grace=grace))
        await run.finished.wait()
        return run.summary

    async def forget(self, session: str) -> None:
        """See `Sessions.forget`.

        Raises:
            AileronError: ``session-alive``, ``session-unknown``.
        """
        summary = await self.find(session)
        if summary.id in self.runs:
            raise SESSION_ALIVE(
                f"the session {summary.id} has not ended",
                hints=[f"aileron sessions stop {summary.id}"],
            )
        state = self.daemon.paths.session_state(summary.id)
        await trio.to_thread.run_sync(remove_tree, state)
        await self.store.remove(summary.id)
        self.unsaved.pop(summary.id, None)

    async def recover(self) -> Sequence[str]:
        """See `Sessions.recover`."""
        return await recover.recover(self.daemon, self.store)

    async def drain(self, deadline: float | None) -> None:
        """See `Sessions.drain`; None: as long as it takes."""
        self.is_draining = True
        with trio.move_on_after(_seconds(deadline)):
            while self.runs:
                await next(iter(self.runs.values())).finished.wait()
        async with trio.open_nursery() as nursery:
            for run in tuple(self.runs.values()):
                nursery.start_soon(partial(self.stop, run.summary.id, by="the daemon's end"))

    async def serve_console(
        self,
        listener: socket.socket,
        *,
        task_status: trio.TaskStatus[object] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Answer on the console's socket until cancelled."""
        await Console(self, self.daemon.paths).serve(listener, task_status=task_status)

    # --- for the console and the runs ---------------------------------------------------------

    def running(self, reference: str) -> Run | None:
        """The session in flight with this id or name."""
        if reference in self.runs:
            return self.runs[reference]
        return next((run for run in self.runs.values() if run.summary.name == reference), None)

    async def keep(self, run: Run) -> None:
        """Put the new session on record, before anything of it exists outside our directories."""
        await self.store.add(run.summary, run.plan.connection, run.token_digest)

    def api_service(self, run: Run) -> Service | None:
        """The service that answers on the session's API listener."""
        return Service("api", partial(self._serve_api, run)) if self.serves_api else None

    async def _serve_api(self, run: Run, *, task_status: trio.TaskStatus[None]) -> None:
        assert run.prepared is not None
        await serve_sandbox_api(
            self.daemon,
            run.session,
            run.session.listeners[specs.API_LISTENER.name],
            run.prepared.tls,
            bytes.fromhex(run.token_digest),
            task_status=task_status,
        )

    async def validate(
        self, run: Run, backend: Backend, image: ImageInfo, plan: LaunchPlan
    ) -> None:
        """Try the image, unless that was done before; complete the session's CA bundle."""
        assert run.spec is not None
        assert run.prepared is not None
        wanted = self._wanted(run, plan)
        if plan.workspace.mode == "rw" and not probe.writable_by_owner(plan.workspace.path):
            raise probe.unwritable(wanted)
        cached = probe.cache_file(self.daemon.paths, image, run.spec, wanted)
        fitness = probe.read_cache(cached)
        if fitness is None:
            run.progress("trying the image")
            fitness = await probe.try_image(backend, run.spec, wanted)
            probe.write_cache(cached, fitness)
        if fitness.roots:
            prepared = run.prepared
            write_bundle(prepared.files, fitness.roots.encode(), prepared.authority.pem)

    # --- how ----------------------------------------------------------------------------------

    def _wanted(self, run: Run, plan: LaunchPlan) -> probe.Wanted:
        workspace = plan.workspace
        return probe.Wanted(str(workspace.path), workspace.mode, plan.argv[0], run.requirements)

    async def _live(self, run: Run) -> None:
        try:
            await run.live()
        finally:
            self.runs.pop(run.summary.id, None)
        try:
            await self._save_again()
            await self._trim()
        except AileronError as error:  # a full disk must not end the daemon's other sessions
            log.error("the history is not up to date", error=str(error))

    async def _save_again(self) -> None:
        for session, summary in list(self.unsaved.items()):
            await self.store.save(summary)
            del self.unsaved[session]

    async def _trim(self) -> None:
        """Forget the oldest sessions; one's files that stay must not end the daemon's others."""
        for session in await self.store.trim():
            state = self.daemon.paths.session_state(session)
            try:
                await trio.to_thread.run_sync(remove_tree, state)
            except AileronError as error:
                log.error("an old session's files stay", session=session, error=str(error))

    def _admit(self, plan: LaunchPlan) -> None:
        if self.is_draining:
            raise SESSIONS_DRAINING(
                "the daemon is finishing", hints=["wait for it, then try again"]
            )
        if len(self.runs) >= LARGEST:
            raise SESSIONS_TOO_MANY(
                f"{LARGEST} sessions run",
                hints=["aileron sessions list", "aileron sessions stop ID"],
            )
        if plan.name and self.running(plan.name) is not None:
            raise NAME_TAKEN(
                f"a session named {plan.name!r} runs",
                hints=["choose another --name", f"aileron sessions stop {plan.name}"],
            )

    def _new_run(self, plan: LaunchPlan, progress: Progress) -> Run:
        session = self._session(plan)
        record = SessionLog(self.daemon.paths.session_state(plan.session))
        return Run(self, plan, session, self._summary(plan, session), Hub(record), progress)

    def _session(self, plan: LaunchPlan) -> Session:
        return Session(
            id=plan.session,
            name=plan.name,
            agent=plan.agent,
            command=plan.argv,
            workspace=plan.workspace.path,
            workspace_mode=plan.workspace.mode,
            image=plan.image,
            tier=plan.tier,
            backend=plan.backend,
            host=self.daemon.host,
            created=time.time(),
            user=plan.user,
            limits=plan.limits,
            policy=plan.policy,
            disabled=plan.disabled,
            notes=list(plan.notes),
        )

    def _summary(self, plan: LaunchPlan, session: Session) -> SessionSummary:
        return SessionSummary(
            id=plan.session,
            name=plan.name,
            state=session.state.value,
            agent=plan.agent,
            command=plan.argv,
            workspace=str(plan.workspace.path),
            workspace_mode=plan.workspace.mode,
            image=plan.image,
            tier=plan.tier,
            backend=plan.backend,
            host=self.daemon.host,
            created=session.created,
            timeout=plan.timeout,
            notes=plan.notes,
        )

    def _seen(self, run: Run) -> SessionSummary:
        return evolve(run.summary, attached=len(run.hub.clients))


async def _call_when(event: trio.Event, callback: Callable[[], None]) -> None:
    await event.wait()
    callback()


def _created(summary: SessionSummary) -> float:
    return summary.created


def _seconds(deadline: float | None) -> float:
    return float("inf") if deadline is None else max(deadline, 0.0)
