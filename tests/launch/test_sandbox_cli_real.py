"""``aileron sandbox`` against a real daemon and a real Podman."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.container


def test_plan_builds_nothing(shared_aileron: Any) -> None:
    """It says which image an agent would get, how, and that it is not there yet."""
    made = shared_aileron.json("sandbox", "plan", "claude")
    assert made["tier"] == "base"
    assert made["steps"][-1].startswith("  RUN npm install")
    text = shared_aileron.ok("sandbox", "plan", "--image", "host")
    assert "import localhost/aileron-host:" in text
    assert "no network" in text


def test_build_and_check_the_host_tier(shared_aileron: Any) -> None:
    """The host tier is built in a moment and runs a shell; the check leaves no session."""
    built = shared_aileron.json("sandbox", "build", "--image", "host")
    assert built["tier"] == "host"
    assert built["size"] < 1_000_000
    checked = shared_aileron.json("sandbox", "check", "--image", "host", "git")
    assert (checked["image"], checked["agent"]) == (built["image"], "git")
    assert shared_aileron.json("sessions", "list", "--all") == []


def test_an_image_that_is_unfit_says_why(shared_aileron: Any, tiny_image: str) -> None:
    """An agent that is not in the image is named, with exit status 66 and a mend."""
    done = shared_aileron("sandbox", "check", "--image", tiny_image, "nonsense")
    assert done.returncode == 66
    assert "nonsense" in done.stderr
    assert shared_aileron.json("sessions", "list", "--all") == []


def test_a_devcontainer_from_scaffold_to_check(aileron: Any, tiny_image: str) -> None:
    """Written, not used before it is trusted, then built from its container file."""
    folder = aileron.env.workspace / ".devcontainer"
    aileron.ok("sandbox", "init")
    text = f"FROM {tiny_image}\nLABEL io.aileron.test=1\nENV WHO=devcontainer\n"
    (folder / "Containerfile").write_text(text)
    plan = aileron.json("sandbox", "plan")
    assert plan["tier"] == "host"
    done = aileron("sandbox", "build", "--image", "devcontainer")
    assert done.returncode == 78
    assert "config trust" in done.stderr
    aileron.ok("config", "trust")
    built = aileron.json("sandbox", "build")
    assert built["tier"] == "devcontainer"
    said = aileron.ok("launch", "--", "/bin/sh", "-c", "echo $WHO; id -u")
    assert said == "devcontainer\n1000\n"
