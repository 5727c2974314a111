"""The host's side of the API, call by call, in process."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from quart_trio import QuartTrio

from aileron_core import __version__
from aileron_core.backend import BackendContext
from aileron_core.daemon.calls import HEARTBEAT
from aileron_core.daemon.main import LocalDaemon, daemon_parts, host_app
from aileron_core.daemon.record_api import _events
from aileron_core.errors import AileronError
from aileron_core.hookspecs import hookimpl
from aileron_core.paths import Paths
from aileron_core.records import BackendFactory, Route
from aileron_core.testing import hooks_with


class Weather:
    """A plugin with calls on both sides and a backend."""

    name = "weather"

    def __init__(self) -> None:
        self.opened: list[BackendContext] = []
        self.closed = 0

    @hookimpl
    def aileron_routes(self) -> Any:
        """One call on each side."""
        return [Route("weather", "host", _weather), Route("inside", "sandbox", _weather)]

    @hookimpl
    def aileron_backends(self) -> Any:
        """Two, one of which does not open."""
        return [
            BackendFactory("good", "opens", self._open),
            BackendFactory("bad", "does not", _broken),
        ]

    async def _open(self, context: BackendContext) -> Any:
        self.opened.append(context)
        await trio.lowlevel.checkpoint()
        return self

    async def aclose(self) -> None:
        """Counted."""
        self.closed += 1
        raise RuntimeError("closing fails")


async def _broken(context: BackendContext) -> Any:
    raise OSError("no engine")


def _weather(daemon: Any) -> Any:
    from quart import Blueprint

    calls = Blueprint("weather", __name__)

    @calls.get("/v1/weather")
    async def weather() -> dict[str, str]:
        """The weather."""
        return {"weather": "fine", "host": daemon.host}

    return calls


@asynccontextmanager
async def daemon_with(paths: Paths, sessions: Any, *plugins: object) -> AsyncIterator[LocalDaemon]:
    """A daemon whose sessions are a list."""
    async with daemon_parts(paths, hooks_with(*plugins)) as daemon:
        daemon.sessions = sessions
        yield daemon


@pytest.fixture
async def daemon(paths: Paths, sessions: Any) -> AsyncIterator[LocalDaemon]:
    """With the weather plugin."""
    async with daemon_with(paths, sessions, Weather()) as made:
        yield made


@pytest.fixture
def app(daemon: LocalDaemon) -> QuartTrio:
    """Its host side."""
    return host_app(daemon)


async def ask(app: QuartTrio, method: str, path: str, body: Any = None, **more: Any) -> Any:
    """Status and decoded answer of one call."""
    if body is not None:
        more["data"] = body if isinstance(body, bytes) else json.dumps(body)
    response = await app.test_client().open(path, method=method, **more)
    raw = await response.get_data(as_text=True)
    return response.status_code, json.loads(raw) if raw else None


async def test_status_says_what_the_daemon_is(app: QuartTrio, daemon: LocalDaemon) -> None:
    """Process id, version, the sessions that run, and nothing that has ended."""
    daemon.recovered = ("container x: removed",)
    status, found = await ask(app, "GET", "/v1/status")
    assert status == 200
    assert (found["pid"], found["version"]) == (os.getpid(), __version__)
    assert [one["id"] for one in found["sessions"]] == ["s_one"]
    assert found["sessions"][0]["state"] == "running"
    assert found["state"] == "serving"
    assert found["recovered"] == ["container x: removed"]
    assert found["memory"] > 1 << 20


async def test_sessions_are_listed_shown_stopped_and_removed(app: QuartTrio, sessions: Any) -> None:
    """By id or name; one that runs is not removed."""
    assert [one["name"] for one in (await ask(app, "GET", "/v1/sessions"))[1]] == ["one"]
    assert len((await ask(app, "GET", "/v1/sessions?all=true"))[1]) == 2
    assert (await ask(app, "GET", "/v1/sessions/two"))[1]["id"] == "s_two"
    status, found = await ask(app, "POST", "/v1/sessions/one/stop", {"grace": 3, "by": "me"})
    assert (status, found["id"]) == (200, "s_one")
    assert await ask(app, "DELETE", "/v1/sessions/two") == (204, None)
    assert sessions.calls == [("stop", "s_one", "me", 3.0), ("forget", "s_two")]
    status, found = await ask(app, "DELETE", "/v1/sessions/one")
    assert (status, found["error"]["code"]) == (409, "session-alive")
    status, found = await ask(app, "GET", "/v1/sessions/three")
    assert (status, found["error"]["code"]) == (404, "test-session-unknown")
    assert found["error"]["exit_status"] == 66


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/v1/nothing", None, 404),
        ("GET", "/", None, 404),
        ("PATCH", "/v1/status", None, 405),
        ("POST", "/v1/drain", b"{", 400),
        ("POST", "/v1/drain", b"[" * 5000, 400),
        ("POST", "/v1/drain", b"[]", 400),
        ("POST", "/v1/drain", b'"x"', 400),
        ("POST", "/v1/drain", b'{"deadline": "soon"}', 400),
        ("POST", "/v1/drain", b'{"deadline": true}', 400),
        ("POST", "/v1/drain", b'{"deadlin": 1}', 400),
        ("POST", "/v1/drain", b"\xff", 400),
        ("GET", "/v1/sessions?all=perhaps", None, 400),
        ("GET", "/v1/sessions?every=true", None, 400),
        ("GET", "/v1/sessions?all=true&all=false", None, 400),
        ("GET", "/v1/audit?limit=0", None, 400),
        ("GET", "/v1/audit?limit=1001", None, 400),
        ("GET", "/v1/audit?after=-1", None, 400),
        ("GET", "/v1/audit?after=1e9", None, 400),
        ("GET", "/v1/audit/0", None, 404),
        ("GET", "/v1/audit/99999999999999999999", None, 404),
        ("POST", "/v1/decide", {}, 404),
    ],
)
async def test_every_failure_is_an_error_object(
    app: QuartTrio, method: str, path: str, body: Any, status: int
) -> None:
    """Whatever is wrong with a call, the answer has a code, and there is no way to decide."""
    found_status, found = await ask(app, method, path, body)
    assert found_status == status
    assert {"code", "message", "why", "hints"} <= found["error"].keys()


async def test_other_version_may_only_look_and_stop(app: QuartTrio, daemon: LocalDaemon) -> None:
    """A command of another version is told to stop the daemon first."""
    headers = {"Aileron-Version": "0.0.1"}
    status, found = await ask(app, "GET", "/v1/sessions", headers=headers)
    assert (status, found["error"]["code"]) == (500, "daemon-version")
    assert "aileron daemon stop" in found["error"]["hints"][0]
    assert (await ask(app, "GET", "/v1/status", headers=headers))[0] == 200
    assert (await ask(app, "POST", "/v1/shutdown", {}, headers=headers))[0] == 202
    assert await daemon.until_shut_down() == 10.0


async def test_drain_waits_for_the_sessions(app: QuartTrio, sessions: Any) -> None:
    """Draining is the sessions' affair; from then on the status says so."""
    status, found = await ask(app, "POST", "/v1/drain", {"deadline": None})
    assert (status, found) == (200, {"drained": False, "sessions": 1})
    assert sessions.calls == [("drain", None)]
    assert (await ask(app, "GET", "/v1/status"))[1]["state"] == "draining"


async def test_plugins_and_their_calls(app: QuartTrio) -> None:
    """Every plugin is listed; its host-side call is there, its sandbox-side one is not mixed in."""
    _, found = await ask(app, "GET", "/v1/plugins")
    assert [(one["id"], one["state"]) for one in found] == [("weather", "on")]
    assert (await ask(app, "GET", "/v1/weather"))[1]["weather"] == "fine"


# --- the record -----------------------------------------------------------------------------------


async def test_records_are_listed_newest_last(app: QuartTrio, daemon: LocalDaemon) -> None:
    """Bounded, filtered by session and type, and each to be had alone."""
    for number in range(30):
        session = "s_even" if number % 2 == 0 else "s_odd"
        await daemon.audit.record(f"kind.{number % 3}", session, {"n": number})

    async def numbers(query: str) -> list[int]:
        _, found = await ask(app, "GET", f"/v1/audit{query}")
        return [one["data"]["n"] for one in found]

    assert await numbers("") == list(range(30))
    assert await numbers("?limit=3") == [27, 28, 29]
    assert await numbers("?after=28") == [28, 29]
    assert await numbers("?session=s_odd&limit=2") == [27, 29]
    assert await numbers("?type=kind.1&limit=2") == [25, 28]
    assert await numbers("?type=kind.") == list(range(30))
    assert await numbers("?type=kind") == []
    assert (await ask(app, "GET", "/v1/audit/5"))[1]["data"] == {"n": 4}


async def test_verification_finds_a_change(
    app: QuartTrio, daemon: LocalDaemon, paths: Paths
) -> None:
    """Sound as long as nobody touched it; else the line and what is wrong with it."""
    await daemon.audit.record("a", None, {"n": 1})
    await daemon.audit.record("b", None, {"n": 2})
    assert (await ask(app, "GET", "/v1/audit/verification"))[1] == {
        "sound": True,
        "records": 2,
        "head": 2,
        "findings": [],
    }
    paths.audit.write_bytes(paths.audit.read_bytes().replace(b'"n":1', b'"n":9'))
    _, found = await ask(app, "GET", "/v1/audit/verification")
    assert not found["sound"]
    assert found["findings"] == [{"line": 1, "problem": "record 1 was changed"}]


async def test_export_is_lines_of_json(app: QuartTrio, daemon: LocalDaemon) -> None:
    """A range of records, one a line."""
    for number in range(5):
        await daemon.audit.record("a", None, {"n": number})
    response = await app.test_client().get("/v1/audit/export?first=2&last=4")
    lines = (await response.get_data()).splitlines()
    assert response.content_type == "application/x-ndjson"
    assert [json.loads(line)["seq"] for line in lines] == [2, 3, 4]


async def read_events(app: QuartTrio, path: str, **headers: str) -> list[str]:
    """The ids of the events on a stream of a daemon that stops."""
    response = await app.test_client().get(path, headers=headers)
    assert response.content_type == "text/event-stream"
    text = (await response.get_data()).decode()
    return [line[4:] for line in text.splitlines() if line.startswith("id: ")]


async def test_events_resume_after_the_last_one_seen(app: QuartTrio, daemon: LocalDaemon) -> None:
    """From a number or from ``Last-Event-ID``, which counts more; it ends with the daemon."""
    for number in range(5):
        await daemon.audit.record("a", None, {"n": number})
    daemon.stopped.set()
    assert await read_events(app, "/v1/events?after=0") == ["1", "2", "3", "4", "5"]
    assert await read_events(app, "/v1/events?after=0", **{"Last-Event-ID": "3"}) == ["4", "5"]
    assert await read_events(app, "/v1/events") == []


async def test_events_come_as_they_happen(daemon: LocalDaemon) -> None:
    """A record that is made while somebody watches reaches him, and the end of the daemon too."""
    seen = []

    async def watch() -> None:
        async with aclosing(_events(daemon.audit, None, daemon.stopped)) as events:
            async for event in events:
                seen.append(event.split(b"\n")[0])

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            await trio.testing.wait_all_tasks_blocked()
            await daemon.audit.record("a", None, {})
            await trio.testing.wait_all_tasks_blocked()
            daemon.stopped.set()
    assert seen == [b": aileron", b"id: 1"]


async def test_silent_stream_sends_a_heartbeat(
    daemon: LocalDaemon, autojump_clock: trio.testing.MockClock
) -> None:
    """When nothing happens a comment comes, so that a client that is gone is noticed."""
    async with aclosing(_events(daemon.audit, None, daemon.stopped)) as events:
        assert await anext(events) == b": aileron\n\n"
        before = trio.current_time()
        assert await anext(events) == b": still here\n\n"
        assert trio.current_time() - before == pytest.approx(HEARTBEAT)


async def test_odd_event_ids_are_refused(app: QuartTrio) -> None:
    """What is no number cannot be resumed after."""
    for value in ("x", "-1", "9" * 40):
        status, found = await ask(app, "GET", "/v1/events", headers={"Last-Event-ID": value})
        assert (status, found["error"]["code"]) == (400, "bad-request")


# --- backends -------------------------------------------------------------------------------------


async def test_backend_is_opened_once_and_closed_at_the_end(paths: Paths, sessions: Any) -> None:
    """However many ask at once, it is opened once; its failing close keeps nobody else open."""
    weather = Weather()
    async with daemon_with(paths, sessions, weather) as daemon:
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(daemon.backend, "good")
        await daemon.backend("good", "elsewhere")
        assert [one.connection for one in weather.opened] == [None, "elsewhere"]
        assert weather.opened[0].state_directory == str(paths.state)
        with pytest.raises(OSError, match="no engine"):
            await daemon.backend("bad")
    assert weather.closed == 2


async def test_unknown_backend_names_the_nearest(daemon: LocalDaemon) -> None:
    """A mistyped backend is an error with the right name."""
    with pytest.raises(AileronError) as caught:
        await daemon.backend("goood")
    assert caught.value.code == "backend-unknown"
    assert "good" in caught.value.hints[0]
