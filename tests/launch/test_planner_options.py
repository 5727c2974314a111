"""``--mount``, ``--env``, ``--publish`` and ``--name``."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aileron_core.backend import Mount
from aileron_core.errors import AileronError
from aileron_launch.options import (
    Place,
    check_environment,
    check_name,
    parse_mount,
    parse_publish,
    split_mount,
)
from aileron_launch.workspace import Surroundings


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A workspace, a home beside it and Aileron's own directory."""
    for name in ("work/src", "home/reference", "own", "data"):
        (tmp_path / name).mkdir(parents=True)
    around = Surroundings(tmp_path / "home", (tmp_path / "own",))
    info = tmp_path.stat()
    return Place(str(tmp_path / "work"), tmp_path / "work", (info.st_uid, info.st_gid), around)


def refusal(text: str, place: Place) -> str:
    """Why a mount is refused."""
    with pytest.raises(AileronError) as caught:
        parse_mount(text, place)
    return f"{caught.value.code}: {caught.value.why}"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("/a", ("/a", "", "ro")),
        ("/a:rw", ("/a", "", "rw")),
        ("/a:/b", ("/a", "/b", "ro")),
        ("a:/b:ro", ("a", "/b", "ro")),
        ("~/a:/b:rw", ("~/a", "/b", "rw")),
        ("ro", ("ro", "", "ro")),
    ],
)
def test_a_mount_is_taken_apart(text: str, parts: tuple[str, str, str]) -> None:
    """Source, target and mode; read-only unless said."""
    assert split_mount(text) == parts


@pytest.mark.parametrize("text", ["", ":", "/a:", "/a:b", "/a:/b:/c", "/a:/b:x", "/a\n", ":/b:rw"])
def test_what_is_no_mount_is_refused(text: str) -> None:
    """Anything else says what the form is."""
    with pytest.raises(AileronError, match="cannot be read"):
        split_mount(text)


def test_source_and_target(place: Place, tmp_path: Path) -> None:
    """A relative source starts at the workspace, ``~`` is the home; the target is the same."""
    data = tmp_path / "data"
    mount, _ = parse_mount("../data", place)
    assert (mount.target, mount.source, mount.read_only) == (str(data), str(data), True)
    mount, _ = parse_mount("~/reference:/srv/r:rw", place)
    assert mount == Mount(
        "/srv/r",
        source=str(tmp_path / "home/reference"),
        read_only=False,
        map_owner=True,
        owner=place.owner,
    )


def test_a_link_is_judged_by_what_it_points_to(place: Place, tmp_path: Path) -> None:
    """A harmless name for a refused directory does not help."""
    (tmp_path / "work/link").symlink_to("/proc")
    assert "mount-refused" in refusal("link", place)


@pytest.mark.parametrize(
    "source", ["/", "/proc", "/proc/1", "/sys", "/dev", "/run", "/etc", "/etc/shadow", "/root/.."]
)
def test_what_controls_the_machine_is_refused(source: str, place: Place) -> None:
    """The kernel's interfaces, sockets' directories and whole systems are never shown."""
    assert "mount-refused" in refusal(f"{source}:/mnt/x", place)


def test_what_is_private_is_refused(place: Place, tmp_path: Path) -> None:
    """The home, what holds it, and Aileron's own directories are never shown."""
    for text in ("~", "~/..", str(tmp_path / "own"), str(tmp_path / "own/x")):
        (tmp_path / "own/x").mkdir(exist_ok=True)
        assert "mount-refused" in refusal(f"{text}:/mnt/x", place)


def test_a_socket_is_refused(place: Place, tmp_path: Path) -> None:
    """A container engine's socket would be a way out."""
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(tmp_path)
        try:
            listener.bind("engine.sock")
        finally:
            os.chdir(here)
        assert "it is a socket" in refusal(str(tmp_path / "engine.sock"), place)


def test_what_is_not_there_is_missing(place: Place) -> None:
    """A source that does not exist has its own code."""
    assert refusal("/does/not/exist", place).startswith("mount-missing")


@pytest.mark.parametrize(
    "target", ["/", "/proc", "/usr", "/etc", "/run/aileron", "/dev/shm", "/etc/passwd"]
)
def test_targets_that_would_hide_the_sandbox_are_refused(target: str, place: Place) -> None:
    """Nothing may cover the system, the helpers or the accounts."""
    assert "nothing may be mounted" in refusal(f"../data:{target}", place)


def test_the_workspace_is_not_covered_or_opened(place: Place, tmp_path: Path) -> None:
    """No mount hides the workspace or is a second, writable way into it."""
    assert "hide the workspace" in refusal(f"../data:{tmp_path / 'work'}", place)
    assert "hide the workspace" in refusal(f"../data:{tmp_path}", place)
    assert "overlaps the workspace" in refusal("src:/mnt/x:rw", place)
    parse_mount("src:/mnt/x:ro", place)


def test_keys_are_warned_about(place: Place, tmp_path: Path) -> None:
    """A person may show a directory that holds keys, and is told."""
    (tmp_path / "data/.ssh").mkdir()
    assert "holds keys" in parse_mount("../data", place)[1]
    assert parse_mount("~/reference", place)[1] == ""


@given(st.text(max_size=60))
def test_no_mount_text_breaks_it(text: str) -> None:
    """Whatever is typed, it is taken apart or refused."""
    with suppress(AileronError):
        split_mount(text)


@pytest.mark.parametrize("name", ["AILERON_TOKEN", "LD_PRELOAD", "HOME", "a-b", "", "1A", "A B"])
def test_variables_that_cannot_be_set(name: str) -> None:
    """Reserved and malformed names are refused, and no value is in the message."""
    with pytest.raises(AileronError) as caught:
        check_environment({name: "hunter2"})
    assert "hunter2" not in f"{caught.value}{caught.value.why}"


def test_secrets_are_warned_about() -> None:
    """A variable that is called like a secret is passed, with a warning that holds no value."""
    warnings = check_environment({"GH_TOKEN": "hunter2", "EDITOR": "vi"})
    assert len(warnings) == 1
    assert "GH_TOKEN" in warnings[0]
    assert "hunter2" not in warnings[0]
    with pytest.raises(AileronError, match="NUL"):
        check_environment({"A": "x\0y"})


def test_ports() -> None:
    """One port, or a host's and a sandbox's."""
    assert (parse_publish("3000").sandbox, parse_publish("3000").host) == (3000, 0)
    assert (parse_publish("8080:3000").sandbox, parse_publish("8080:3000").host) == (3000, 8080)


@pytest.mark.parametrize(
    "text", ["", "x", "0", "65536", "1:2:3", "0.0.0.0:80:80", "-1", "1:", "٣", "9" * 9]
)
def test_what_is_no_port(text: str) -> None:
    """An address among them: published ports are on loopback, always."""
    with pytest.raises(AileronError, match="cannot be read"):
        parse_publish(text)


@pytest.mark.parametrize("name", ["a", "work-1", "a.b_c", "0"])
def test_names(name: str) -> None:
    """What a container could be called."""
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a b", "a/b", "x" * 64, "ä", "a\n"])
def test_no_names(name: str) -> None:
    """Anything else is refused with the rule."""
    with pytest.raises(AileronError, match="cannot be used"):
        check_name(name)


def test_nothing_is_kept(place: Any) -> None:
    """The same text gives the same mount."""
    assert parse_mount("../data", place) == parse_mount("../data", place)
