"""The calls about change sets, on a daemon that is as small as they allow."""

from __future__ import annotations

import os
from typing import Any

import pytest
from attrs import evolve
from quart_trio import QuartTrio

import aileron_launch.plugin
from aileron_core.daemon.context import SessionSummary
from aileron_core.daemon.problems import error_body
from aileron_core.errors import AileronError
from aileron_core.sessions.prepare import overlay_of
from aileron_core.testing import hooks_with
from aileron_launch.changes.routes import blueprint


class Daemon:
    """One session that ended, and what is recorded about it."""

    def __init__(self, person: Any) -> None:
        self.paths = person.paths
        self.hooks = hooks_with(launch=aileron_launch.plugin)
        self.recorded: list[tuple[str, Any]] = []
        self.sessions = self.audit = self
        self.summary = SessionSummary(
            id="s_1",
            name="one",
            state="ended",
            agent="sh",
            command=("sh",),
            workspace=str(person.workspace),
            workspace_mode="overlay",
            image="i",
            tier="host",
            backend="podman",
            host="h",
            created=4e9,
        )
        self.upper = overlay_of(person.paths, "s_1").upper
        self.upper.mkdir(parents=True)

    async def find(self, reference: str) -> SessionSummary:
        """The session, whatever it is called."""
        return self.summary

    async def record(self, kind: str, session: str, data: Any) -> None:
        """The audit log."""
        self.recorded.append((kind, data))

    async def call(self, method: str, path: str, **more: Any) -> Any:
        """One call of the API."""
        app = QuartTrio(__name__)
        app.register_error_handler(AileronError, _error)
        app.register_blueprint(blueprint(self))  # type: ignore[arg-type]  # a part of a daemon
        answer = await app.test_client().open(f"/v1/sessions/one{path}", method=method, **more)
        return await answer.get_json()


async def _error(error: AileronError) -> Any:
    return error_body(error), 400


@pytest.fixture
def daemon(person: Any) -> Daemon:
    """A session that added a file and one that is never applied."""
    made = Daemon(person)
    (made.upper / "new").write_text("text\n")
    (made.upper / ".claude").mkdir()
    (made.upper / ".claude/settings.json").write_text("{}")
    return made


async def test_what_changed(daemon: Daemon) -> None:
    """Changes with their kinds, and the diff when it is asked for."""
    report = await daemon.call("GET", "/changes")
    assert [change["path"] for change in report["changes"]] == [
        ".claude",
        ".claude/settings.json",
        "new",
    ]
    assert report["diff"] == ""
    report = await daemon.call("GET", "/changes?diff=true")
    assert "+text\n" in report["diff"]
    assert daemon.recorded == []


async def test_applying_is_recorded_first(daemon: Daemon, person: Any) -> None:
    """What is protected is skipped and said; the set is gone; the record tells how much."""
    done = await daemon.call("POST", "/changes/apply", json={"force": False})
    assert done["applied"] == ["new"]
    assert len(done["skipped"]) == 2
    assert os.listdir(person.workspace) == ["new"]
    assert not daemon.upper.exists()
    assert daemon.recorded == [("changes.applied", {"changes": 1, "force": False})]


async def test_applying_twice(daemon: Daemon, person: Any) -> None:
    """The second time there is nothing left to apply, and that is no failure."""
    await daemon.call("POST", "/changes/apply", json={"force": False})
    done = await daemon.call("POST", "/changes/apply", json={"force": False})
    assert done == {"applied": [], "skipped": []}
    assert os.listdir(person.workspace) == ["new"]


async def test_discarding(daemon: Daemon, person: Any) -> None:
    """Nothing reaches the workspace, and the record says so."""
    assert await daemon.call("DELETE", "/changes") == {"discarded": 3}
    assert os.listdir(person.workspace) == []
    assert daemon.recorded == [("changes.discarded", {})]


async def test_discarding_what_cannot_be_interpreted(daemon: Daemon, person: Any) -> None:
    """The agent can spoil its change set, not keep it on the disk."""
    upper = overlay_of(person.paths, daemon.summary.id).upper
    (upper / "spoilt").mkdir()
    space = "trusted" if os.getuid() == 0 else "user"
    os.setxattr(upper / "spoilt", f"{space}.overlay.redirect", b"/")
    assert (await daemon.call("GET", "/changes"))["error"]["code"] == "changes-unreadable"
    assert await daemon.call("DELETE", "/changes") == {"discarded": 0}
    assert not upper.exists()


@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_a_running_session_keeps_its_changes(method: str, daemon: Daemon) -> None:
    """They are shown, and neither applied nor dropped; exit status 75."""
    daemon.summary = evolve(daemon.summary, state="running")
    path = "/changes/apply" if method == "POST" else "/changes"
    assert (await daemon.call(method, path, json={}))["error"]["exit_status"] == 75
    assert (await daemon.call("GET", "/changes"))["state"] == "running"


async def test_a_session_without_an_overlay(daemon: Daemon) -> None:
    """It has no change set, and the error says how to get one."""
    daemon.summary = evolve(daemon.summary, workspace_mode="rw")
    error = (await daemon.call("GET", "/changes"))["error"]
    assert "kept no changes aside" in error["message"]
    assert "--workspace overlay" in error["hints"][0]
