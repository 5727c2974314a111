"""The calls that make sessions: lines of JSON, errors as lines, a vanished client undoes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import trio
from attrs import define, field

from aileron_core.daemon.context import SessionSummary
from aileron_core.errors import INTERNAL
from aileron_core.sessions.plan import LaunchPlan, LaunchRequest, WorkspacePlan
from aileron_launch.routes import launch_lines

SUMMARY = SessionSummary(
    "s_1", "n", "created", "cat", ("cat",), "/w", "rw", "i", "byo", "podman", "here", 0.0
)


@define(eq=False)
class FakeLaunching:
    """A session that is being prepared."""

    summary: SessionSummary = SUMMARY
    error: Exception | None = None
    abandoned: bool = False

    def abandon(self):
        """Note it."""
        self.abandoned = True


@define(eq=False)
class FakeSessions:
    """Sessions that are prepared when the test says so."""

    launching: FakeLaunching = field(factory=FakeLaunching)
    begun: trio.Event = field(factory=trio.Event)
    calls: dict = field(factory=dict)

    async def begin(self, plan, progress, ready):
        """Keep the callbacks."""
        self.calls = {"plan": plan, "progress": progress, "ready": ready}
        self.begun.set()
        return self.launching


async def planner(request, daemon, session):
    """A plan for any request."""
    workspace = WorkspacePlan(Path("/w"), "rw", (0, 0))
    return LaunchPlan(session, "n", "cat", "i", "byo", "podman", ("cat",), "/w", workspace)


@pytest.fixture
def daemon():
    """A daemon with fake sessions."""
    return SimpleNamespace(sessions=FakeSessions())


async def collect(daemon, lines, plan=planner):
    """Every line, into a list."""
    async for line in launch_lines(daemon, plan, LaunchRequest("cat", connection="far")):
        lines.append(line)


async def test_id_progress_session(daemon):
    """The id first, so that it can be stopped; then what happens; then the session."""
    lines: list = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(collect, daemon, lines)
        await daemon.sessions.begun.wait()
        daemon.sessions.calls["progress"]("pulling")
        daemon.sessions.calls["ready"]()
    assert [list(line) for line in lines] == [["id"], ["progress"], ["session"]]
    assert lines[0]["id"] == daemon.sessions.calls["plan"].session
    assert daemon.sessions.calls["plan"].connection == "far"
    assert not daemon.sessions.launching.abandoned


async def test_an_error_is_a_line(daemon):
    """With code, exit status and hints, for the command line to show."""
    daemon.sessions.launching.error = INTERNAL("it broke", hints=["mend it"])
    lines: list = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(collect, daemon, lines)
        await daemon.sessions.begun.wait()
        daemon.sessions.calls["ready"]()
    assert lines[-1]["error"]["code"] == "internal"
    assert lines[-1]["error"]["exit_status"] == 70


async def test_a_plan_that_fails_is_a_line(daemon):
    """Nothing was begun; the error is the last line."""

    async def refuse(request, daemon, session):
        raise INTERNAL("no")

    lines: list = []
    await collect(daemon, lines, refuse)
    assert [list(line) for line in lines] == [["id"], ["error"]]


async def test_a_client_that_vanishes_abandons_the_launch(daemon):
    """Whether it goes while a line is awaited or between two lines."""
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(collect, daemon, [])
            await daemon.sessions.begun.wait()
            scope.cancel()
    assert daemon.sessions.launching.abandoned

    daemon.sessions.launching.abandoned = False
    lines = launch_lines(daemon, planner, LaunchRequest("cat"))
    await anext(lines)
    daemon.sessions.begun = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_next, lines)
        await daemon.sessions.begun.wait()
        daemon.sessions.calls["progress"]("x")
    await lines.aclose()
    assert daemon.sessions.launching.abandoned


async def _next(lines):
    await anext(lines)


async def test_progress_never_waits(daemon):
    """A client that reads nothing misses lines; the launch goes on."""
    lines: list = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(collect, daemon, lines)
        await daemon.sessions.begun.wait()
        for number in range(10_000):
            daemon.sessions.calls["progress"](str(number))
        daemon.sessions.calls["ready"]()
        daemon.sessions.calls["progress"]("too late")
    assert 1 < len(lines) < 1000
