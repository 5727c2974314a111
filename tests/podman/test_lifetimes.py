"""Nothing is left, whatever ends when: cancellation, kills from outside, daemons that die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio

from aileron_core.backend import BackendContext, Mount, Sandbox
from aileron_core.errors import AileronError
from aileron_podman import creation
from aileron_podman.backend import open_backend
from aileron_podman.rest import Rest
from aileron_podman.settings import PodmanSettings

pytestmark = pytest.mark.container


def podman(*arguments: str) -> str:
    """Podman as a person would use it beside us."""
    done = subprocess.run(["podman", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("step", ["create", "init", "inspect", "attach", "verify"])
async def test_cancelled_at_any_step_nothing_is_left(world, monkeypatch, step):
    """Cancelling creation, wherever it is, removes what there was of the container."""
    with trio.CancelScope() as scope:
        reached = _cancel_at(monkeypatch, scope, step)
        await world.create()
        await trio.lowlevel.checkpoint()  # verifying is not async: the next checkpoint sees it
    if step == "verify":  # the sandbox was whole already: it is the caller's to remove
        for found in await world.backend.survey(world.owner):
            await world.backend.remove(found.sandbox)
    assert reached == [step]
    assert await world.left() == []


def _cancel_at(monkeypatch, scope, step):
    """Cancel ``scope`` when creation has come to ``step``."""
    reached = []
    call, attach, gather = Rest.call, creation.Creator._attach, creation.gather

    def now(name):
        if name == step and not reached:
            reached.append(name)
            scope.cancel()

    async def calling(self, method, path, query=None, body=None):
        name = {"create": "create", "init": "init", "json": "inspect"}.get(path.rsplit("/", 1)[-1])
        now(name)
        return await call(self, method, path, query, body)

    async def attaching(self, *args):
        now("attach")
        return await attach(self, *args)

    def gathering(*args):
        now("verify")
        return gather(*args)

    monkeypatch.setattr(Rest, "call", calling)
    monkeypatch.setattr(creation.Creator, "_attach", attaching)
    monkeypatch.setattr(creation, "gather", gathering)
    return reached


async def test_opening_can_be_cancelled(world):
    """A cancelled open leaves a sandbox that can be removed."""
    sandbox = await world.create("sleep 100")
    with trio.move_on_after(0):
        await world.backend.open(sandbox)
    await world.backend.remove(sandbox)
    assert await world.left() == []


async def test_cancelled_removal_still_removes(world):
    """Removing is finished even when nobody waits for it any more."""
    sandbox = await world.create("trap '' TERM; while :; do sleep 1; done")
    stream = await world.backend.open(sandbox)
    with trio.move_on_after(0.2):
        await world.backend.remove(sandbox, grace=30)
    await world.backend.remove(sandbox)
    await stream.aclose()
    assert await world.left() == []


async def test_grace_lets_the_agent_end_by_itself(world):
    """SIGTERM first, and no longer a wait than the agent needs."""
    sandbox = await world.create(
        "trap 'echo bye > left; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
    )
    stream = await world.backend.open(sandbox)
    assert await stream.receive() == (1, b"ready\n")
    start = trio.current_time()
    await world.backend.remove(sandbox, grace=20)
    assert trio.current_time() - start < 10
    assert (world.workspace / "left").read_text() == "bye\n"
    assert (await stream.wait()).status == 0
    await stream.aclose()


async def test_killed_from_outside(world):
    """A container that somebody else killed and removed ends the stream, and can be removed."""
    sandbox = await world.create("sleep 100")
    stream = await world.backend.open(sandbox)
    podman("rm", "--force", "--time", "0", sandbox.id)
    with trio.fail_after(20):
        assert await stream.receive() is None
        assert (await stream.wait()).status == 137
    await stream.aclose()
    await world.backend.remove(sandbox)


async def test_removed_while_created(world):
    """A container that somebody removed before it was started says that it is gone."""
    sandbox = await world.create()
    podman("rm", "--force", "--time", "0", sandbox.id)
    with pytest.raises(AileronError) as caught:
        await world.backend.open(sandbox)
    assert caught.value.code == "sandbox-gone"
    await world.backend.remove(sandbox)


async def test_paused_containers_are_removed(world, kernel_cannot):
    """A frozen container does not hold removal up."""
    if not world.backend.machine.rootful and world.backend.machine.cgroups.version == 1:
        kernel_cannot("freeze this user's containers")
    sandbox = await world.create("sleep 100")
    stream = await world.backend.open(sandbox)
    podman("pause", sandbox.id)
    with trio.fail_after(20):
        await world.backend.remove(sandbox, grace=0.1)
    await stream.aclose()
    assert await world.left() == []


async def test_survey_tells_states_and_labels(world):
    """What exists is found with its state, session and labels; other owners' is not."""
    created = await world.create("sleep 100")
    running = await world.create("sleep 100")
    stopped = await world.create("true")
    stream = await world.backend.open(running)
    ended = await world.backend.open(stopped)
    await ended.wait()
    found = {each.sandbox.id: each for each in await world.backend.survey(world.owner)}
    assert list(await world.backend.survey(world.owner + "x")) == []
    for sandbox in (created, running, stopped):
        assert sandbox.session == found[sandbox.id].sandbox.session
        assert found[sandbox.id].labels["io.aileron.test"] == "1"
        await world.backend.remove(sandbox)
    states = [found[each.id].state for each in (created, running)]
    assert states == ["created", "running"]
    for each in (stream, ended):
        await each.aclose()


async def test_a_later_daemon_can_use_and_remove_what_it_finds(world, context):
    """Another backend finds a running sandbox, runs a program in it, and removes it."""
    sandbox = await world.create("sleep 100")
    stream = await world.backend.open(sandbox)
    directory = Path(context.runtime_directory).parent / "run2"
    directory.mkdir()
    later = await open_backend(BackendContext(str(directory), context.state_directory))
    (found,) = await later.survey(world.owner)
    assert sandbox.id == found.sandbox.id
    from aileron_core.backend import Command

    other = await later.open(found.sandbox, Command(("sh", "-c", "echo again"), "/"))
    assert await other.receive() == (1, b"again\n")
    await other.aclose()
    await later.remove(found.sandbox, grace=0.1)
    await later.aclose()
    assert (await stream.wait()).status == 137
    await stream.aclose()


async def test_the_service_is_started_again_when_it_was_killed(world):
    """kill -9 of our own service: what runs goes on, and the next call starts another."""
    sandbox = await world.create("sleep 0.3; exit 6")
    stream = await world.backend.open(sandbox)
    os.kill(world.backend.service._process.pid, signal.SIGKILL)
    await world.backend.service._process.wait()
    assert await world.backend.image(world.image) is not None
    with trio.fail_after(20):
        assert (await stream.wait()).status == 6
    await stream.aclose()
    await world.backend.remove(sandbox)


def start(command: list[str]) -> subprocess.Popen[str]:
    """A process whose output is read."""
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


DAEMON = """
import sys, trio
from aileron_core.backend import BackendContext
from aileron_podman.backend import open_backend
async def main():
    backend = await open_backend(BackendContext(sys.argv[1], sys.argv[2]))
    print(backend.service._process.pid, flush=True)
    await trio.sleep_forever()
trio.run(main)
"""


async def test_the_service_ends_when_the_daemon_is_killed(context):
    """kill -9 of the daemon: its Podman service ends by itself within seconds."""
    command = [sys.executable, "-c", DAEMON, context.runtime_directory, context.state_directory]
    daemon = start(command)
    assert daemon.stdout is not None
    service = os.pidfd_open(int(daemon.stdout.readline()))
    daemon.kill()
    daemon.wait()
    daemon.stdout.close()
    with trio.fail_after(15):
        await trio.lowlevel.wait_readable(service)
    os.close(service)


async def test_the_service_stays_while_the_daemon_is_idle(context, monkeypatch):
    """A daemon that does nothing for longer than the service's idle limit keeps its service."""
    from aileron_podman import service

    monkeypatch.setattr(service, "_IDLE", 1)
    backend = await open_backend(context)
    pidfd = os.pidfd_open(backend.service._process.pid)
    with trio.move_on_after(3) as waiting:
        await trio.lowlevel.wait_readable(pidfd)
    assert waiting.cancelled_caught
    await backend.aclose()
    os.close(pidfd)


async def test_no_podman_is_an_error_with_the_mend(context, monkeypatch):
    """Without Podman on PATH: what is missing, how to install it, exit status 69."""
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr("aileron_podman.service._well_known", list)
    with pytest.raises(AileronError) as caught:
        await open_backend(context)
    assert (caught.value.code, caught.value.exit_status) == ("podman-missing", 69)
    assert any("install" in hint for hint in caught.value.hints)


async def test_a_dead_socket_is_an_error_with_the_mend(context):
    """A configured socket where nothing answers: exit status 69, and what to do."""
    socket = Path(context.runtime_directory) / "dead.sock"
    settings = PodmanSettings(socket=str(socket))
    with pytest.raises(AileronError) as caught:
        await open_backend(BackendContext(context.runtime_directory, "", settings))
    assert (caught.value.code, caught.value.exit_status) == ("podman-unavailable", 69)
    assert caught.value.hints


async def test_a_service_that_is_there_is_used(world):
    """A configured live socket is used, and not ended with the backend."""
    address = world.backend.service.address.path
    directory = world.root / "other"
    directory.mkdir()
    settings = PodmanSettings(socket=address)
    other = await open_backend(BackendContext(str(directory), world.owner, settings))
    assert await other.image(world.image) is not None
    await other.aclose()
    assert world.backend.service._process.poll() is None


async def test_a_remote_socket_says_what_it_cannot(world):
    """By `--connection` there are no listeners, late mounts or sealing, and errors say so."""
    directory = world.root / "other"
    directory.mkdir()
    connection = f"unix://{world.backend.service.address.path}"
    other = await open_backend(BackendContext(str(directory), world.owner, connection=connection))
    assert frozenset() == other.capabilities
    assert await other.image(world.image) is not None
    with pytest.raises(AileronError) as caught:
        await other.create(world.spec())
    assert caught.value.code == "podman-remote"
    with pytest.raises(AileronError) as caught:
        await other.listen(Sandbox("x", "y"), [])
    assert caught.value.code == "podman-remote"
    await other.aclose()


@pytest.mark.parametrize(
    "text", ["ssh://me@host/run/podman.sock", "nonsense", "tcp://host", "unix://"]
)
async def test_connections_of_other_kinds_are_refused(context, text):
    """An address that cannot be used is an error that says which can."""
    with pytest.raises(AileronError) as caught:
        await open_backend(BackendContext(context.runtime_directory, "", connection=text))
    assert (caught.value.code, caught.value.exit_status) == ("podman-remote", 69)


async def test_twenty_at_once(world):
    """Twenty sandboxes are made, run and removed together, and nothing is left."""
    done = []

    async def one(number: int) -> None:
        ran = await world.run(f"echo {number} > {number}; exit {number}")
        done.append(ran.exit.status)

    start = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(one, number)
    assert list(range(20)) == sorted(done)
    assert len(list(world.workspace.iterdir())) == 20
    assert time.perf_counter() - start < 60


async def test_mount_failures_leave_nothing(world):
    """A mount that cannot be made takes the container with it."""
    with pytest.raises(AileronError):
        await world.create(mounts=(Mount("/x", "bind", "/nowhere/at/all"),))
    assert await world.left() == []
