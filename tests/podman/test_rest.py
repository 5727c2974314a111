"""The client of Podman's REST API, with services that do not behave."""

from __future__ import annotations

import pytest
import trio

from aileron_core.errors import AileronError
from aileron_podman import rest
from aileron_podman.creation import shielded
from aileron_podman.rest import Address, Rest


@pytest.fixture
async def hung(tmp_path):
    """A service that takes connections and never says anything."""
    path = str(tmp_path / "podman.sock")
    with trio.socket.socket(trio.socket.AF_UNIX) as listener:
        await listener.bind(path)
        listener.listen()
        yield Rest(Address(path=path))


@pytest.mark.parametrize("name", ["call", "upgrade", "shielded"])
async def test_a_service_that_hangs_is_given_up(hung, name, autojump_clock):
    """After a minute every call ends with the error of a service that is not there."""
    calls = {
        "call": lambda: hung.call("GET", "/x"),
        "upgrade": lambda: hung.upgrade("/x"),
        "shielded": lambda: shielded(hung.call, "POST", "/x"),
    }
    before = trio.current_time()
    with pytest.raises(AileronError) as caught:
        await calls[name]()
    assert caught.value.code == "podman-unavailable"
    assert "60 seconds" in caught.value.why
    assert trio.current_time() - before == pytest.approx(rest.LONGEST)


async def test_a_line_without_end_is_refused(tmp_path, monkeypatch):
    """An answer that never breaks its line is not collected for ever."""
    monkeypatch.setattr(rest, "LARGEST", 1000)
    path = str(tmp_path / "podman.sock")

    async def endless(stream):
        async with stream:
            await stream.receive_some(1 << 16)
            await stream.send_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
            try:
                while True:
                    await stream.send_all(b"x" * 100)
            except trio.BrokenResourceError:
                return

    with trio.socket.socket(trio.socket.AF_UNIX) as listener:
        await listener.bind(path)
        listener.listen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, endless, [trio.SocketListener(listener)])
            with pytest.raises(AileronError) as caught:
                async for _ in Rest(Address(path=path)).lines("POST", "/images/pull"):
                    pass
            nursery.cancel_scope.cancel()
    assert (caught.value.code, caught.value.why) == (
        "podman-unavailable",
        "the answer is too large",
    )
