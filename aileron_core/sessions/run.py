"""One session from its plan to its end: the order of docs/architecture.md, step by step.

Everything happens in one task, so that whatever interrupts it (a failure, Ctrl-C, the daemon's end)
unwinds through the same undo list, newest first, shielded.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from typing import Any, Protocol

import structlog
import trio
from attrs import define, evolve, field

from aileron_core.backend import Backend, Exit, ImageInfo, Sandbox, SandboxSpec, Stream
from aileron_core.daemon.context import Daemon, SessionSummary
from aileron_core.errors import EXIT_TIMEOUT, AileronError
from aileron_core.policy.load import compile_policy
from aileron_core.records import Service, Session, SessionState
from aileron_core.sessions import prepare
from aileron_core.sessions import spec as specs
from aileron_core.sessions.files import new_token, token_digest
from aileron_core.sessions.hub import Hub
from aileron_core.sessions.outcome import Ending, Outcome, aborted, facts, nobody_attached
from aileron_core.sessions.plan import LaunchPlan
from aileron_core.sessions.preparation import Preparation
from aileron_core.sessions.publish import publish_service
from aileron_core.sessions.services import ServiceGroup, open_services
from aileron_core.sessions.store import SessionStore
from aileron_core.sessions.stubs import StubKeeper
from aileron_core.sessions.undo import Undo, as_error, step

ATTACH_SECONDS = 20.0
"""A session that nobody opens this long after it was made ends."""
LAST_OUTPUT_SECONDS = 5.0
"""For the rest of the output to arrive once the agent has ended."""

log = structlog.get_logger("aileron.sessions")


class Engine(Protocol):
    """What a run needs of the engine it belongs to."""

    daemon: Daemon
    store: SessionStore
    stubs: StubKeeper
    creations: trio.CapacityLimiter
    stub_lock: trio.Lock
    unsaved: dict[str, SessionSummary]

    def api_service(self, run: Run) -> Service | None:
        """What answers on the session's API listener."""

    async def keep(self, run: Run) -> None:
        """Put the new session on record."""

    async def validate(
        self, run: Run, backend: Backend, image: ImageInfo, plan: LaunchPlan
    ) -> None:
        """Refuse an image that cannot run an agent; complete the session's CA bundle."""


@define(eq=False)
class Run:
    """A session in flight. `live` is its one task; everything else only talks to it."""

    engine: Engine
    plan: LaunchPlan
    session: Session
    summary: SessionSummary
    hub: Hub
    progress: Callable[[str], None]
    ready: trio.Event = field(factory=trio.Event)
    """It waits for its console (a detached one: it has started), or it has failed."""
    finished: trio.Event = field(factory=trio.Event)
    error: AileronError | None = None
    """Why it failed."""
    exit: Exit | None = None
    stream: Stream | None = None
    sandbox: Sandbox | None = None
    backend: Backend | None = None
    spec: SandboxSpec | None = None
    prepared: Preparation | None = field(default=None, repr=False)
    """Certificates and files, once they are made."""
    token: str = field(factory=new_token, repr=False)
    size: tuple[int, int] = (0, 0)
    left: list[str] = field(factory=list)
    services: ServiceGroup | None = None
    requirements: tuple[str, ...] = ()
    """Programs that plugins need in the image."""
    _scope: trio.CancelScope = field(factory=trio.CancelScope)
    _start_wanted: trio.Event = field(factory=trio.Event)
    _started: trio.Event = field(factory=trio.Event)
    _end_wanted: trio.Event = field(factory=trio.Event)
    _ending: Ending | None = None

    # --- for others ---------------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        """The agent has started and the sandbox is there."""
        return self.stream is not None and self.session.state is SessionState.RUNNING

    @property
    def is_ending(self) -> bool:
        """Somebody has ended it."""
        return self._ending is not None

    @property
    def token_digest(self) -> str:
        """SHA-256 of the session's token."""
        return token_digest(self.token)

    def start(self, rows: int = 0, columns: int = 0) -> bool:
        """The console is there: run the agent's first instruction. False when that was done."""
        if self._start_wanted.is_set() or not self.ready.is_set():
            return False
        self.size = (rows, columns)
        self._start_wanted.set()
        return True

    async def started(self) -> None:
        """Until the agent runs; returns as well when the session has failed before."""
        async with trio.open_nursery() as nursery:
            for event in (self._started, self.finished):
                nursery.start_soon(_cancel_when, event, nursery.cancel_scope)

    def end(self, ending: Ending) -> None:
        """End it; the first reason counts. Before the agent has started everything is undone."""
        if self._ending is not None:
            return
        self._ending = ending
        self._end_wanted.set()
        if not self._started.is_set():
            self._scope.cancel()

    def abandon(self) -> None:
        """See `Launching.abandon`."""
        if not self._started.is_set():
            self.end(Ending("interrupted"))

    # --- the one task -------------------------------------------------------------------------

    async def live(self) -> None:
        """Carry out the plan to the session's end; failures are kept in ``error``."""
        try:
            with self._scope:
                await self._carry_out()
            if self._scope.cancelled_caught:
                self.error = self.error or aborted(self._ending)
        except Exception as error:  # noqa: BLE001 - whatever it is, the session ends and says why
            self.error = as_error(error)
        finally:
            with trio.CancelScope(shield=True):
                await self._finish()

    async def _carry_out(self) -> None:
        async with AsyncExitStack() as stack:
            undo = Undo(stack, self.left)
            with step("plan"):
                contributions = self._plan(undo)
            with step("prepare"):
                image = await self._prepare(undo, contributions)
            async with self.engine.creations:
                with step("create"):
                    await self._create(undo, image, contributions)
                with step("listen"):
                    await self._listen(undo, contributions)
            with step("start"):
                stream = await self._start(undo)
            with step("run"):
                self.exit = await self._run(stream)
            with step("end"):
                # The record is written while the sandbox is removed: both take a while.
                async with trio.open_nursery() as nursery:
                    self._enter(SessionState.ENDING)
                    nursery.start_soon(self._record)
                    await self._remove_sandbox()

    def _plan(self, undo: Undo) -> specs.Contributions:
        """What plugins add; nothing is touched yet."""
        hooks = self.engine.daemon.hooks
        hooks.require_whole(self.plan.disabled)
        contributions = hooks.contributions(self.session)
        specs.listeners(contributions)  # clashes are found before anything is made
        self.requirements = specs.requirements(contributions)
        self._admit(undo, contributions)
        return contributions

    def _admit(self, undo: Undo, contributions: specs.Contributions) -> None:
        """Let the gate decide for this session, and observers watch it, until it ends."""
        daemon, session = self.engine.daemon, self.session
        undo.later("what the gate knows", self._dismiss)
        daemon.audit.watch(session.id, [one for _, one in daemon.hooks.observers(session)])
        if self.plan.rules is None:
            return  # nobody admitted: everything is denied
        policy = compile_policy(self.plan.rules)
        specs.require_enforced(policy.judges_programs, self.plan, contributions)
        daemon.gate.admit(session.id, policy, daemon.hooks.deciders(session))

    async def _dismiss(self) -> None:
        self.engine.daemon.gate.dismiss(self.session.id)

    # --- prepare ------------------------------------------------------------------------------

    async def _prepare(self, undo: Undo, contributions: specs.Contributions) -> ImageInfo:
        daemon = self.engine.daemon
        self.backend = await daemon.backend(self.plan.backend, self.plan.connection)
        self.plan = await prepare.settle_protected(self.plan)
        self.prepared = Preparation(
            self.engine, self.plan, self.token, contributions, self.progress, undo
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.engine.keep, self)
            return await self.prepared.carry_out(self.backend)

    # --- create and listen --------------------------------------------------------------------

    async def _create(
        self, undo: Undo, image: ImageInfo, contributions: specs.Contributions
    ) -> None:
        backend = self._backend
        spec = self._compose(image, contributions)
        asked = self.plan.limits_asked
        self.session.notes += specs.require_capabilities(backend, spec, contributions, asked)
        self.spec = specs.only_held_limits(spec, backend)
        await self.engine.validate(self, backend, image, self.plan)
        self.sandbox = await backend.create(self.spec)
        undo.later("the sandbox", self._remove_sandbox)

    def _compose(self, image: ImageInfo, contributions: specs.Contributions) -> SandboxSpec:
        inputs = prepare.spec_inputs(self.engine.daemon.paths, self.plan, contributions)
        return specs.compose(self.plan, evolve(inputs, token=self.token, image_env=dict(image.env)))

    async def _listen(self, undo: Undo, contributions: specs.Contributions) -> None:
        wanted = specs.listeners(contributions)
        sockets = await self._backend.listen(self._sandbox, wanted)
        undo.later("the listeners", self._close_listeners)
        self.session.listeners.update(sockets)
        self.services = await undo.stack.enter_async_context(open_services(self._service_failed))
        # Once more, so that it runs before the services are stopped: they outlive the sandbox.
        undo.later("the sandbox", self._remove_sandbox)
        for service in self._all_services():
            await self.services.start(service)

    def _all_services(self) -> list[Service]:
        api = self.engine.api_service(self)
        own = [] if api is None else [api]
        own += [publish_service(self, mapping) for mapping in self.plan.publish]
        return [*own, *self.engine.daemon.hooks.services(self.session)]

    async def _remove_sandbox(self) -> None:
        if self.sandbox is not None:
            await self._backend.remove(self.sandbox)
            self.sandbox = None

    async def _close_listeners(self) -> None:
        for listener in self.session.listeners.values():
            with suppress(OSError):
                listener.close()
        self.session.listeners.clear()

    def _service_failed(self, error: AileronError) -> None:
        self.error = error
        self.end(Ending(error.message, status=error.exit_status, grace=0.0))

    # --- start and run ------------------------------------------------------------------------

    async def _start(self, undo: Undo) -> Stream:
        """Wait for the console, then run the agent's first instruction."""
        self._enter(SessionState.CREATED, sandbox=self._sandbox.id)
        if self.plan.detach:
            await self._record()
        else:
            self.ready.set()
            await self._record()  # while the command line finds its way to the console
            await self._wait_for_console()
        stream = await self._backend.open(self._sandbox)
        undo.later("the stream", stream.aclose)
        self.stream = stream
        if all(self.size) and self.size != (self.plan.rows, self.plan.columns):
            with suppress(AileronError):
                await stream.resize(*self.size)
        self._enter(SessionState.RUNNING, started=time.time())
        self._started.set()
        self.ready.set()
        return stream

    async def _wait_for_console(self) -> None:
        with trio.move_on_after(ATTACH_SECONDS) as patience:
            await self._start_wanted.wait()
        if patience.cancelled_caught:
            raise nobody_attached()

    async def _run(self, stream: Stream) -> Exit:
        """Until the agent has ended; that it runs is recorded meanwhile."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._record)
            return await self._supervise(stream)

    async def _supervise(self, stream: Stream) -> Exit:
        """Until the agent has ended and what it printed has been passed on."""
        pumped = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._pump, stream, pumped)
            nursery.start_soon(self._enforce_end, stream)
            if self.plan.timeout is not None:
                nursery.start_soon(self._limit_time, self.plan.timeout)
            how = await stream.wait()
            await self._last_output(pumped)
            nursery.cancel_scope.cancel()
        return how

    async def _pump(self, stream: Stream, pumped: trio.Event) -> None:
        await self.hub.pump(stream)
        pumped.set()

    async def _last_output(self, pumped: trio.Event) -> None:
        """Wait for the rest of the output; as long as it takes while someone is reading it."""
        while not pumped.is_set():
            with trio.move_on_after(LAST_OUTPUT_SECONDS) as patience:
                await pumped.wait()
            if patience.cancelled_caught and (self._ending or not self.hub.is_blocked):
                return

    async def _limit_time(self, seconds: float) -> None:
        await trio.sleep(seconds)
        self.end(Ending(f"time limit of {seconds:g} s", status=EXIT_TIMEOUT))

    async def _enforce_end(self, stream: Stream) -> None:
        """Ask the agent to end, wait, then end it and everything beside it."""
        await self._end_wanted.wait()
        ending = self._ending
        assert ending is not None
        if ending.grace > 0:
            await stream.signal(ending.signum)
            await trio.sleep(ending.grace)
        await self._backend.remove(self._sandbox)

    # --- end ----------------------------------------------------------------------------------

    async def _finish(self) -> None:
        """The record's last state, whatever happened; nothing here may raise."""
        outcome = Outcome(self.error, self.exit, self._ending, tuple(self.left))
        self._enter(outcome.state, ended=time.time(), **outcome.changes(self.summary))
        try:
            await self._record()
        except Exception as error:  # noqa: BLE001 - the session is over all the same
            self.engine.unsaved[self.plan.session] = self.summary
            log.error(
                "the end was not recorded", session=self.plan.session, error=str(as_error(error))
            )
        self.engine.daemon.audit.unwatch(self.plan.session)
        self.finished.set()
        self.ready.set()
        self.hub.close(outcome.last_frame(self.summary))

    def _enter(self, state: SessionState, **changes: Any) -> None:
        """The next state, for everybody who asks; `_record` makes it durable."""
        self.session.state = state
        notes = tuple(self.session.notes)
        self.summary = evolve(self.summary, **{**changes, "state": state.value, "notes": notes})

    async def _record(self) -> None:
        """Write the state down: it is durable when this returns."""
        summary = self.summary
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.engine.store.save, summary)
            await self.engine.daemon.audit.record(
                f"session.{summary.state}", summary.id, facts(summary)
            )

    @property
    def _backend(self) -> Backend:
        assert self.backend is not None
        return self.backend

    @property
    def _sandbox(self) -> Sandbox:
        assert self.sandbox is not None
        return self.sandbox


async def _cancel_when(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
