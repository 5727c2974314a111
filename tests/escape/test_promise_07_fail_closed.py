"""Promise 7: a crashed, stopped, overloaded or misconfigured part means no, with a reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from real_aileron import explain, look

pytestmark = pytest.mark.container


def refused(aileron, *args, status, said, **more):
    """The command is refused with this status and words, and nothing is half-started."""
    done = aileron(*args, **more)
    assert done.returncode == status, explain(done)
    assert said in done.stderr, explain(done)
    left = look(aileron.env, daemon=True)
    assert not left, left


def test_without_podman_there_is_no_sandbox(aileron, tiny_image, tmp_path):
    """No Podman on PATH: exit 69 with the mend, and nothing runs on the host instead."""
    path = {"PATH": str(tmp_path)}
    marker = aileron.env.workspace / "ran"
    done = aileron("launch", "--image", tiny_image, "--", "touch", marker, env=path)
    assert done.returncode == 69, explain(done)
    assert "podman" in done.stderr.lower(), explain(done)
    assert not marker.exists()


def test_a_missing_image_is_refused(aileron):
    """An image that is not here: said so, with what to do; nothing is pulled in silence."""
    done = aileron("launch", "--image", "localhost/aileron-test-absent:1", "--build", "never",
                   "--", "true")  # fmt: skip
    assert done.returncode in (66, 69), explain(done)
    assert "aileron-test-absent" in done.stderr, explain(done)


@pytest.mark.parametrize("directory", ["/", "person", "HOME"])
def test_a_workspace_that_is_everything_is_refused(aileron, tiny_image, directory):
    """``/`` and the home itself are never a workspace: too much would be writable."""
    person = str(Path.home())
    cwd = {"HOME": aileron.env.home, "person": person}.get(directory, directory)
    env = {"HOME": person} if directory == "person" else {}
    done = aileron("launch", "--image", tiny_image, "--", "true", cwd=cwd, env=env)
    assert done.returncode not in (0, 70), explain(done)
    assert "workspace" in done.stderr, explain(done)


def test_a_broken_configuration_is_refused(aileron, tiny_image):
    """A configuration that cannot be read is an error with file and line, not a default."""
    aileron.env.user_config.write_text("[launch]\nworkspace = \n")
    refused(aileron, "launch", "--image", tiny_image, "--", "true", status=78, said="config.toml")


def test_an_unknown_setting_is_refused(aileron, tiny_image):
    """A mistyped key would silently not protect: it is refused, with the right name."""
    aileron.env.user_config.write_text('[launch]\nworkspase = "ro"\n')
    refused(aileron, "launch", "--image", tiny_image, "--", "true", status=78, said="workspace")


def test_a_read_only_workspace_is_read_only(aileron, tiny_image):
    """``--workspace ro``: nothing in it can be written."""
    done = aileron("launch", "--image", tiny_image, "--workspace", "ro", "--",
                   "sh", "-c", "echo x > file || echo refused")  # fmt: skip
    assert (done.stdout.strip(), list(aileron.env.workspace.iterdir())) == ("refused", [])


def test_an_audit_that_cannot_be_written_refuses_the_launch(aileron, tiny_image):
    """No record, no session: the audit file is replaced by a directory, and launch says no."""
    aileron.ok("daemon", "start")
    aileron.ok("daemon", "stop")
    audit = aileron.env.state / "audit.jsonl"
    audit.unlink(missing_ok=True)
    audit.mkdir()
    done = aileron("launch", "--image", tiny_image, "--", "touch", "ran")
    assert done.returncode != 0, explain(done)
    assert not (aileron.env.workspace / "ran").exists()
    audit.rmdir()
