"""Ports of a sandbox on the host's loopback."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from aileron_core.backend import PortMapping
from aileron_core.errors import AileronError
from aileron_core.sessions import publish
from aileron_core.testing import IMAGE


async def test_a_published_port_reaches_inside(bench, engine):
    """A connection to the host's port is one to the sandbox's, both ways, with half close."""
    inside = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    port = inside.socket.getsockname()[1]

    async def answer(stream):
        data = b""
        async for piece in stream:
            data += piece
        await stream.send_all(data.upper())

    bench.nursery.start_soon(trio.serve_listeners, answer, [inside])
    summary = await bench.launch(
        "sleep", "infinity", detach=True, publish=(PortMapping(port),), image=IMAGE
    )
    (note,) = [note for note in summary.notes if note.startswith("port")]
    outside = int(note.split("127.0.0.1:")[1].split()[0])
    stream = await trio.open_tcp_stream("127.0.0.1", outside)
    async with stream:
        await stream.send_all(b"ping")
        await stream.send_eof()
        assert await stream.receive_some() == b"PING"
    await engine.stop(summary.id, by="a test", grace=0)
    with pytest.raises(OSError, match="connect"):
        await trio.open_tcp_stream("127.0.0.1", outside)


async def test_connections_are_bounded(bench, engine, monkeypatch):
    """One more than there may be is closed at once; it works again when another has gone."""
    monkeypatch.setattr(publish, "CONNECTIONS", 1)
    inside = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    port = inside.socket.getsockname()[1]

    async def echo(stream):
        async for piece in stream:
            await stream.send_all(piece)

    bench.nursery.start_soon(trio.serve_listeners, echo, [inside])
    summary = await bench.launch("sleep", "infinity", detach=True, publish=(PortMapping(port),))
    (note,) = [note for note in summary.notes if note.startswith("port")]
    outside = int(note.split("127.0.0.1:")[1].split()[0])
    async with await trio.open_tcp_stream("127.0.0.1", outside) as first:
        await first.send_all(b"1")
        assert await first.receive_some() == b"1"
        async with await trio.open_tcp_stream("127.0.0.1", outside) as second:
            assert await second.receive_some() == b""
        await first.send_eof()
        assert await first.receive_some() == b""
    await wait_all_tasks_blocked()
    async with await trio.open_tcp_stream("127.0.0.1", outside) as third:
        await third.send_all(b"3")
        assert await third.receive_some() == b"3"


async def test_a_taken_port_is_an_error(bench, engine):
    """Publishing on a port that is in use fails the launch and undoes it."""
    taken = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    port = taken.socket.getsockname()[1]
    async with taken:
        with pytest.raises(AileronError) as caught:
            await bench.launch("true", detach=True, publish=(PortMapping(80, port),))
    assert caught.value.code == "port-taken"
    assert bench.left() == []
