"""Programs of the host, and what of it they need: all of it, and nothing personal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aileron_launch.images.locate import (
    Installed,
    interpreter_of,
    is_safe,
    links,
    locate,
    outermost,
    package_root,
    unshim,
)


def relative(person: Any, found: Installed | None) -> tuple[list[str], dict[str, str]]:
    """Binds and links relative to the person's root."""
    assert found is not None
    strip = f"{person.root}/"
    binds = [str(path).removeprefix(strip) for path in found.binds]
    return binds, {str(path).removeprefix(strip): to for path, to in found.links.items()}


def test_a_program_of_the_system_needs_nothing(person: Any) -> None:
    """What is in /usr is shown anyway."""
    found = locate("sh", person.search())
    assert found is not None
    assert found.binds == ()
    assert found.path in (Path("/usr/bin/sh"), Path("/bin/sh"))


def test_what_is_not_there_is_none(person: Any) -> None:
    """Not on PATH, not executable, a directory: not found."""
    (person.home / "bin/dir").mkdir(parents=True)
    (person.home / "bin/plain").write_text("")
    search = person.search("~/bin:relative")
    assert locate("nonsense", search) is None
    assert locate("dir", search) is None
    assert locate("plain", search) is None
    assert person.home / "bin" in search.directories
    assert Path("relative") not in search.directories


def test_one_file_behind_a_link(person: Any) -> None:
    """A single binary: its file is bound, and the link to it is made again."""
    file = person.program("home/.local/share/claude/versions/2")
    place = person.home / ".local/bin"
    place.mkdir()
    (place / "claude").symlink_to(file)
    found = locate("claude", person.search("~/.local/bin"))
    binds, links_ = relative(person, found)
    assert binds == ["home/.local/share/claude/versions/2"]
    assert links_ == {"home/.local/bin/claude": str(file)}


def test_links_of_directories_count(person: Any) -> None:
    """A version manager's ``current`` directory is a link on the way."""
    person.program("home/.nvm/v20/bin/agent")
    (person.home / ".nvm/current").symlink_to("v20")
    found = locate("agent", person.search("~/.nvm/current/bin"))
    binds, links_ = relative(person, found)
    assert binds == ["home/.nvm/v20/bin/agent"]
    assert links_ == {"home/.nvm/current": "v20"}


def test_a_node_package_and_its_own_node(person: Any) -> None:
    """The outermost package and the prefix of its interpreter, not what lies beside them."""
    prefix = "home/.nvm/v20"
    person.program(f"{prefix}/bin/node")
    (person.root / prefix / "include/node").mkdir(parents=True)
    (person.root / prefix / "include/node/node.h").write_text("")
    package = "home/.npm/lib/node_modules/@a/agent"
    person.program(f"{package}/node_modules/inner/cli.js", "#!/usr/bin/env node\n")
    (person.home / ".npm/bin").mkdir()
    target = "../lib/node_modules/@a/agent/node_modules/inner/cli.js"
    (person.home / ".npm/bin/agent").symlink_to(target)
    found = locate("agent", person.search("~/.npm/bin:~/.nvm/v20/bin"))
    binds, links_ = relative(person, found)
    assert binds == [package, prefix]
    assert links_ == {"home/.npm/bin/agent": target}


def test_a_virtual_environment_and_its_python(person: Any) -> None:
    """The environment, and the prefix that its pyvenv.cfg names."""
    prefix = "home/.pyenv/versions/3.11"
    person.program(f"{prefix}/bin/python3")
    (person.root / prefix / "lib/python3.11").mkdir(parents=True)
    (person.root / prefix / "lib/python3.11/os.py").write_text("")
    environment = person.home / ".local/pipx/venvs/aider"
    person.program("home/.local/pipx/venvs/aider/bin/aider", f"#!{environment}/bin/python\n")
    (environment / "bin/python").symlink_to(person.root / prefix / "bin/python3")
    (environment / "pyvenv.cfg").write_text(f"home = {person.root / prefix}/bin\nversion = 3.11\n")
    binds, _ = relative(person, locate("aider", person.search("~/.local/pipx/venvs/aider/bin")))
    assert binds == [".local/pipx/venvs/aider".join(["home/", ""]), prefix]


def test_shims_stand_for_their_program(person: Any) -> None:
    """pyenv's shims are looked through: the chosen version first."""
    shim = person.program("home/.pyenv/shims/tool")
    old = person.program("home/.pyenv/versions/1/bin/tool")
    new = person.program("home/.pyenv/versions/2/bin/tool")
    assert unshim(shim) == new
    (person.home / ".pyenv/version").write_text("1\n")
    assert unshim(shim) == old
    (person.home / ".pyenv/version").write_text("../../x\n")
    assert unshim(shim) == new


def test_managers_that_choose_by_directory_are_left_alone(person: Any) -> None:
    """mise, asdf and volta decide when they run: they cannot be shown in parts."""
    person.program("home/.local/bin/mise")
    (person.home / "shims").mkdir()
    (person.home / "shims/agent").symlink_to(person.home / ".local/bin/mise")
    assert locate("agent", person.search("~/shims")) is None


@pytest.mark.parametrize("secret", [".ssh", ".aws", ".netrc"])
def test_a_directory_with_keys_is_never_bound(secret: str, person: Any) -> None:
    """A package directory that holds keys is not shown, so the agent is not found."""
    person.program("home/tools/node_modules/agent/cli.js", "#!/bin/sh\n")
    (person.home / "tools/node_modules/agent" / secret).mkdir()
    assert locate(str(person.home / "tools/node_modules/agent/cli.js"), person.search()) is None


def test_the_home_is_never_bound(person: Any) -> None:
    """Neither the home, nor what holds it, nor a virtual environment made of it."""
    assert not is_safe(person.home, person.home)
    assert not is_safe(person.root, person.home)
    assert not is_safe(Path("/opt"), person.home)
    assert is_safe(Path("/usr"), person.home)
    person.program("home/bin/agent")
    (person.home / "pyvenv.cfg").write_text("home = /usr/bin\n")
    assert locate("agent", person.search("~/bin")) is None


def test_a_profile_adds_paths(person: Any) -> None:
    """More paths are shown where a profile names them, if they are there and safe."""
    person.program("home/bin/agent")
    (person.home / "share/agent").mkdir(parents=True)
    (person.home / ".ssh").mkdir()
    more = ("~/share/agent", "~/missing", "~/.ssh")
    binds, _ = relative(person, locate("agent", person.search("~/bin"), more))
    assert binds == ["home/bin/agent", "home/share/agent"]


def test_a_circle_of_links_ends(person: Any) -> None:
    """Links that lead to each other are followed as far as the kernel would."""
    (person.home / "a").symlink_to("b")
    (person.home / "b").symlink_to("a")
    assert len(list(links(person.home / "a"))) < 50


def test_interpreters(person: Any) -> None:
    """``#!`` lines by path, by env, with options; binaries have none."""
    search = person.search()
    cases = {
        "#!/bin/sh -e\n": "/bin/sh",
        "#!/usr/bin/env -S perl -w\n": "perl",
        "\x7fELF": None,
        "#!\n": None,
    }
    for number, (text, name) in enumerate(cases.items()):
        file = person.program(f"home/case{number}", text)
        found = interpreter_of(file, search)
        assert (found.name if found else None) == (Path(name).name if name else None), text
    assert interpreter_of(person.home / "missing", search) is None


def test_outermost_paths() -> None:
    """What lies under another is part of it."""
    paths = [Path("/a/b"), Path("/a"), Path("/ab"), Path("/a/b/c")]
    assert outermost(paths) == (Path("/a"), Path("/ab"))
    assert package_root(Path("/opt/x/tool")) is None
