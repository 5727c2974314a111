"""The console: terminals and pipes of sessions, several at once, slow ones, hostile ones."""

from __future__ import annotations

import json
import signal
import socket

import pytest
import trio
from trio.testing import memory_stream_pair

from aileron_core.sessions.frames import (
    WINDOW,
    Decoder,
    Frame,
    encode,
    encode_hello,
    encode_size,
)

EOF = encode(Frame.EOF)


async def chatter(process):
    """Prints a line for every line, and knows some words."""
    while data := await process.read():
        for word in data.split():
            if word == b"err":
                await process.write(b"to stderr", channel=2)
            elif word == b"size":
                await process.write(f"{process.rows}x{process.columns}")
            elif word == b"bye":
                return 3
            else:
                await process.write(b"<" + word + b">")
    return 0


@pytest.fixture
def talking(bench):
    """The world's program ``chatter``."""
    bench.world.programs["chatter"] = chatter
    return bench


async def test_ready_says_what_it_is(talking, engine):
    """The first frame names the session and says whether it has a terminal."""
    summary = await talking.launch("chatter", tty=True)
    terminal = await talking.open(summary.id)
    ready = json.loads(await terminal.until(Frame.READY))
    assert ready == {"session": summary.id, "name": summary.name, "tty": True}


async def test_channels_stay_apart(talking, engine):
    """Standard error has frames of its own."""
    summary = await talking.launch("chatter")
    terminal = await talking.open(summary.id)
    await terminal.send(encode(Frame.STDIN, b"err"))
    assert await terminal.until(Frame.STDERR) == b"to stderr"


async def test_the_size_is_there_before_the_start(talking, engine):
    """The program starts with the size of the console that starts it."""
    summary = await talking.launch("chatter", tty=True, rows=10, columns=20)
    terminal = await talking.open(summary.id, rows=12, columns=34)
    await terminal.send(encode(Frame.STDIN, b"size"))
    assert await terminal.until(Frame.STDOUT) == b"12x34"
    await terminal.send(encode_size(50, 60), encode(Frame.STDIN, b"size"))
    assert await terminal.until(Frame.STDOUT) == b"50x60"


async def test_signals(talking, engine):
    """A signal frame is a signal to the program."""
    summary = await talking.launch("chatter")
    terminal = await talking.open(summary.id)
    await terminal.send(encode(Frame.SIGNAL, bytes([signal.SIGUSR1])))
    assert (await terminal.end())["status"] == 128 + signal.SIGUSR1


async def test_detaching_leaves_it_running(talking, engine):
    """After detach the session runs; attach talks to it again."""
    summary = await talking.launch("chatter")
    terminal = await talking.open(summary.id)
    await terminal.until(Frame.READY)
    await terminal.send(encode(Frame.DETACH))
    with trio.fail_after(30):
        while (await engine.find(summary.id)).attached:
            await trio.lowlevel.checkpoint()
    assert (await engine.find(summary.id)).state == "running"
    again = await talking.open(summary.id, "attach")
    await again.send(encode(Frame.STDIN, b"bye"))
    assert (await again.end())["status"] == 3


async def test_a_client_that_goes_away_ends_the_session(talking, engine, patient_clock):
    """The terminal is closed without a word: SIGHUP, then the end."""
    summary = await talking.launch("chatter")
    terminal = await talking.open(summary.id)
    await terminal.until(Frame.READY)
    await terminal.stream.aclose()
    record = await talking.record(summary.id)
    assert (record.reason, record.exit_status) == ("the terminal was closed", 128 + signal.SIGHUP)


async def test_a_second_terminal_goes_away_alone(talking, engine):
    """Whoever is attached besides may leave as they like."""
    summary = await talking.launch("chatter")
    first = await talking.open(summary.id)
    await first.until(Frame.READY)
    second = await talking.open(summary.id, "attach")
    await second.until(Frame.READY)
    await first.send(encode(Frame.STDIN, b"x"))
    assert await second.until(Frame.STDOUT) == b"<x>"
    await second.stream.aclose()
    await first.send(encode(Frame.STDIN, b"y bye"))
    assert (await first.end())["status"] == 3


async def test_a_session_is_started_once(talking, engine):
    """A second `run` of the same session is refused."""
    summary = await talking.launch("chatter")
    first = await talking.open(summary.id)
    await first.until(Frame.READY)
    second = await talking.open(summary.id)
    assert (await second.end())["code"] == "console-request"
    await first.send(encode(Frame.STDIN, b"bye"))
    assert (await first.end())["status"] == 3


async def test_a_slow_second_terminal_is_left_behind(talking, engine, patient_clock):
    """A forgotten window delays the agent for seconds, once, and then no more."""

    async def flood(process):
        for _ in range(2000):
            await process.write(b"x" * 60_000)
        return 0

    talking.world.programs["flood"] = flood
    summary = await talking.launch("flood")
    near, far = memory_stream_pair()
    far.send_stream.send_all_hook = trio.sleep_forever  # takes nothing, ever
    first = await talking.open(summary.id)
    talking.nursery.start_soon(_attach_silently, talking, near, far, summary.id)
    total = len(await first.output())
    assert total == 2000 * 60_000


async def _attach_silently(bench, near, far, session):
    await near.send_all(encode_hello({"session": session, "mode": "attach"}))
    await bench._converse(far)


async def test_a_slow_foreground_sets_the_pace(talking, engine):
    """The agent waits for the foreground's terminal; nothing is lost or kept in memory."""
    written = 0

    async def flood(process):
        nonlocal written
        for _ in range(500):
            await process.write(b"x" * 60_000)
            written += 1
        return 0

    talking.world.programs["flood"] = flood
    summary = await talking.launch("flood")
    terminal = await talking.open(summary.id)
    await terminal.until(Frame.READY)
    await trio.testing.wait_all_tasks_blocked(0.05)
    assert len(await terminal.output()) == 500 * 60_000


async def test_input_has_a_window(talking, engine):
    """A program that reads nothing gets at most the window; signals still arrive."""

    async def deaf(process):
        await trio.sleep_forever()

    talking.world.programs["deaf"] = deaf
    summary = await talking.launch("deaf")
    terminal = await talking.open(summary.id)
    await terminal.send(*[encode(Frame.STDIN, b"x" * 1024)] * (WINDOW // 1024))
    await terminal.send(encode(Frame.SIGNAL, bytes([signal.SIGTERM])))
    assert (await terminal.end())["status"] == 128 + signal.SIGTERM


async def test_more_than_the_window_is_a_fault(talking, engine, patient_clock):
    """A client that ignores the window is cut off, and its session ends."""

    async def deaf(process):
        await trio.sleep_forever()

    talking.world.programs["deaf"] = deaf
    summary = await talking.launch("deaf")
    terminal = await talking.open(summary.id)
    await terminal.send(encode(Frame.STDIN, b"x" * (WINDOW + 1)))
    assert (await terminal.end())["code"] == "console-request"
    assert (await talking.record(summary.id)).reason == "the terminal was closed"


async def test_input_ends_once(talking, engine):
    """What a client sends after the end of its input is dropped, and nothing of it is kept."""
    summary = await talking.launch("cat")
    terminal = await talking.open(summary.id)
    late = encode(Frame.STDIN, b"late")
    await terminal.send(encode(Frame.STDIN, b"early"), EOF, *[EOF] * 100, late)
    assert await terminal.output() == b"early"


async def test_every_byte_of_input_is_acknowledged(talking, engine):
    """The numbers in TAKEN frames add up to what was sent."""
    summary = await talking.launch("cat")
    terminal = await talking.open(summary.id)
    await terminal.send(*[encode(Frame.STDIN, b"x" * 1000)] * 50, EOF)
    taken = 0
    with trio.fail_after(30):
        while taken < 50_000:
            taken += int.from_bytes(await terminal.until(Frame.TAKEN), "big")
    assert taken == 50_000


async def test_exec(talking, engine):
    """Another program runs in the sandbox with the session's environment and its own additions."""
    summary = await talking.launch("sleep", "infinity", detach=True)
    terminal = await talking.open(
        summary.id, "exec", argv=["env"], env={"MINE": "1"}, cwd="/elsewhere"
    )
    printed = (await terminal.output()).decode().splitlines()
    assert "MINE=1" in printed
    assert f"AILERON_SESSION_ID={summary.id}" in printed


async def test_exec_gives_its_status_and_input(talking, engine):
    """The exec's own status; the session goes on."""
    summary = await talking.launch("sleep", "infinity", detach=True)
    terminal = await talking.open(summary.id, "exec", argv=["chatter"])
    await terminal.send(encode(Frame.STDIN, b"bye"))
    assert (await terminal.end())["status"] == 3
    assert (await engine.find(summary.id)).state == "running"


async def test_a_client_of_exec_that_goes_away(talking, engine):
    """Its program is ended, and only that."""
    summary = await talking.launch("sleep", "infinity", detach=True)
    terminal = await talking.open(summary.id, "exec", argv=["sleep", "infinity"])
    await terminal.until(Frame.READY)
    await terminal.stream.aclose()
    process = talking.world.of(summary.id).processes[-1]
    with trio.fail_after(30):
        assert (await process.wait()).status == 128 + signal.SIGKILL
    assert (await engine.find(summary.id)).state == "running"


@pytest.mark.parametrize("mode", ["attach", "exec", "run"])
async def test_an_ended_session_cannot_be_attached(talking, engine, mode):
    """The error says that it has ended, and where its output is."""
    summary = await talking.launch("true", detach=True)
    await talking.record(summary.id)
    terminal = await talking.open(summary.id, mode, argv=["true"])
    error = await terminal.end()
    assert error["code"] == "session-not-running"
    assert "sessions logs" in error["hints"][0]


async def test_logs_of_an_ended_session(talking, engine):
    """What it printed, by channel, long after its end."""
    summary = await talking.launch("chatter")
    terminal = await talking.open(summary.id)
    await terminal.send(encode(Frame.STDIN, b"one err bye"))
    await terminal.end()
    logs = await talking.open(summary.id, "logs")
    assert await logs.until(Frame.STDOUT) == b"<one>"
    assert await logs.until(Frame.STDERR) == b"to stderr"
    assert (await logs.end())["status"] == 0


async def test_logs_follow(talking, engine):
    """With follow, what is printed later comes too, until the session's end."""
    summary = await talking.launch("chatter")
    terminal = await talking.open(summary.id)
    await terminal.send(encode(Frame.STDIN, b"one"))
    await terminal.until(Frame.STDOUT)
    logs = await talking.open(summary.id, "logs", follow=True)
    assert await logs.until(Frame.STDOUT) == b"<one>"
    await terminal.send(encode(Frame.STDIN, b"two"))
    assert await logs.until(Frame.STDOUT) == b"<two>"
    await terminal.send(encode(Frame.STDIN, b"bye"))
    assert (await logs.end())["status"] == 0


@pytest.mark.parametrize(
    "line",
    [
        b"\n", b"[]\n", b"nonsense\n", b'{"mode": "fly", "session": "x"}\n',
        b'{"mode": 1}\n', b'{"unknown": 1}\n', b'{"mode": "exec", "session": "x", "argv": [1]}\n',
        b'{"mode": "exec", "session": "x", "env": {"A": 1}}\n',
    ],
)  # fmt: skip
async def test_hellos_that_are_refused(talking, engine, line):
    """A wrong first line gets an error frame and the end of the connection."""
    near, far = memory_stream_pair()
    talking.nursery.start_soon(talking._converse, far)
    await near.send_all(line)
    data = b""
    while chunk := await near.receive_some():
        data += chunk
    ((kind, payload),) = Decoder().feed(data)
    assert (kind, json.loads(payload)["code"]) == (Frame.ERROR, "console-request")


async def test_a_hello_that_never_comes(talking, engine, patient_clock):
    """A client that says nothing is let go after a while."""
    near, far = memory_stream_pair()
    talking.nursery.start_soon(talking._converse, far)
    with trio.fail_after(60):
        assert await near.receive_some() == b""


async def test_a_hello_without_end(talking, engine):
    """A first line that is too long is refused before it is whole."""
    near, far = memory_stream_pair()
    talking.nursery.start_soon(talking._converse, far)
    await near.send_all(b"x" * (1 << 19))
    assert b"too long" in await near.receive_some()


async def test_the_real_socket(talking, engine, tmp_path):
    """On a Unix socket of our own user the console answers."""
    path = tmp_path / "c.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    listener.setblocking(False)
    await talking.nursery.start(_serve, engine, listener)
    stream = await trio.open_unix_socket(str(path))
    async with stream:
        await stream.send_all(encode_hello({"session": "nobody", "mode": "attach"}))
        assert b"session-unknown" in await stream.receive_some()


async def _serve(engine, listener, *, task_status):
    await engine.serve_console(listener, task_status=task_status)
