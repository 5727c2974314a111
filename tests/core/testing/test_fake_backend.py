"""The backend in memory keeps the protocol's promises, so that tests on it mean something."""

from __future__ import annotations

import signal
import socket

import pytest
import trio
import trio.testing

from aileron_core.backend import (
    Backend,
    BackendContext,
    Capability,
    Command,
    Exit,
    ListenerSpec,
    Recipe,
    SandboxSpec,
)
from aileron_core.errors import AileronError
from aileron_core.testing import IMAGE, FakeBackend, FakeWorld, aileron_error, fake_factory
from aileron_core.testing.programs import FakeProcess


def spec(*argv: str, session: str = "s1", **more: object) -> SandboxSpec:
    """A sandbox that runs ``argv``."""
    facts = {"env": {"A": "1"}, "labels": {"io.aileron.owner": "me"}, **more}
    return SandboxSpec(session, IMAGE, argv, "/work", **facts)  # type: ignore[arg-type]  # any field


async def output(backend: FakeBackend, *argv: str, **more: object) -> tuple[bytes, bytes, Exit]:
    """Run to the end: stdout, stderr, exit."""
    stream = await backend.open(await backend.create(spec(*argv, **more)))
    await stream.send_eof()
    out: dict[int, bytes] = {1: b"", 2: b""}
    while (chunk := await stream.receive()) is not None:
        out[chunk[0]] += chunk[1]
    return out[1], out[2], await stream.wait()


async def test_it_is_a_backend() -> None:
    """The type checker and the runtime agree; it declares every capability."""
    backend: Backend = FakeBackend()
    assert backend.capabilities == frozenset(Capability)


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (("true",), (b"", b"", Exit(0))),
        (("/bin/false",), (b"", b"", Exit(1))),
        (("echo", "a", "b"), (b"a b\n", b"", Exit(0))),
        (("env",), (b"A=1\n", b"", Exit(0))),
        (("exit", "7"), (b"", b"", Exit(7))),
        (("nothing",), (b"", b"nothing: not found\n", Exit(127))),
    ],
)
async def test_programs_run_and_end(argv: tuple[str, ...], expected: object) -> None:
    """With output, and an exit status as a shell reports it."""
    assert await output(FakeBackend(), *argv) == expected


async def test_input_reaches_the_program() -> None:
    """Until its end."""
    backend = FakeBackend()
    stream = await backend.open(await backend.create(spec("cat")))
    await stream.send(b"hello")
    assert await stream.receive() == (1, b"hello")
    await stream.send_eof()
    assert await stream.receive() is None
    assert await stream.wait() == Exit(0)
    await stream.send(b"dropped")


async def test_nothing_runs_before_it_is_opened() -> None:
    """Created means initialised, not started."""
    backend = FakeBackend()
    sandbox = await backend.create(spec("true"))
    assert (await backend.survey("me"))[0].state == "created"
    assert await (await backend.open(sandbox)).wait() == Exit(0)
    await trio.testing.wait_all_tasks_blocked()
    assert (await backend.survey("me"))[0].state == "stopped"
    assert await backend.survey("somebody else") == []


async def test_a_signal_ends_a_program_unless_it_is_trapped() -> None:
    """SIGKILL always does; a change of size never."""
    seen: list[int] = []

    async def trapping(process: FakeProcess) -> int:
        process.trapped.add(signal.SIGTERM)
        seen.append(await process.next_signal())
        await trio.sleep_forever()
        return 0

    backend = FakeBackend()
    backend.world.programs["trap"] = trapping
    stream = await backend.open(await backend.create(spec("trap")))
    await trio.testing.wait_all_tasks_blocked()
    await stream.resize(24, 80)
    await stream.signal(signal.SIGTERM)
    await trio.testing.wait_all_tasks_blocked()
    assert seen == [signal.SIGTERM]
    await stream.signal(signal.SIGKILL)
    assert await stream.wait() == Exit(137)
    await stream.signal(signal.SIGTERM)


async def test_removal_gives_time_and_then_kills(autojump_clock: trio.testing.MockClock) -> None:
    """SIGTERM, the grace, SIGKILL; removing again is fine."""

    async def stubborn(process: FakeProcess) -> int:
        process.trapped.add(signal.SIGTERM)
        await trio.sleep_forever()
        return 0

    backend = FakeBackend()
    backend.world.programs["stubborn"] = stubborn
    sandbox = await backend.create(spec("stubborn"))
    stream = await backend.open(sandbox)
    await trio.testing.wait_all_tasks_blocked()
    started = trio.current_time()
    await backend.remove(sandbox, grace=5.0)
    assert trio.current_time() - started == pytest.approx(5.0)
    assert await stream.wait() == Exit(137)
    assert await backend.survey("me") == []
    await backend.remove(sandbox)
    assert backend.world.removed == ["s1"]


async def test_commands_end_with_the_sandbox() -> None:
    """A second program dies when the agent ends."""
    backend = FakeBackend()
    sandbox = await backend.create(spec("cat"))
    agent = await backend.open(sandbox)
    other = await backend.open(sandbox, Command(("sleep", "inf"), "/"))
    await agent.send_eof()
    assert await agent.wait() == Exit(0)
    assert await other.wait() == Exit(137)


async def test_listeners_are_real_sockets() -> None:
    """On any free port, so that tests never collide."""
    backend = FakeBackend()
    sandbox = await backend.create(spec("true"))
    found = await backend.listen(
        sandbox, [ListenerSpec("api", port=7443), ListenerSpec("dns", kind="udp")]
    )
    with found["api"] as api, found["dns"] as dns:
        assert not api.getblocking()
        with socket.create_connection(api.getsockname()):
            pass
        assert dns.type == socket.SOCK_DGRAM


async def test_images_are_there_when_they_are_provided() -> None:
    """An absent one makes creation fail."""
    backend, lines = FakeBackend(), list[str]()
    assert await backend.image("x:1") is None
    with pytest.raises(AileronError, match="no image x:1"):
        await backend.create(SandboxSpec("s", "x:1", ("true",), "/", {}))
    await backend.provide(Recipe("x:1", env={"LANG": "C"}), lines.append)
    image = await backend.image("x:1")
    assert image is not None
    assert (image.env["LANG"], lines) == ("C", ["making x:1"])


async def test_any_method_can_fail_once() -> None:
    """Before it does anything."""
    backend = FakeBackend()
    backend.fail("create", aileron_error("full"))
    with pytest.raises(AileronError, match="full"):
        await backend.create(spec("true"))
    assert backend.world.sandboxes == {}
    await backend.create(spec("true"))
    assert backend.methods() == ["create", "create"]


async def test_any_method_can_be_held_and_cancelled() -> None:
    """As a person presses Ctrl-C in the middle."""
    backend = FakeBackend()
    with backend.hold("create") as held, trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(backend.create, spec("true"))
            await held.entered.wait()
            scope.cancel()
    assert scope.cancelled_caught
    assert backend.world.sandboxes == {}


async def test_a_held_method_goes_on_when_released() -> None:
    """For tests of what happens meanwhile."""
    backend = FakeBackend()
    with backend.hold("create") as held:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(backend.create, spec("true"))
            await held.entered.wait()
            assert backend.world.sandboxes == {}
            held.release()
    assert list(backend.world.sandboxes) == ["fake-1"]


async def test_the_world_outlives_the_backend() -> None:
    """A daemon that is killed leaves its containers; the next one finds them."""
    world, opened = FakeWorld(), list[FakeBackend]()
    factory = fake_factory(world, opened.append)
    first = await factory.open(BackendContext("/run", "/state"))
    await first.open(await first.create(spec("sleep", "inf")))
    await first.aclose()
    second = await factory.open(BackendContext("/run", "/state"))
    (found,) = await second.survey("me")
    assert (found.state, opened[0].closed) == ("running", True)
    await second.remove(found.sandbox)
    assert world.removed == ["s1"]


async def test_a_container_can_be_killed_from_outside() -> None:
    """By the kernel, for lack of memory, say."""
    backend = FakeBackend()
    stream = await backend.open(await backend.create(spec("sleep", "inf")))
    backend.world.of("s1").kill(Exit(137, oom=True))
    assert await stream.wait() == Exit(137, oom=True)


async def test_a_fault_of_a_program_is_kept() -> None:
    """It must not end the test's whole run."""

    async def bad(process: FakeProcess) -> int:
        raise ValueError("oops")

    backend = FakeBackend()
    backend.world.programs["bad"] = bad
    stream = await backend.open(await backend.create(spec("bad")))
    assert await stream.wait() == Exit(70)
    assert isinstance(backend.world.of("s1").processes[0].failure, ValueError)


async def test_what_is_gone_cannot_be_opened() -> None:
    """Nor listened in."""
    backend = FakeBackend()
    sandbox = await backend.create(spec("true"))
    await backend.remove(sandbox)
    with pytest.raises(AileronError, match="no sandbox"):
        await backend.open(sandbox)
    with pytest.raises(AileronError, match="no sandbox"):
        await backend.listen(sandbox, [])


async def test_with_a_terminal_everything_is_one_channel() -> None:
    """And writing to a stream that was let go of is no error."""
    backend = FakeBackend()
    stream = await backend.open(await backend.create(spec("nothing", tty=True)))
    assert await stream.receive() == (1, b"nothing: not found\n")
    await stream.aclose()
