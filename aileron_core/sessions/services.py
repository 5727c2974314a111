"""The services of one session: shielded once started, stopped newest first.

In a plain nursery a Ctrl-C would stop them all at once, before the container they protect has ended
(measured). So each has a cancel scope of its own that nothing outside reaches.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog
import trio
from attrs import define, field

from aileron_core.errors import EXIT_UNAVAILABLE, AileronError, ErrorCode
from aileron_core.records import Service

SERVICE_FAILED = ErrorCode(
    "service-failed", EXIT_UNAVAILABLE, "Something that must run beside a session has failed."
)

START_SECONDS = 30.0
"""A service that is not ready after this has failed."""
STOP_SECONDS = 10.0
"""A service gets this long to end; then the next one is stopped."""

log = structlog.get_logger("aileron.sessions")


@define(eq=False)
class _Running:
    name: str
    scope: trio.CancelScope = field(factory=trio.CancelScope)
    done: trio.Event = field(factory=trio.Event)
    is_stopping: bool = False


@define(eq=False)
class _Started:
    """A task status that shields the service when it says that it is ready."""

    inner: trio.TaskStatus[object]
    running: _Running
    is_started: bool = False

    def started(self, value: object = None) -> None:
        """The service is ready: from now on only `ServiceGroup.stop` ends it."""
        self.running.scope.shield = True
        self.is_started = True
        self.inner.started(value)


@define(eq=False)
class ServiceGroup:
    """Use `open_services` to get one."""

    _nursery: trio.Nursery
    _on_failure: Callable[[AileronError], None]
    _running: list[_Running] = field(factory=list)

    async def start(self, service: Service) -> None:
        """Start one and wait until it is ready.

        Raises:
            AileronError: what the service raised, or ``service-failed``.
        """
        running = _Running(service.name)
        try:
            with trio.fail_after(START_SECONDS):
                await self._nursery.start(self._run, service, running)
        except AileronError:
            raise
        except Exception as error:  # a plugin's service may fail in any way
            raise _failure(service.name, error) from error
        self._running.append(running)

    async def stop(self) -> None:
        """End them, newest first, each within `STOP_SECONDS`; harmless when repeated."""
        while self._running:
            running = self._running.pop()
            running.is_stopping = True
            running.scope.cancel()
            with trio.move_on_after(STOP_SECONDS, shield=True) as patience:
                await running.done.wait()
            if patience.cancelled_caught:
                log.error("service does not end", service=running.name)

    async def _run(
        self, service: Service, running: _Running, *, task_status: trio.TaskStatus[object]
    ) -> None:
        status = _Started(task_status, running)
        try:
            with running.scope:
                await service.serve(task_status=status)
            problem = _failure(service.name, "it ended on its own")
        except Exception as error:
            if not status.is_started:
                raise
            problem = error if isinstance(error, AileronError) else _failure(service.name, error)
        finally:
            running.done.set()
        if status.is_started and not running.is_stopping:
            log.error("service failed", service=service.name, error=problem.why)
            self._on_failure(problem)


@asynccontextmanager
async def open_services(
    on_failure: Callable[[AileronError], None],
) -> AsyncIterator[ServiceGroup]:
    """A group for one session; leaving it stops what still runs."""
    async with trio.open_nursery() as nursery:
        group = ServiceGroup(nursery, on_failure)
        try:
            yield group
        finally:
            await group.stop()


def _failure(name: str, cause: object) -> AileronError:
    why = f"{type(cause).__name__}: {cause}" if isinstance(cause, Exception) else str(cause)
    return SERVICE_FAILED(
        f"the service {name!r} of the session has failed",
        why=why,
        hints=["aileron daemon logs", "leave its plugin out (aileron --disable NAME launch …)"],
    )
