"""Mounts come to be where and how they were asked for, and the host is not changed for them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from aileron_core.backend import Mount
from aileron_core.errors import AileronError

pytestmark = pytest.mark.container

OWN = os.getuid(), os.getgid()


def mount_table() -> str:
    """The host's mounts."""
    return Path("/proc/self/mountinfo").read_text()


def bind(source, target=None, **fields) -> Mount:
    """A writable bind that shows its owner as the agent."""
    values = {"read_only": False, "map_owner": True, "owner": OWN} | fields
    return Mount(str(target or source), "bind", str(source), **values)


async def test_what_the_agent_writes_belongs_to_the_person(world):
    """A new file has the workspace owner's ids on the host, and the agent's own inside."""
    ran = await world.run("echo x > new; stat -c %u:%g new . ; mkdir d; ln -s new link")
    assert ran.text == "1000:1000\n1000:1000"
    info = (world.workspace / "new").stat()
    assert (info.st_uid, info.st_gid) == OWN
    assert OWN[0] == (world.workspace / "d").stat().st_uid


@pytest.mark.skipif(os.getuid() != 0, reason="kernel: giving files away needs root")
async def test_a_workspace_of_another_user_keeps_its_owner(world):
    """The mapping follows the workspace's owner, not the daemon's."""
    os.chown(world.workspace, 4711, 4712)
    (world.workspace / "roots").write_text("no")  # root's: shown as nobody's, not writable
    mount = bind(world.workspace, owner=(4711, 4712))
    ran = await world.run("echo x > new; stat -c %u new roots; echo y > roots", mounts=(mount,))
    assert ran.text == "1000\n65534"
    assert ran.exit.status == 1
    assert (world.workspace / "new").stat().st_uid == 4711
    os.chown(world.workspace, *OWN)


@pytest.mark.parametrize("target", ["/work/main", "/root/project", "/home/me/src/a b", "/w"])
async def test_a_workspace_may_be_anywhere(world, target):
    """Mount points at any absolute path are made in the container, and the agent starts in them."""
    ran = await world.run("pwd; touch here", mounts=(bind(world.workspace, target),), cwd=target)
    assert target == ran.text
    assert (world.workspace / "here").exists()


async def test_read_only_cannot_be_written(world):
    """A read-only bind is read-only for the agent."""
    (world.workspace / "f").write_text("x")
    ran = await world.run("cat f; touch g", mounts=(bind(world.workspace, read_only=True),))
    assert (ran.out, ran.exit.status) == (b"x", 1)


async def test_nothing_is_set_user_id_or_a_device(world):
    """Every mount refuses set-user-id programs and devices, and no_exec refuses programs."""
    tmpfs = Mount("/scratch", "tmpfs", read_only=False, no_exec=True)
    workspace = bind(world.workspace)
    ran = await world.run("grep -E ' (/scratch|/tmp/ap)' /proc/mounts", mounts=(workspace, tmpfs))
    lines = ran.text.splitlines()
    assert len(lines) == 2
    assert all("nosuid,nodev" in line for line in lines)
    assert "noexec" in next(line for line in lines if " /scratch " in line)


async def test_tmpfs_is_the_agents_and_has_its_size(world):
    """An empty file system belongs to the agent and holds no more than was asked for."""
    tmpfs = Mount("/scratch", "tmpfs", read_only=False, size=1 << 20, mode=0o750)
    fill = "dd if=/dev/zero of=/scratch/f bs=1k count=2000 2>/dev/null"
    script = f"stat -c %u:%a /scratch; {fill}; echo $?"
    ran = await world.run(script, mounts=(bind(world.workspace), tmpfs))
    assert ran.text == "1000:750\n1"


async def test_home_and_tmp_are_there_and_writable(world):
    """Without being asked for, the agent has an own home, /tmp and /dev/shm, all in memory."""
    script = (
        "touch ~/a /tmp/b /dev/shm/c && stat -c '%u %a' ~; stat -c %a /tmp;"
        "grep -cE '^(none|tmpfs) (/tmp|/dev/shm|/home/agent) tmpfs rw,' /proc/mounts"
    )
    assert (await world.run(script)).text == "1000 700\n1777\n3"


async def test_a_pinned_directory_cannot_change_or_go(world):
    """A `self` mount, read-only, protects what is below it and itself from being renamed."""
    (world.workspace / "hooks").mkdir()
    (world.workspace / "file").write_text("x")
    pins = tuple(Mount(f"{world.workspace}/{name}", "self") for name in ("hooks", "file"))
    script = "touch hooks/x; echo y > file; mv hooks away; rm -rf hooks; rm file; ls; cat file"
    ran = await world.run(script, mounts=(bind(world.workspace), *pins))
    assert ran.text == "file\nhooks\nx"
    assert len(ran.err.splitlines()) == 5


async def test_a_pin_without_read_only_can_be_written_but_not_moved(world):
    """A writable `self` mount keeps its place only."""
    (world.workspace / "d").mkdir()
    pin = Mount(f"{world.workspace}/d", "self", read_only=False)
    ran = await world.run("touch d/x && echo wrote; mv d e", mounts=(bind(world.workspace), pin))
    assert (ran.text, ran.exit.status) == ("wrote", 1)


@pytest.mark.parametrize("place", ["link", "link/below", "inner/link"])
async def test_links_in_a_workspace_are_never_followed(world, place):
    """A pin that a symbolic link leads to is refused: the content of a workspace is hostile."""
    (world.workspace / "inner").mkdir()
    (world.workspace / "target").mkdir()
    (world.workspace / "target" / "below").mkdir()
    (world.workspace / "link").symlink_to("target")
    (world.workspace / "inner" / "link").symlink_to("/etc")
    pin = Mount(f"{world.workspace}/{place}", "self")
    with pytest.raises(AileronError) as caught:
        await world.create(mounts=(bind(world.workspace), pin))
    assert caught.value.code == "mount-failed"
    assert "symbolic link" in caught.value.why


async def test_a_mount_under_a_link_is_refused(world):
    """A bind whose target a workspace's link would lead elsewhere is refused."""
    (world.workspace / "etc").symlink_to("/etc")
    other = world.root / "other"
    other.mkdir()
    with pytest.raises(AileronError) as caught:
        await world.create(
            mounts=(bind(world.workspace), bind(other, f"{world.workspace}/etc/ssl"))
        )
    assert caught.value.code == "mount-failed"


async def test_nothing_is_made_in_a_directory_of_the_host(world):
    """A mount point that is missing under a bind is an error; the directory stays as it is."""
    other = world.root / "other"
    other.mkdir()
    with pytest.raises(AileronError) as caught:
        await world.create(
            mounts=(bind(world.workspace), bind(other, f"{world.workspace}/missing/deep"))
        )
    assert caught.value.code == "mount-failed"
    assert "directory of the host" in caught.value.why
    assert list(world.workspace.iterdir()) == []


async def test_a_source_that_is_missing_is_named(world):
    """A bind of what does not exist names the source."""
    with pytest.raises(AileronError) as caught:
        await world.create(mounts=(bind(world.root / "nowhere", "/w"),))
    assert "nowhere" in caught.value.why


async def test_files_can_be_mounted(world):
    """A file is mounted on a file that is made for it."""
    source = world.root / "note"
    source.write_text("hello")
    source.chmod(0o644)
    mounts = (bind(world.workspace), Mount("/run/app/note", "bind", str(source)))
    ran = await world.run("cat /run/app/note; echo x >> /run/app/note", mounts=mounts)
    assert (ran.text, source.read_text()) == ("hello", "hello")
    assert ran.exit.status != 0


async def test_host_directories_are_shown_as_nobodys(world):
    """Without owner mapping the host's files are readable as any stranger's, and stay root's."""
    ran = await world.run(
        "stat -c %u /usr/share; ls /usr/share | head -1 | wc -l",
        mounts=(bind(world.workspace), Mount("/usr", "bind", "/usr")),
        env={"PATH": "/bin"},
    )
    assert ran.text == "65534\n1"


def overlay(world, **fields) -> Mount:
    """The workspace below, changes in directories of the test's own."""
    for name in ("upper", "work"):
        (world.root / "state" / name).mkdir()
    base = world.root / "state"
    values = {"read_only": False, "map_owner": True, "owner": OWN} | fields
    return Mount(
        str(world.workspace),
        "overlay",
        str(world.workspace),
        upper=str(base / "upper"),
        work=str(base / "work"),
        **values,
    )


async def test_overlay_keeps_changes_apart(world):
    """Changes land in the upper directory, owned by the person; the workspace stays as it was."""
    (world.workspace / "kept").write_text("old")
    (world.workspace / "gone").write_text("x")
    (world.workspace / "dir").mkdir()
    change = "echo new > kept; rm gone; mkdir sub; echo a > sub/b; mv dir dir2"
    script = f"cat kept; echo; {change}; ls; stat -c %u kept ."
    ran = await world.run(script, mounts=(overlay(world),))
    assert ran.err == b""
    assert ran.text == "old\ndir2\nkept\nsub\n1000\n1000"
    assert {p.name: p.read_text() for p in world.workspace.iterdir() if p.is_file()} == {
        "kept": "old",
        "gone": "x",
    }
    upper = world.root / "state" / "upper"
    assert (upper / "kept").read_text() == "new\n"
    assert OWN[0] == (upper / "sub" / "b").stat().st_uid
    assert (upper / "gone").is_char_device()


async def test_overlay_shows_nothing_in_the_hosts_mount_table(world):
    """While a sandbox with an overlay lives, the host has not one mount more."""
    before = set(mount_table().splitlines())
    sandbox = await world.create(mounts=(overlay(world),))
    extra = set(mount_table().splitlines()) - before
    await world.backend.remove(sandbox)
    assert [line for line in extra if str(world.root) in line] == []


async def test_pins_hold_on_an_overlay(world):
    """A protected path is as unwritable in an overlay as in a bind."""
    (world.workspace / "hooks").mkdir()
    pin = Mount(f"{world.workspace}/hooks", "self")
    ran = await world.run("touch hooks/x; mv hooks h; ls", mounts=(overlay(world), pin))
    assert ran.text == "hooks"
    assert len(ran.err.splitlines()) == 2


async def test_host_mounts_do_not_spread_into_a_sandbox(world):
    """What the sandbox has is private: it is no peer of the host's mounts, either way."""
    ran = await world.run("grep -cE 'shared:|master:' /proc/self/mountinfo")
    assert ran.text == "0"
