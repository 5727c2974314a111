"""``--workspace overlay`` from end to end: launched, shown, applied or discarded."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.container

SCRIPT = "echo new > new; echo more >> old; rm gone; mkdir d; ln -s old d/link; chmod +x old"


@pytest.fixture
def session(aileron: Any) -> str:
    """The id of a session that ended, whose changes are kept aside."""
    for name in ("old", "gone"):
        (aileron.env.workspace / name).write_text(f"{name}\n")
    aileron.ok("launch", "--workspace", "overlay", "--image", "host", "--", "sh", "-c", SCRIPT)
    (found,) = aileron.json("sessions", "list", "--all")
    return str(found["id"])


def names(aileron: Any) -> list[str]:
    """What is in the workspace."""
    return sorted(path.name for path in aileron.env.workspace.iterdir())


def test_nothing_reaches_the_host_before_it_is_applied(aileron: Any, session: str) -> None:
    """The workspace is as it was, protected paths' stand-ins included; the diff tells the rest."""
    assert names(aileron) == ["gone", "old"]
    assert (aileron.env.workspace / "old").read_text() == "old\n"
    report = aileron.json("sessions", "diff", session)
    assert [change["path"] for change in report["changes"]] == ["d", "d/link", "gone", "new", "old"]
    assert "+more\n" in report["diff"]
    text = aileron.ok("sessions", "diff", session)
    assert "deleted file mode" in text


def test_applied_it_is_there_and_gone_from_the_set(aileron: Any, session: str) -> None:
    """After `apply` the workspace is what the agent saw, and belongs to the same owner."""
    aileron.ok("sessions", "apply", session)
    assert names(aileron) == ["d", "new", "old"]
    made = (aileron.env.workspace / "new").stat()
    owner = aileron.env.workspace.stat()
    assert (made.st_uid, made.st_gid) == (owner.st_uid, owner.st_gid)
    assert aileron.json("sessions", "diff", session)["changes"] == []


def test_a_conflict_is_told_and_can_be_forced(aileron: Any, session: str) -> None:
    """What the person changed meanwhile stays until they say otherwise."""
    (aileron.env.workspace / "old").write_text("mine\n")
    done = aileron("sessions", "apply", session)
    assert done.returncode == 1
    assert "old: it changed on the host" in done.stderr
    assert names(aileron) == ["gone", "old"]
    aileron.ok("sessions", "apply", "--force", session)
    assert (aileron.env.workspace / "old").read_text() == "old\nmore\n"


def test_discarded_it_never_was(aileron: Any, session: str) -> None:
    """After `discard` nothing of it is left on the host, and the record says so."""
    assert aileron.json("sessions", "discard", session) == {"discarded": 5}
    assert names(aileron) == ["gone", "old"]
    assert not list((aileron.env.state / "sessions" / session).glob("changes"))
    types = [record["type"] for record in aileron.json("audit", "list")]
    assert "changes.discarded" in types


def test_a_session_without_an_overlay_has_no_set(aileron: Any) -> None:
    """Asking for one says how it would have been made."""
    aileron.ok("launch", "--image", "host", "--", "true")
    (found,) = aileron.json("sessions", "list", "--all")
    done = aileron("sessions", "diff", found["id"])
    assert done.returncode == 2
    assert "--workspace overlay" in done.stderr
