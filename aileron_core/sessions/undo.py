"""Undoing steps: newest first, never interrupted, one failure does not stop the others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager

import structlog
import trio
from attrs import define, field

from aileron_core.errors import INTERNAL, AileronError
from aileron_core.sessions.files import host_refused

PATIENCE = 30.0
"""Seconds that undoing one thing may take."""

log = structlog.get_logger("aileron.sessions")


@define(eq=False)
class Undo:
    """What must be undone, and what of it could not be."""

    stack: AsyncExitStack
    left: list[str] = field(factory=list)
    """For people: each thing that is still there, and why."""

    def later(self, what: str, work: Callable[[], Awaitable[object]]) -> None:
        """When the session ends, run ``work``, which removes ``what``."""
        self.stack.push_async_callback(self.now, what, work)

    async def now(self, what: str, work: Callable[[], Awaitable[object]]) -> None:
        """Run ``work`` shielded and within `PATIENCE`; note what is left when it fails."""
        with trio.move_on_after(PATIENCE, shield=True) as patience:
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - the other things must be undone too
                self._failed(what, str(as_error(error)))
        if patience.cancelled_caught:
            self._failed(what, f"not within {PATIENCE:g} s")

    def _failed(self, what: str, why: str) -> None:
        log.error("something was left", what=what, why=why)
        self.left.append(f"{what} ({why})")


def as_error(error: BaseException) -> AileronError:
    """What a person should be told of any failure; the first that explains itself, in a group."""
    if isinstance(error, AileronError):
        return error
    if isinstance(error, OSError):
        return host_refused("go on", error)
    if isinstance(error, BaseExceptionGroup):
        inner = [as_error(one) for one in error.exceptions if not isinstance(one, trio.Cancelled)]
        known = [one for one in inner if one.code != INTERNAL.name]
        if inner:
            return (known or inner)[0]
    return INTERNAL(
        f"a fault in Aileron: {type(error).__name__}: {error}", hints=["aileron daemon logs"]
    )


@contextmanager
def step(name: str) -> Iterator[None]:
    """Failures inside become errors that name the step."""
    try:
        yield
    except trio.Cancelled:
        raise
    except BaseExceptionGroup as group:
        if group.subgroup(Exception) is None:
            raise
        raise _at(name, group) from group
    except Exception as error:
        raise _at(name, error) from error


def _at(name: str, cause: BaseException) -> AileronError:
    error = as_error(cause)
    if error.code == INTERNAL.name:
        log.error("a step failed", step=name, exc_info=cause)
    error.why = f"{error.why.rstrip('.')}; " if error.why else ""
    error.why += f"this was the step '{name}'"
    return error
