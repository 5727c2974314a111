"""A sandbox runs a program as `podman run` would: pipes, terminal, signals, exit status."""

from __future__ import annotations

import hashlib
import os
import re
import signal

import pytest
import trio

from aileron_core.backend import Capability, Limits, Sandbox
from aileron_core.errors import AileronError

pytestmark = pytest.mark.container


@pytest.mark.parametrize("status", [0, 1, 7, 124, 127, 137, 255])
async def test_exit_status_is_the_agents_own(world, status):
    """Every exit status arrives as it is, conventional meanings or not."""
    assert status == (await world.run(f"exit {status}")).exit.status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGUSR1])
async def test_death_by_a_signal_is_128_and_its_number(world, number):
    """A program that a signal ended is reported as a shell reports it."""
    assert 128 + number == (await world.run(f"kill -{int(number)} $$")).exit.status


async def test_output_channels_are_kept_apart(world):
    """Standard output and standard error arrive on channels 1 and 2."""
    ran = await world.run("echo out; echo err >&2")
    assert (ran.out, ran.err) == (b"out\n", b"err\n")


async def test_fifty_megabytes_go_through_unchanged(world):
    """Binary input comes back byte for byte, and the end of input reaches the program."""
    data = os.urandom(1 << 20) * 50
    ran = await world.run("cat", data)
    assert hashlib.sha256(data).hexdigest() == hashlib.sha256(ran.out).hexdigest()
    assert ran.exit.status == 0


async def test_input_to_a_program_that_stopped_reading_is_dropped(world):
    """Sending to a program that has closed its input is no error, and its status arrives."""
    ran = await world.run("exec <&-; echo done; exit 3", b"x" * (4 << 20))
    assert (ran.out, ran.exit.status) == (b"done\n", 3)


async def test_nothing_has_run_before_open(world):
    """Created means created: the first instruction runs when the sandbox is opened."""
    sandbox = await world.create("touch ran")
    assert not (world.workspace / "ran").exists()
    await world.backend.remove(sandbox)
    assert not (world.workspace / "ran").exists()


async def test_signals_reach_the_agent(world):
    """A signal sent to the stream is what the program's trap sees."""
    sandbox = await world.create(
        "trap 'echo got; exit 5' TERM; echo ready; while :; do sleep 1; done"
    )
    stream = await world.backend.open(sandbox)
    assert await stream.receive() == (1, b"ready\n")
    await stream.signal(signal.SIGTERM)
    assert await stream.receive() == (1, b"got\n")
    assert (await stream.wait()).status == 5
    await stream.signal(signal.SIGTERM)  # ended already: no error
    await stream.aclose()
    await world.backend.remove(sandbox)


async def test_terminal_has_size_and_type(world):
    """With a terminal everything is channel 1, and a resize is seen by the program."""
    script = (
        "trap 'stty size; exit 0' WINCH; tty >/dev/null && echo ready; while :; do sleep 1; done"
    )
    sandbox = await world.create(script, tty=True)
    stream = await world.backend.open(sandbox)
    seen = b""
    while b"ready" not in seen:
        seen += (await stream.receive())[1]
    await stream.resize(40, 123)
    while (found := await stream.receive()) is not None:
        assert found[0] == 1
        seen += found[1]
    assert b"40 123" in seen
    assert (await stream.wait()).status == 0
    await stream.aclose()
    await world.backend.remove(sandbox)


async def test_memory_limit_ends_what_exceeds_it_and_says_so(world, kernel_cannot):
    """A program beyond the limit is killed by the kernel, and the end is marked as such."""
    if Capability.LIMIT_MEMORY not in world.backend.capabilities:
        kernel_cannot("limit memory for this user's containers")
    script = "exec tail /dev/zero"
    ran = await world.run(script, limits=Limits(memory=32 << 20, pids=50))
    assert (ran.exit.status, ran.exit.oom) == (137, True)


async def test_process_limit_holds(world, kernel_cannot):
    """No more processes than the limit come into being."""
    if Capability.LIMIT_PIDS not in world.backend.capabilities:
        kernel_cannot("limit processes of this user's containers")
    script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 5 & done 2>&1; echo $?; kill $(jobs -p)"
    ran = await world.run(script, limits=Limits(memory=64 << 20, pids=8))
    assert re.search(rb"fork", ran.out + ran.err)


async def test_two_streams_at_once(world):
    """Sandboxes of one backend do not disturb each other."""
    texts = {}

    async def one(name: str) -> None:
        texts[name] = (await world.run(f"echo {name}; pwd")).text

    async with trio.open_nursery() as nursery:
        for name in ("a", "b", "c"):
            nursery.start_soon(one, name)
    assert {name: f"{name}\n{world.workspace}" for name in "abc"} == texts


async def test_exec_runs_beside_the_agent(world):
    """Another program has the sandbox's user, environment and files, and its own status."""
    sandbox = await world.create("sleep 100", init=True)
    stream = await world.backend.open(sandbox)
    ran = await world.exec(
        sandbox, "id -u; echo $HOME $EXTRA; cat; exit 9", b"in", env={"EXTRA": "x"}
    )
    assert (ran.out, ran.exit.status) == (b"1000\n/home/agent x\nin", 9)
    await stream.aclose()
    await world.backend.remove(sandbox)


async def test_exec_is_confined_like_the_agent(world):
    """A program started later has no capability and no way to gain one."""
    sandbox = await world.create("sleep 100")
    stream = await world.backend.open(sandbox)
    ran = await world.exec(sandbox, "grep -E 'Cap|NoNewPrivs|Seccomp:' /proc/self/status")
    facts = dict(line.split(":\t") for line in ran.text.splitlines())
    assert {"0" * 16} == {facts[name] for name in facts if name.startswith("Cap")}
    assert (facts["NoNewPrivs"], facts["Seccomp"]) == ("1", "2")
    await stream.aclose()
    await world.backend.remove(sandbox)


async def test_exec_takes_signals(world):
    """A signal to an exec's stream reaches that program and not the agent."""
    sandbox = await world.create("sleep 100")
    stream = await world.backend.open(sandbox)
    from aileron_core.backend import Command

    script = "trap 'exit 4' INT; echo ready; while :; do sleep 1; done"
    other = await world.backend.open(sandbox, Command(("sh", "-c", script), "/"))
    assert await other.receive() == (1, b"ready\n")
    await other.signal(signal.SIGINT)
    assert (await other.wait()).status == 4
    await other.aclose()
    await stream.aclose()
    await world.backend.remove(sandbox)


async def test_exec_in_a_terminal_starts_with_its_size(world):
    """The size given with a command is the terminal's from the start."""
    from aileron_core.backend import Command

    sandbox = await world.create("sleep 100")
    stream = await world.backend.open(sandbox)
    command = Command(("sh", "-c", "stty size"), "/", tty=True, rows=33, columns=77)
    other = await world.backend.open(sandbox, command)
    seen = b""
    while (found := await other.receive()) is not None:
        seen += found[1]
    assert seen.strip() == b"33 77"
    assert (await other.wait()).status == 0
    await other.aclose()
    await stream.aclose()
    await world.backend.remove(sandbox)


async def test_program_that_is_not_there_is_127(world):
    """A command that does not exist ends as a shell says it."""
    ran = await world.run("", argv=("no-such-program",))
    assert ran.exit.status == 127


async def test_image_that_is_not_there_names_itself(world):
    """Creating from a missing image is an error with the mend, and leaves nothing."""
    with pytest.raises(AileronError) as caught:
        await world.create(image="localhost/no-such-image:1")
    assert (caught.value.code, caught.value.exit_status) == ("image-absent", 66)
    assert await world.left() == []


async def test_what_is_gone_says_so(world):
    """Opening a removed sandbox is an error; removing it again is fine."""
    sandbox = await world.create()
    await world.backend.remove(sandbox)
    await world.backend.remove(sandbox)
    with pytest.raises(AileronError) as caught:
        await world.backend.open(sandbox)
    assert caught.value.code == "sandbox-gone"
    with pytest.raises(AileronError) as caught:
        await world.backend.open(Sandbox("f" * 64, "none"))
    assert caught.value.code == "sandbox-gone"
