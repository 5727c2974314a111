"""The calls about images: progress as it comes, then one result or one error."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from attrs import evolve

from aileron_core.backend import Recipe
from aileron_core.errors import INTERRUPTED, AileronError, ErrorCode
from aileron_core.testing import FakeBackend
from aileron_launch.image_routes import Built, check, describe, image_plan, stream

NO_SESSION = ErrorCode.registry.get("session-unknown") or ErrorCode("session-unknown", 66, "None.")


async def lines(work: Any) -> list[Any]:
    """Everything that a stream says."""
    return [json.loads(line) async for line in stream(work)]


async def test_progress_then_the_result() -> None:
    """Lines come in order, the result last."""

    async def work(progress: Any) -> Built:
        progress("one")
        await trio.lowlevel.checkpoint()
        progress("two")
        return Built("i", "host", "sha", 7)

    assert await lines(work) == [
        {"progress": "one"},
        {"progress": "two"},
        {"result": {"image": "i", "tier": "host", "id": "sha", "size": 7}},
    ]


async def test_progress_then_an_error() -> None:
    """An error is the last line, with its exit status; a fault says that it is one."""

    async def work(progress: Any) -> None:
        raise INTERRUPTED("stopped")

    (last,) = await lines(work)
    assert (last["error"]["code"], last["error"]["exit_status"]) == ("interrupted", 130)

    async def fault(progress: Any) -> None:
        raise ZeroDivisionError("oh")

    (last,) = await lines(fault)
    assert last["error"]["code"] == "internal"


async def test_a_slow_reader_holds_nothing_up() -> None:
    """Progress that nobody reads is dropped; the result is not."""

    async def work(progress: Any) -> Built:
        for number in range(1000):
            progress(str(number))
        return Built("i", "host", "sha", 7)

    told = await lines(work)
    assert len(told) < 100
    assert "result" in told[-1]


async def test_a_reader_that_goes_away_ends_the_work(autojump_clock: Any) -> None:
    """Closing the stream cancels what it tells of."""
    ended = []

    async def work(progress: Any) -> None:
        try:
            progress("one")
            await trio.sleep(3600)
        finally:
            ended.append(trio.current_time())

    told = stream(work)
    start = trio.current_time()
    assert json.loads(await anext(told)) == {"progress": "one"}
    await told.aclose()  # type: ignore[attr-defined]  # it is a generator
    assert ended == [start]


def test_steps_are_told_first_things_first() -> None:
    """A chain of recipes reads from the base upwards."""
    base = Recipe("base:1", rootfs="/base.tar")
    built = Recipe("agent:1", containerfile="FROM base:1\n\nRUN x\n", base=base)
    assert describe(built) == [
        "import base:1 from /base.tar",
        "build agent:1",
        "  FROM base:1",
        "  RUN x",
    ]
    assert describe(Recipe("debian:12", pull=True)) == ["pull debian:12"]
    assert describe(None) == []


def test_a_plan_says_what_and_why(person: Any) -> None:
    """Image, tier, command, steps, what is shown of the host, and the notes."""
    shown = image_plan(person.plan("ls"), present=False)
    assert (shown.tier, shown.present, shown.argv) == ("host", False, ("ls",))
    assert "/usr" in shown.mounts
    assert shown.steps[0].startswith("import localhost/aileron-host:")
    assert shown.notes[0].startswith("image tier host")


class Sessions:
    """Sessions that are launched, and how a launch ends."""

    def __init__(self, error: AileronError | None = None) -> None:
        self.error = error
        self.said: list[str] = []

    async def launch(self, plan: Any, progress: Any) -> None:
        """The launch; a failure leaves nothing."""
        self.said.append(f"launch {plan.detach} {plan.tty}")
        if self.error is not None:
            raise self.error

    async def stop(self, session: str, *, by: str, grace: float) -> None:
        """The end, unknown after a failure."""
        self.said.append(f"stop {grace}")
        if self.error is not None:
            raise NO_SESSION("gone")

    async def forget(self, session: str) -> None:
        """No record."""
        self.said.append("forget")


class Daemon:
    """As much of a daemon as the calls need."""

    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions

    async def backend(self, name: str, connection: str | None = None) -> FakeBackend:
        """One that has an image."""
        return FakeBackend()


async def test_a_check_stops_before_the_agent_starts(person: Any) -> None:
    """The plan is carried out up to where a console would start the agent, and leaves no record."""
    made = evolve(person.plan("ls"), image="fake/image:1", recipe=None)
    sessions = Sessions()
    done = await check(Daemon(sessions), made, lambda line: None)  # type: ignore[arg-type]  # a part
    assert sessions.said == ["launch False False", "stop 0.0", "forget"]
    assert (done.image, done.agent) == ("fake/image:1", "ls")


async def test_a_check_that_fails_says_why(person: Any) -> None:
    """The launch's own error is told, not that there was nothing to clear away."""
    made = evolve(person.plan("ls"), image="fake/image:1", recipe=None)
    with pytest.raises(AileronError, match="broken image"):
        await check(Daemon(Sessions(INTERRUPTED("broken image"))), made, print)  # type: ignore[arg-type]  # a part
