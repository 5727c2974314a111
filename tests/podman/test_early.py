"""Mounts that Podman makes for a plain user, and the child that opens sockets without root."""

from __future__ import annotations

import pytest

from aileron_core.backend import ListenerSpec, Mount, SandboxUser
from aileron_core.errors import AileronError
from aileron_podman import early, namespaces, plugin
from aileron_podman.settings import PodmanSettings

USER = SandboxUser()


@pytest.fixture
def workspace(tmp_path):
    """A directory with something in it, as a mount."""
    (tmp_path / "ws" / "hooks").mkdir(parents=True)
    (tmp_path / "ws" / "link").symlink_to("hooks")
    return Mount("/w", "bind", str(tmp_path / "ws"), read_only=False)


def made(*mounts: Mount) -> dict[str, dict]:
    """Specgen's mounts by destination."""
    fields = early.fields(mounts, USER)
    return {each["destination"]: each for each in fields["mounts"] + fields["overlay_volumes"]}


def test_a_bind_keeps_its_options(workspace):
    """Writable or not, a bind refuses set-user-id and devices, and does not spread."""
    found = made(workspace)["/w"]
    assert (found["type"], found["source"]) == ("bind", workspace.source)
    assert {"rw", "nosuid", "nodev", "rprivate"} <= set(found["options"])


def test_the_home_is_the_agents(workspace):
    """A home is added, belongs to the agent, and stays away when there is one."""
    found = made(workspace)
    assert {"U", "mode=700"} <= set(found["/home/agent"]["options"])
    assert "/home/agent" not in made(Mount("/home", "tmpfs"))


def test_a_pin_is_a_bind_of_what_is_below(workspace):
    """`self` becomes a read-only bind of the host's own path."""
    found = made(workspace, Mount("/w/hooks", "self"))["/w/hooks"]
    assert found["source"] == f"{workspace.source}/hooks"
    assert "ro" in found["options"]


def test_a_pin_in_an_overlay_takes_what_was_changed(workspace, tmp_path):
    """What the upper directory has goes before what the lower one has."""
    (tmp_path / "up" / "made").mkdir(parents=True)
    overlay = Mount(
        "/w", "overlay", workspace.source, upper=str(tmp_path / "up"), work=str(tmp_path / "work")
    )
    found = made(overlay, Mount("/w/hooks", "self"), Mount("/w/made", "self"))
    assert found["/w/hooks"]["source"] == f"{workspace.source}/hooks"
    assert found["/w/made"]["source"] == f"{tmp_path}/up/made"
    assert f"upperdir={tmp_path}/up" in found["/w"]["options"]


@pytest.mark.parametrize("target", ["/w/link", "/w/missing", "/elsewhere"])
def test_a_pin_that_cannot_be_is_refused(workspace, target):
    """Links, what is missing, and what is no directory of the host are each an error."""
    with pytest.raises(AileronError) as caught:
        made(workspace, Mount(target, "self"))
    assert caught.value.code == "mount-failed"


@pytest.mark.parametrize("target", ["/w/missing", "/w/link/below", "/w/a/b"])
def test_nothing_would_be_made_on_the_host(workspace, target, tmp_path):
    """A mount point under a bind must be there already: the runtime would make it."""
    with pytest.raises(AileronError) as caught:
        made(workspace, Mount(target, "bind", str(tmp_path)))
    assert caught.value.code == "mount-failed"


def test_a_tmpfs_has_its_size():
    """Size and mode are passed on."""
    found = made(Mount("/t", "tmpfs", size=5, mode=0o755, no_exec=True))["/t"]
    assert {"size=5", "mode=755", "noexec", "ro"} <= set(found["options"])


@pytest.mark.container
async def test_a_child_opens_sockets_and_reads(world):
    """What a plain user's daemon does by a child works for any user."""
    sandbox = await world.create("nc 127.0.0.1 4000 </dev/null")
    specs = [ListenerSpec("a", port=4000), ListenerSpec("b", "::1", port=4001, kind="udp")]
    made = await namespaces.listen_as_user(sandbox.pid, specs)
    assert made["a"].getsockname() == ("127.0.0.1", 4000)
    assert made["b"].getsockname()[:2] == ("::1", 4001)
    with pytest.raises(AileronError) as caught:
        await namespaces.listen_as_user(sandbox.pid, specs)
    assert caught.value.code == "listener-failed"
    text = await namespaces.read_as_user(sandbox.pid, "/proc/self/uid_map")
    assert len(text.splitlines()) >= 1
    assert await namespaces.read_as_user(sandbox.pid, "/no/such/file") == ""
    for each in made.values():
        each.close()
    await world.backend.remove(sandbox)


def test_the_plugin_offers_podman_and_its_table():
    """One backend, named podman, and the settings class of its table."""
    (factory,) = plugin.aileron_backends()
    assert factory.name == "podman"
    assert plugin.aileron_settings() is PodmanSettings
