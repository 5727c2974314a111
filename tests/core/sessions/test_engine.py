"""A session from plan to end on a backend in memory: the order, its failures, its interruptions."""

from __future__ import annotations

import json
import signal
from functools import partial

import pytest
import trio
import trio.lowlevel

from aileron_core.backend import Capability, Exit, ImageInfo
from aileron_core.errors import AileronError
from aileron_core.sessions.frames import Frame, encode
from aileron_core.testing import IMAGE, aileron_error

EOF = encode(Frame.EOF)


async def test_a_session_runs_and_leaves_nothing(bench, engine):
    """Input comes out as output, the status is the agent's, and everything is removed."""
    summary = await bench.launch("cat")
    assert summary.state == "created"
    terminal = await bench.open(summary.id)
    await terminal.send(encode(Frame.STDIN, b"hello"), EOF)
    assert await terminal.until(Frame.STDOUT) == b"hello"
    assert await terminal.end() == {"status": 0, "reason": "exited", "state": "ended"}
    record = await bench.record(summary.id)
    assert (record.state, record.exit_status, record.reason) == ("ended", 0, "exited")
    assert bench.left() == []


async def test_the_order_is_the_architectures(bench, engine):
    """Image, create, listen, open, remove: nothing starts before the listeners are there."""
    summary = await bench.launch("true")
    terminal = await bench.open(summary.id)
    await terminal.end()
    methods = bench.backend.methods()
    after_probe = methods[methods.index("remove") + 1 :]
    assert methods[0] == "image"
    assert after_probe == ["create", "listen", "open", "remove"]


async def test_every_state_is_on_record(bench, engine):
    """The audit log names each state that a session was in."""
    summary = await bench.launch("true", detach=True)
    await bench.record(summary.id)
    kept = [event for event in await bench.events() if event.startswith("session.")]
    assert kept == ["session.created", "session.running", "session.ending", "session.ended"]


@pytest.mark.parametrize("method", ["image", "create", "listen", "open"])
@pytest.mark.parametrize("warm", [False, True])
async def test_a_failing_step_undoes_the_others(bench, engine, method, warm):
    """Whichever call of the backend fails: the error names the step and nothing is left."""
    if warm:
        await bench.record((await bench.launch("true", detach=True)).id)
    else:
        await bench.daemon.backend("fake")
    bench.backend.fail(method, aileron_error("told to fail"))
    with pytest.raises(AileronError) as caught:
        await bench.launch("true", detach=True)
    assert "the step '" in caught.value.why
    failed = (await engine.summaries(all=True))[0]
    assert (failed.state, failed.exit_status) == ("failed", caught.value.exit_status)
    assert bench.left() == []


@pytest.mark.parametrize("method", ["image", "create", "listen", "open", "remove"])
@pytest.mark.parametrize("warm", [False, True])
async def test_a_cancelled_launch_is_undone_when_it_returns(bench, engine, method, warm):
    """Cancelling the launch at any call of the backend leaves nothing behind."""
    if warm:
        await bench.record((await bench.launch("true", detach=True)).id)
    backend = await bench.daemon.backend("fake")
    if method == "remove" and warm:
        return  # a warm launch removes nothing before it returns
    with bench.backend.hold(method) as held:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(bench.launch, "true", detach=True))
            await held.entered.wait()
            nursery.cancel_scope.cancel()
            held.release()
    assert backend is bench.backend
    with trio.fail_after(30):
        while engine.runs:  # one that had just started ends by itself
            await trio.lowlevel.checkpoint()
    assert bench.left() == []
    assert (await engine.summaries(all=True))[0].state in ("failed", "ended")


async def test_stop_ends_a_launch_that_is_prepared(bench, engine):
    """Stopping a session that is not there yet undoes it, and the launch says that it was ended."""
    await bench.daemon.backend("fake")
    plan = bench.plan("true")
    errors = []

    async def launch():
        try:
            await engine.launch(plan, bench.progress.append)
        except AileronError as error:
            errors.append(error.code)

    with bench.backend.hold("create") as held:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(launch)
            await held.entered.wait()
            await engine.stop(plan.session, by="a test")
    assert errors == ["session-aborted"]
    assert bench.left() == []


@pytest.mark.parametrize("step", ["create", "listen", "run"])
async def test_the_daemons_end_ends_its_sessions(bench, step):
    """When the daemon's tasks are cancelled, its sessions are undone first."""
    async with bench.running() as engine:
        await bench.daemon.backend("fake")
        if step == "run":
            await bench.launch("sleep", "infinity", detach=True)
        else:
            with bench.backend.hold(step) as held:
                bench.nursery.start_soon(engine.begin, bench.plan("true"), print)
                await held.entered.wait()
                bench.nursery.cancel_scope.cancel()
                await trio.lowlevel.checkpoint()
    assert bench.left() == []
    async with bench.running() as engine:
        assert [one.reason for one in await engine.summaries(all=True)] != []
        assert all(one.state == "failed" or one.ended for one in await engine.summaries(all=True))


async def test_exit_status_is_exact(bench, engine):
    """The agent's own status is the session's."""
    summary = await bench.launch("exit", "41")
    terminal = await bench.open(summary.id)
    assert (await terminal.end())["status"] == 41


async def test_a_detached_session_starts_before_launch_returns(bench, engine):
    """--detach gives a running session, which is seen and can be stopped."""
    summary = await bench.launch("sleep", "infinity", detach=True)
    assert summary.state == "running"
    assert [one.id for one in await engine.summaries()] == [summary.id]
    stopped = await engine.stop(summary.id, by="a test", grace=5)
    assert (stopped.state, stopped.exit_status) == ("ended", 128 + signal.SIGTERM)
    assert stopped.reason == "stopped by a test"
    assert bench.left() == []


async def test_stop_kills_what_ignores_it(bench, engine, patient_clock):
    """After the grace a program that ignores SIGTERM is killed."""

    async def stubborn(process):
        process.trapped.add(signal.SIGTERM)
        await trio.sleep_forever()

    bench.world.programs["stubborn"] = stubborn
    summary = await bench.launch("stubborn", detach=True)
    before = trio.current_time()
    stopped = await engine.stop(summary.id, by="a test", grace=7)
    assert stopped.exit_status == 128 + signal.SIGKILL
    assert 7 <= trio.current_time() - before < 30


async def test_stop_of_an_ended_session_is_fine(bench, engine):
    """Stopping twice gives the same record."""
    summary = await bench.launch("true", detach=True)
    first = await engine.stop(summary.id, by="a test")
    assert await engine.stop(summary.id, by="another") == first


async def test_the_time_limit_gives_124(bench, engine, patient_clock):
    """An agent that runs too long is ended, with the status of timeout(1)."""
    summary = await bench.launch("sleep", "infinity", detach=True, timeout=60.0)
    record = await bench.record(summary.id)
    assert (record.exit_status, record.reason) == (124, "time limit of 60 s")


async def test_nobody_opens_the_console(bench, engine, patient_clock):
    """A command that dies between making and opening a session leaves no session."""
    summary = await bench.launch("cat")
    record = await bench.record(summary.id)
    assert record.state == "failed"
    assert "nobody-attached" in record.reason
    assert bench.left() == []


async def test_out_of_memory_is_named(bench, engine):
    """The reason says that the kernel ended the agent for lack of memory."""
    summary = await bench.launch("sleep", "infinity", detach=True)
    bench.world.of(summary.id).kill(Exit(137, oom=True))
    record = await bench.record(summary.id)
    assert (record.exit_status, record.reason) == (137, "exited; out of memory")


async def test_a_container_that_vanishes_ends_its_session(bench, engine):
    """A sandbox killed from outside is a session that has ended with 137."""
    summary = await bench.launch("sleep", "infinity", detach=True)
    bench.world.of(summary.id).kill(Exit(137))
    assert (await bench.record(summary.id)).exit_status == 137
    assert bench.left() == []


async def test_a_name_is_used_once_at_a_time(bench, engine):
    """Two running sessions of one name are refused; an ended one frees its name."""
    first = await bench.launch("sleep", "infinity", detach=True, name="same")
    with pytest.raises(AileronError, match="same") as caught:
        await bench.launch("true", detach=True, name="same")
    assert caught.value.code == "session-name-taken"
    await engine.stop("same", by="a test")
    second = await bench.launch("true", detach=True, name="same")
    await bench.record(second.id)
    assert (await engine.find("same")).id == second.id != first.id


async def test_find_by_beginning_and_ambiguity(bench, engine):
    """The beginning of an id is enough when it is one session's."""
    summary = await bench.launch("true", detach=True)
    await bench.record(summary.id)
    assert (await engine.find(summary.id[:6])).id == summary.id
    await bench.record((await bench.launch("true", detach=True)).id)
    with pytest.raises(AileronError) as caught:
        await engine.find("s_")
    assert caught.value.code == "session-ambiguous"
    with pytest.raises(AileronError) as caught:
        await engine.find("nothing")
    assert caught.value.code == "session-unknown"


async def test_forget_removes_record_and_directory(bench, engine):
    """rm forgets an ended session, and refuses a running one."""
    summary = await bench.launch("sleep", "infinity", detach=True)
    with pytest.raises(AileronError) as caught:
        await engine.forget(summary.id)
    assert caught.value.code == "session-alive"
    await engine.stop(summary.id, by="a test")
    assert bench.paths.session_state(summary.id).exists()
    await engine.forget(summary.id)
    assert not bench.paths.session_state(summary.id).exists()
    assert await engine.summaries(all=True) == []


async def test_drain_waits_then_ends(bench, engine, patient_clock):
    """A draining engine takes no session, waits for those there are, then ends them."""
    long = await bench.launch("sleep", "infinity", detach=True)
    short = await bench.launch("sleep", "3", detach=True)
    await engine.drain(5.0)
    assert (await engine.find(short.id)).exit_status == 0
    assert (await engine.find(long.id)).reason == "stopped by the daemon's end"
    with pytest.raises(AileronError) as caught:
        await bench.launch("true")
    assert caught.value.code == "sessions-draining"
    assert bench.left() == []


async def test_twenty_at_once(bench, engine):
    """Twenty sessions in one workspace start, run and end, and share their stubs."""
    done = []

    async def one():
        summary = await bench.launch("cat")
        terminal = await bench.open(summary.id)
        await terminal.send(encode(Frame.STDIN, summary.id.encode()), EOF)
        assert await terminal.until(Frame.STDOUT) == summary.id.encode()
        done.append((await terminal.end())["status"])

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(one)
    assert done == [0] * 20
    assert bench.left() == []


async def test_a_backend_without_listeners_is_refused(bench, engine):
    """What the backend cannot do is said before anything is created."""
    await bench.daemon.backend("fake")
    bench.backend.capabilities = frozenset({Capability.OWNER_MAPPING})
    with pytest.raises(AileronError) as caught:
        await bench.launch("true", detach=True)
    assert caught.value.code == "capability-missing"
    assert bench.left() == []


async def test_a_limit_that_was_asked_for_holds_or_nothing_runs(bench, engine):
    """A limit that a person set and this machine ignores is a refusal, never a note."""
    await bench.daemon.backend("fake")
    bench.backend.capabilities = frozenset(Capability) - {Capability.LIMIT_MEMORY}
    with pytest.raises(AileronError, match="the limit on memory does not hold") as caught:
        await bench.launch("true", detach=True, limits_asked=frozenset({"memory"}))
    assert caught.value.code == "capability-missing"
    assert bench.left() == []


async def test_a_limit_that_does_not_hold_is_a_note(bench, engine):
    """A default limit that this machine ignores does not stop the launch; the summary says so."""
    await bench.daemon.backend("fake")
    bench.backend.capabilities = frozenset(Capability) - {Capability.LIMIT_MEMORY}
    summary = await bench.launch("true", detach=True)
    assert "the limit on memory does not hold on this machine" in summary.notes


async def test_an_absent_image_without_recipe(bench, engine):
    """An image that is not there and cannot be made is an error with a mend."""
    with pytest.raises(AileronError) as caught:
        await bench.launch("true", image="no/such:1")
    assert caught.value.exit_status == 66
    assert caught.value.hints
    assert bench.left() == []


async def test_the_record_never_holds_the_token(bench, engine):
    """Neither database nor audit log nor log of the daemon has the session's token."""
    summary = await bench.launch("sleep", "infinity", detach=True)
    token = engine.runs[summary.id].token.encode()
    await engine.stop(summary.id, by="a test", grace=0)
    for path in bench.paths.state.rglob("*"):
        assert not path.is_file() or token not in path.read_bytes(), path


async def test_an_unfit_image_is_refused(bench, engine):
    """An image in which the agent is not found is refused before the agent starts, each time."""

    async def lacking(process):
        await process.write("ok shell\nok writable\nok readable\nok bundle\n")
        return 0

    bench.world.programs["sh"] = lacking
    for _ in range(2):
        with pytest.raises(AileronError) as caught:
            await bench.launch("claude", detach=True)
        assert caught.value.code == "agent-not-found"
    assert bench.left() == []


async def test_a_warm_launch_does_not_try_the_image_again(bench, engine):
    """What was found out about an image is kept, until the image changes."""
    for image_id in ("sha256:fake", "sha256:fake", "sha256:other"):
        bench.world.images[IMAGE] = ImageInfo(IMAGE, image_id, env={"PATH": "/bin"})
        await bench.record((await bench.launch("true", detach=True)).id)
    assert bench.progress == ["trying the image"] * 2


async def test_a_dry_run_touches_nothing(bench, engine):
    """The plan is JSON, holds no value of --env, and nothing is made."""
    plan = bench.plan("true", env={"SECRET": "hunter2"})
    shown = json.dumps(await engine.dry_run(plan), default=str)
    assert "hunter2" not in shown
    assert '"SECRET": "(given)"' in shown
    assert bench.left() == []
    assert await engine.summaries(all=True) == []


async def test_history_is_bounded(bench, engine, monkeypatch):
    """The oldest ended sessions are forgotten, with their directories."""
    monkeypatch.setattr(type(engine.store).trim, "__defaults__", (3,))
    for _ in range(5):
        await bench.record((await bench.launch("true", detach=True)).id)
    with trio.fail_after(30):
        while len(await engine.summaries(all=True)) > 3:
            await trio.lowlevel.checkpoint()
    assert len(await engine.summaries(all=True)) == 3


async def test_a_full_disk_is_named(bench, engine, monkeypatch):
    """No space left is an error that says where and what to do; nothing is left half made."""
    from aileron_core.sessions import files

    def full(path, content, mode):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(files, "_write", full)
    with pytest.raises(AileronError) as caught:
        await bench.launch("true", detach=True)
    assert caught.value.code == "host-refused"
    assert "free space" in caught.value.hints[0]
    assert bench.left() == []


async def test_an_end_that_cannot_be_recorded(bench, engine, monkeypatch):
    """It is told as it was, not as running; the record is made good when the database takes it."""
    summary = await bench.launch("cat")
    save = engine.store.save

    async def full(_summary):
        raise aileron_error("full")

    monkeypatch.setattr(engine.store, "save", full)
    terminal = await bench.open(summary.id)
    await terminal.send(EOF)
    await terminal.end()
    (listed,) = await engine.summaries(all=True)
    found = await engine.find(summary.id)
    assert (listed.state, found.state) == ("failed", "failed")
    assert (await engine.store.history())[0].state != "failed"
    monkeypatch.setattr(engine.store, "save", save)
    await bench.record((await bench.launch("true", detach=True)).id)
    while engine.unsaved:
        await trio.lowlevel.checkpoint()
    assert (await engine.store.matching(summary.id)).state == "failed"
