"""``aileron sandbox init``: a first devcontainer for a project, and how progress is shown."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from aileron_core.cli.app import App
from aileron_core.cli.output import Output
from aileron_core.errors import AileronError
from aileron_launch.commands.sandbox import command, progress_of, request_of
from aileron_launch.images import scaffold
from aileron_launch.images.devcontainer import read_devcontainer


class Terminal(io.StringIO):
    """A terminal in memory."""

    def isatty(self) -> bool:
        """It is one."""
        return True


def app_in(directory: Path, **more: Any) -> App:
    """The command line in a directory."""
    app = App(
        environ={"HOME": "/nowhere", "PATH": "/usr/bin", "AILERON_LAUNCH_PIDS": "9", "X": "y"}
    )
    app.cwd = directory
    app.out = Output(stdout=io.StringIO(), stderr=more.pop("stderr", io.StringIO()), **more)
    return app


def init(app: App, *args: str) -> str:
    """Run ``sandbox init``; its output."""
    CliRunner().invoke(command, ["init", *args], obj=app, catch_exceptions=False)
    assert isinstance(app.out.stdout, io.StringIO)
    return app.out.stdout.getvalue()


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    """The scaffold is a devcontainer that the planner takes, notes apart."""
    output = init(app_in(tmp_path))
    assert "config trust" in output
    found = read_devcontainer(tmp_path, tmp_path / ".devcontainer/devcontainer.json")
    assert found.dockerfile == tmp_path / ".devcontainer/Containerfile"
    assert found.install_agent
    assert found.notes == ()
    assert sorted(os.listdir(tmp_path / ".devcontainer")) == ["Containerfile", "devcontainer.json"]


def test_what_is_inferred_is_told_with_its_reason(tmp_path: Path) -> None:
    """Files of the project give packages; the container file and the output say which and why."""
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "package.json").write_text("{}")
    output = init(app_in(tmp_path), "--base", "localhost/mine:1")
    text = (tmp_path / ".devcontainer/Containerfile").read_text()
    assert "pyproject.toml: a Python project" in output
    assert "#   package.json: nodejs, npm (a Node project)" in text
    assert "        python3-venv \\\n" in text
    assert "ARG BASE=localhost/mine:1" in text
    assert "no file told" not in output


def test_the_result_as_data(tmp_path: Path) -> None:
    """With ``--json`` the files and the reasons are objects."""
    (tmp_path / "go.mod").write_text("")
    result = json.loads(init(app_in(tmp_path, json=True)))
    assert [Path(path).name for path in result["written"]] == ["devcontainer.json", "Containerfile"]
    assert result["inferred"][0]["id"] == "go.mod"
    assert result["inferred"][0]["packages"] == ["golang"]


@pytest.mark.parametrize("there", [".devcontainer/devcontainer.json", ".devcontainer.json"])
def test_what_is_there_stays(there: str, tmp_path: Path) -> None:
    """A devcontainer is not overwritten unless that is asked for; exit status 73."""
    (tmp_path / ".devcontainer").mkdir()
    (tmp_path / there).write_text("mine")
    with pytest.raises(AileronError) as caught:
        init(app_in(tmp_path))
    assert caught.value.exit_status == 73
    assert (tmp_path / there).read_text() == "mine"
    init(app_in(tmp_path), "--force")
    assert (tmp_path / ".devcontainer/Containerfile").exists()


def test_links_are_not_written_through(tmp_path: Path) -> None:
    """A repository's link does not lead the scaffold elsewhere."""
    outside = tmp_path / "outside"
    outside.mkdir()
    work = tmp_path / "work"
    work.mkdir()
    (work / ".devcontainer").symlink_to(outside)
    with pytest.raises(AileronError, match="symbolic link"):
        init(app_in(work), "--force")
    assert os.listdir(outside) == []


def test_without_signs_there_are_the_basics(tmp_path: Path) -> None:
    """An empty project gets what every agent expects."""
    assert scaffold.infer(tmp_path) == ()
    assert scaffold.packages_of(()) == scaffold.ALWAYS
    assert "no file told of a language" in init(app_in(tmp_path))


def test_the_request_is_a_launch(tmp_path: Path) -> None:
    """The image is planned for the same launch that would follow, and nothing else is passed on."""
    body = request_of(app_in(tmp_path), "claude", "host", None, build="always")
    assert body["environment"] == {"AILERON_LAUNCH_PIDS": "9"}
    assert body["flags"] == {"launch.image": "host", "launch.build": "always"}
    assert (body["agent"], body["cwd"], body["home"]) == ("claude", str(tmp_path), "/nowhere")
    assert body["search_path"] == "/usr/bin"


def test_progress_elsewhere_is_plain_lines(tmp_path: Path) -> None:
    """Into a file each line is written as it comes; with ``--quiet`` none."""
    app = app_in(tmp_path)
    show = progress_of(app)
    show("one")
    show("")
    assert isinstance(app.out.stderr, io.StringIO)
    assert app.out.stderr.getvalue() == "one\n"
    quiet = app_in(tmp_path, quiet=True)
    progress_of(quiet)("one")
    assert isinstance(quiet.out.stderr, io.StringIO)
    assert quiet.out.stderr.getvalue() == ""


def test_progress_on_a_terminal_is_one_line(tmp_path: Path) -> None:
    """On a terminal a line changes in place, holds no escape of others, and goes at the end."""
    terminal = Terminal()
    show = progress_of(app_in(tmp_path, stderr=terminal))
    show("one\x1b[2J")
    show("x" * 500)
    show("")
    text = terminal.getvalue()
    assert "\n" not in text
    assert "\x1b[2J" not in text
    assert text.endswith("\r\x1b[K")
    assert len(max(text.split("\r"), key=len)) < 500
