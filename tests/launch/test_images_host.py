"""The host tier's image: what is in it, that its name is its content, and what is bound."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from aileron_core.backend import SandboxUser
from aileron_core.errors import AileronError
from aileron_launch.images.host import (
    BOUND,
    agent_mounts,
    host_image,
    mount_points,
    survey_layout,
    system_mounts,
    write_archive,
)
from aileron_launch.images.locate import Installed, locate

USER = SandboxUser()


def host(root: Path) -> Path:
    """A made-up host file system."""
    for name in ("usr/bin", "etc/ssl/private", "etc/ssl/certs", "home/p", "root"):
        (root / name).mkdir(parents=True)
    (root / "bin").symlink_to("usr/bin")
    (root / "lib64").mkdir()
    for name in ("etc/shadow", "etc/passwd", "etc/ssl/private/key.pem", "root/.netrc"):
        (root / name).write_text("canary")
    (root / "etc/os-release").write_text("ID=made-up\n")
    (root / "etc/services").write_text("x" * 100_000)
    (root / "etc/timezone").write_text("secret\n")
    (root / "etc/timezone").chmod(0o600)
    return root


def members(content: bytes) -> dict[str, tarfile.TarInfo]:
    """A tar's entries by name."""
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return {entry.name: entry for entry in tar.getmembers()}


def test_nothing_personal_is_in_it(tmp_path: Path) -> None:
    """Accounts are made up; keys, shadow, private and large files are not taken over."""
    content = survey_layout(host(tmp_path), USER).archive()
    entries = members(content)
    assert b"canary" not in content
    assert b"secret" not in content
    assert "etc/shadow" not in entries
    assert "etc/services" not in entries
    assert b"ID=made-up" in content
    assert b"agent:x:1000:1000:" in content


def test_links_and_directories_are_the_hosts(tmp_path: Path) -> None:
    """A merged /bin is a link, an unmerged one a directory to be bound."""
    entries = members(survey_layout(host(tmp_path), USER).archive())
    assert entries["bin"].linkname == "usr/bin"
    assert entries["lib64"].isdir()
    assert "lib32" not in entries
    home = entries["home/agent"]
    assert (home.uid, home.gid, home.mode) == (1000, 1000, 0o700)
    assert entries["tmp"].mode == 0o1777
    targets = [mount.target for mount in system_mounts(tmp_path, "")]
    assert targets == ["/lib64", "/usr", "/etc/ssl/certs"]


def test_the_same_host_gives_the_same_image(tmp_path: Path) -> None:
    """Name and bytes depend on the content alone, and change with it."""
    root = host(tmp_path / "root")
    one = write_archive(survey_layout(root, USER), tmp_path / "cache")
    stamp = one[1].stat().st_mtime_ns
    assert write_archive(survey_layout(root, USER), tmp_path / "cache") == one
    assert one[1].stat().st_mtime_ns == stamp
    (root / "etc/os-release").write_text("ID=other\n")
    assert write_archive(survey_layout(root, USER), tmp_path / "cache")[0] != one[0]
    assert min(os.listdir(tmp_path / "cache")).startswith("host-")


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: Any) -> None:
    """A full disk is an error that says what to do, and no half archive stays."""

    def full(path: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device", str(path))

    layout = survey_layout(host(tmp_path / "root"), USER)
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(AileronError, match="cannot write") as caught:
        write_archive(layout, tmp_path / "cache")
    assert caught.value.exit_status == 71
    assert os.listdir(tmp_path / "cache") == []


def test_links_to_programs_are_in_it(tmp_path: Path, person: Any) -> None:
    """An agent's links are part of the image, with the directories above them."""
    program = Installed(Path("/home/p/bin/a"), (), {Path("/home/p/bin/a"): "../lib/a"})
    entries = members(survey_layout(host(tmp_path), USER, (program,)).archive())
    assert entries["home/p/bin/a"].linkname == "../lib/a"
    assert entries["home/p/bin"].isdir()


def test_mounts_below_are_bound_read_only_too() -> None:
    """Whatever is mounted under /usr is named, since a bind makes only its top read-only."""
    table = "1 0 8:1 / / rw\n2 1 8:2 / /usr/my\\040local rw - ext4 x rw\n3 1 8:3 / /usrx rw\n"
    assert list(mount_points(table)) == ["/", "/usr/my local", "/usrx"]
    targets = [mount.target for mount in system_mounts(Path("/"), table)]
    assert "/usr/my local" in targets
    assert "/usrx" not in targets
    assert all(mount.read_only for mount in system_mounts())
    assert "/etc/ssl" not in BOUND


def test_an_owners_own_file_is_mapped(person: Any) -> None:
    """What only its owner may read is shown as the sandbox's user; what everybody may is not."""
    private = person.program("home/bin/private")
    private.chmod(0o700)
    owner = (os.getuid(), os.getgid())
    found = locate("private", person.search("~/bin"))
    assert found is not None
    (mount,) = agent_mounts([found], owner)
    assert (mount.map_owner, mount.owner, mount.read_only) == (True, owner, True)
    private.chmod(0o755)
    (mount,) = agent_mounts([found], owner)
    assert not mount.map_owner


def test_the_agents_directory_is_on_path(person: Any) -> None:
    """PATH begins with where the agent was found, without the system's directories twice."""
    person.program("home/bin/agent")
    found = locate("agent", person.search("~/bin"))
    assert found is not None
    made = host_image(person.paths.cache, USER, (0, 0), [found])
    assert made.path.startswith(f"{person.home}/bin:/usr/local/sbin:")
    plain = host_image(person.paths.cache, USER, (0, 0))
    assert plain.path.count("/usr/bin") == 1
    assert made.recipe.rootfs is not None
    assert made.recipe.reference.startswith("localhost/aileron-host:")
