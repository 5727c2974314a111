"""``/v1/images``: say what an image would be, build it, and try whether it can run an agent."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import trio
from attrs import asdict, evolve, frozen
from quart import Blueprint

from aileron_core.backend import Progress, Recipe
from aileron_core.daemon.calls import CONVERTER, call
from aileron_core.daemon.context import Daemon
from aileron_core.daemon.problems import error_body
from aileron_core.errors import INTERNAL, AileronError
from aileron_core.sessions.engine import new_session_id
from aileron_core.sessions.plan import LaunchPlan, LaunchRequest
from aileron_core.sessions.prepare import ensure_image
from aileron_launch.planner import plan

Work = Callable[[Progress], Awaitable[Any]]
_LINES = 64
"""Lines of progress that wait for a slow reader; those beyond are dropped, the work never waits."""


@frozen
class ImagePlan:
    """Which image a launch would use, and why."""

    image: str
    tier: str
    backend: str
    present: bool
    """It is on this machine."""
    argv: tuple[str, ...]
    steps: tuple[str, ...]
    """How it is got when it is not."""
    mounts: tuple[str, ...]
    notes: tuple[str, ...]


@frozen
class Built:
    """An image that is on this machine now."""

    image: str
    tier: str
    id: str
    size: int
    """Bytes."""


@frozen
class Checked:
    """An image that can run the agent."""

    image: str
    tier: str
    agent: str


@frozen
class Line:
    """One line of a stream: progress, then the result or an error."""

    progress: str = ""
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


def blueprint(daemon: Daemon) -> Blueprint:
    """The calls."""
    calls = Blueprint("images", __name__)

    @calls.post("/v1/images/plan")
    @call(body=LaunchRequest, answer=ImagePlan)
    async def plan_image(body: LaunchRequest) -> ImagePlan:
        """Which image a launch would use, and how it would be got; nothing is built."""
        made = await plan(body, daemon, new_session_id())
        backend = await daemon.backend(made.backend, made.connection)
        return image_plan(made, present=await backend.image(made.image) is not None)

    @calls.post("/v1/images/build")
    @call(body=LaunchRequest, answer=Line, stream="application/x-ndjson")
    async def build_image(body: LaunchRequest) -> AsyncIterator[bytes]:
        """Get or build the image that a launch would use; lines of progress, then the image."""
        made = await plan(body, daemon, new_session_id())
        return stream(lambda progress: build(daemon, made, progress))

    @calls.post("/v1/images/check")
    @call(body=LaunchRequest, answer=Line, stream="application/x-ndjson")
    async def check_image(body: LaunchRequest) -> AsyncIterator[bytes]:
        """Try whether the image can run the agent, in a sandbox; the agent is not started."""
        made = await plan(body, daemon, new_session_id())
        return stream(lambda progress: check(daemon, made, progress))

    return calls


def image_plan(made: LaunchPlan, *, present: bool) -> ImagePlan:
    """What a plan says about its image."""
    return ImagePlan(
        image=made.image,
        tier=made.tier,
        backend=made.backend,
        present=present,
        argv=made.argv,
        steps=tuple(describe(made.recipe)),
        mounts=tuple(mount.target for mount in made.mounts if mount.kind == "bind"),
        notes=made.notes,
    )


def describe(recipe: Recipe | None) -> list[str]:
    """How an image is got, one step a line, the first one first."""
    if recipe is None:
        return []
    before = describe(recipe.base)
    if recipe.containerfile is not None:
        lines = [line for line in recipe.containerfile.splitlines() if line.strip()]
        return [*before, f"build {recipe.reference}", *(f"  {line}" for line in lines)]
    if recipe.pull:
        return [*before, f"pull {recipe.reference}"]
    return [*before, f"import {recipe.reference} from {recipe.rootfs}"]


async def build(daemon: Daemon, made: LaunchPlan, progress: Progress) -> Built:
    """Make sure that the image is here; built anew when that is asked for.

    Raises:
        AileronError: ``image-missing``, or what the tools say.
    """
    backend = await daemon.backend(made.backend, made.connection)
    found = await ensure_image(backend, made, progress)
    return Built(made.image, made.tier, found.id, found.size)


async def check(daemon: Daemon, made: LaunchPlan, progress: Progress) -> Checked:
    """Carry the plan out up to where the agent would start; the image is tried on the way."""
    await build(daemon, made, progress)
    progress("trying the image in a sandbox")
    waiting = evolve(made, detach=False, tty=False, name=f"check-{made.session[-6:]}", publish=())
    try:
        await daemon.sessions.launch(waiting, progress)
    finally:
        with trio.CancelScope(shield=True):
            await _clear(daemon, made.session)
    return Checked(made.image, made.tier, made.argv[0])


async def _clear(daemon: Daemon, session: str) -> None:
    """The check's own session ends and leaves no record."""
    try:
        await daemon.sessions.stop(session, by="sandbox check", grace=0.0)
        await daemon.sessions.forget(session)
    except AileronError as error:
        if error.code != "session-unknown":
            raise


async def stream(work: Work) -> AsyncIterator[bytes]:
    """The work's progress as it comes, then its result or error; closed early, it is cancelled."""
    send, receive = trio.open_memory_channel[Line](_LINES)

    def progress(text: str) -> None:
        with suppress(trio.WouldBlock):  # a reader that does not keep up misses lines
            send.send_nowait(Line(progress=text))

    async def run() -> None:
        async with send:
            try:
                made = await work(progress)
                last = Line(result=CONVERTER.unstructure(made))
            except AileronError as error:
                last = Line(error=dict(error_body(error)["error"]))
            except Exception as error:  # noqa: BLE001 - the head is sent: the stream must say it
                last = Line(error=dict(error_body(INTERNAL(str(error)))["error"]))
            await send.send(last)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        async with receive:
            async for line in receive:
                kept = {name: value for name, value in asdict(line).items() if value}
                try:
                    yield json.dumps(kept).encode() + b"\n"
                except GeneratorExit:  # the reader went away; the nursery may not see this one
                    break
        nursery.cancel_scope.cancel()
