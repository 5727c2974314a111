"""The host's calls that make sessions: ``POST /v1/sessions`` and ``POST /v1/plan``."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any, Protocol

import trio
from attrs import asdict, evolve
from quart import Blueprint

from aileron_core.backend import Progress
from aileron_core.daemon.calls import call
from aileron_core.daemon.context import Daemon, SessionSummary
from aileron_core.errors import AileronError
from aileron_core.sessions.engine import new_session_id
from aileron_core.sessions.plan import LaunchPlan, LaunchRequest
from aileron_core.sessions.undo import as_error
from aileron_launch.planner import plan as make_plan

Line = Mapping[str, Any]


class Planner(Protocol):
    """What makes a plan of a request."""

    async def __call__(self, request: LaunchRequest, daemon: Daemon, session_id: str) -> LaunchPlan:
        """The plan; nothing is started."""


def blueprint(daemon: Daemon, planner: Planner = make_plan) -> Blueprint:
    """The calls that make sessions."""
    calls = Blueprint("launch", __name__)

    @calls.post("/v1/sessions")
    @call(body=LaunchRequest, answer=SessionSummary, stream="application/x-ndjson")
    async def launch(body: LaunchRequest) -> AsyncIterator[bytes]:
        """Make a session: lines of JSON, ``id``, ``progress``…, then ``session`` or ``error``.

        A client that goes away meanwhile ends the launch, and everything is undone.
        """
        return _encoded(launch_lines(daemon, planner, body))

    @calls.post("/v1/plan")
    @call(body=LaunchRequest)
    async def plan(body: LaunchRequest) -> Mapping[str, Any]:
        """What a launch would do; nothing is touched."""
        made = await _plan(daemon, planner, body, new_session_id())
        shown: Mapping[str, Any] = json.loads(
            json.dumps(await daemon.sessions.dry_run(made), default=_plain)
        )
        return shown

    return calls


async def _plan(
    daemon: Daemon, planner: Planner, request: LaunchRequest, session: str
) -> LaunchPlan:
    made = await planner(request, daemon, session)
    return evolve(made, connection=request.connection)


async def launch_lines(
    daemon: Daemon, planner: Planner, request: LaunchRequest
) -> AsyncIterator[Line]:
    """What a launch has to say, line by line. Closing this generator undoes the launch."""
    session = new_session_id()
    yield {"id": session}
    try:
        made = await _plan(daemon, planner, request, session)
        send, receive = trio.open_memory_channel[Line](256)
        launching = await daemon.sessions.begin(made, _progress(send), ready=send.close)
    except Exception as error:  # noqa: BLE001 - the answer has begun: an error is a line of it
        yield _error_line(as_error(error))
        return
    is_told = False
    try:
        async for line in receive:
            yield line
        is_told = True
        if launching.error is not None:
            yield _error_line(launching.error)
        else:
            yield {"session": asdict(launching.summary)}
    finally:
        # No nursery spans a yield here: whoever reads may vanish between two lines.
        if not is_told:
            launching.abandon()


def _progress(send: trio.MemorySendChannel[Line]) -> Progress:
    def progress(text: str) -> None:
        with suppress(trio.WouldBlock, trio.ClosedResourceError, trio.BrokenResourceError):
            send.send_nowait({"progress": text})

    return progress


def _error_line(error: AileronError) -> Line:
    return {"error": {**error.to_dict(), "exit_status": error.exit_status}}


async def _encoded(lines: AsyncIterator[Line]) -> AsyncIterator[bytes]:
    async for line in lines:
        yield json.dumps(line).encode() + b"\n"


def _plain(value: Any) -> Any:
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    return dict(value) if isinstance(value, Mapping) else str(value)


__all__ = ["blueprint", "launch_lines"]
