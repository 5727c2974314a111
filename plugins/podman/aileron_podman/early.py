"""Mounts that Podman makes when it creates a container: rootless, nothing can be attached later."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Sequence
from typing import Any

from aileron_core.backend import Mount, SandboxUser
from aileron_podman import syscalls
from aileron_podman.create import covers
from aileron_podman.mounts import explained, failed


def fields(mounts: Sequence[Mount], user: SandboxUser) -> dict[str, Any]:
    """Specgen's fields for ``mounts``, with a home for the user.

    Raises:
        AileronError: ``mount-failed``.
    """
    if not any(covers(mount.target, user.home) for mount in mounts):
        home = Mount(user.home, "tmpfs", read_only=False, mode=0o700)
        mounts = (home, *mounts)
    made = [_mount(mounts, index, mount) for index, mount in enumerate(mounts)]
    return {
        "mounts": [each for each in made if each["type"] != "overlay"],
        "overlay_volumes": [
            {
                "destination": each["destination"],
                "source": each["source"],
                "options": each["options"],
            }
            for each in made
            if each["type"] == "overlay"
        ],
    }


def _options(mount: Mount) -> list[str]:
    return [
        "ro" if mount.read_only else "rw",
        "nosuid",
        "nodev",
        *(["noexec"] if mount.no_exec else ["exec"]),
    ]


def _mount(mounts: Sequence[Mount], index: int, mount: Mount) -> dict[str, Any]:
    target = posixpath.normpath(mount.target)
    if mount.kind == "tmpfs":
        mode = 0o700 if mount.mode is None else mount.mode
        # U: it belongs to the agent; older runtimes give it the mode of the image's directory.
        options = [*_options(mount), f"mode={mode:o}", "notmpcopyup", "U"]
        options += [f"size={mount.size}"] if mount.size is not None else []
        return {"type": "tmpfs", "source": "tmpfs", "destination": target, "options": options}
    if mount.kind == "overlay":
        options = [f"upperdir={mount.upper}", f"workdir={mount.work}"]
        source = mount.source
        return {"type": "overlay", "source": source, "destination": target, "options": options}
    check_place(mounts[:index], mount)
    source = mount.source if mount.kind == "bind" else underlying(mounts[:index], mount)
    options = ["rbind", "rprivate", *_options(mount)]
    return {"type": "bind", "source": source, "destination": target, "options": options}


def _inside(outer: Mount, target: str) -> str:
    """``target`` relative to the mount that holds it."""
    return posixpath.relpath(posixpath.normpath(target), posixpath.normpath(outer.target))


def _exists(directory: str, inner: str) -> bool:
    """Whether it is there; a symbolic link on the way is an OSError."""
    base = os.open(directory, os.O_PATH | os.O_CLOEXEC)
    try:
        os.close(syscalls.open_beneath(base, inner, os.O_PATH))
    except FileNotFoundError:
        return False
    finally:
        os.close(base)
    return True


def _holder(before: Sequence[Mount], mount: Mount) -> Mount | None:
    """The mount that ``mount`` lies under, if that is a directory of the host.

    A ``self`` mount shows what the mount below it shows, at the same place.
    """
    holding = [each for each in before if each.kind != "self" and covers(each.target, mount.target)]
    return holding[-1] if holding and holding[-1].source is not None else None


def check_place(before: Sequence[Mount], mount: Mount) -> None:
    """A mount point under a directory of the host must be there: the runtime would make it there.

    Raises:
        AileronError: ``mount-failed``.
    """
    outer = _holder(before, mount)
    if outer is None or outer.source is None:
        return
    inner = _inside(outer, mount.target)
    places = [outer.source, *([outer.upper] if outer.upper else [])]
    with explained(mount, "looking for its place on the host"):
        if not any(_exists(place, inner) for place in places):
            raise failed(
                mount,
                f"{inner!r} does not exist, and making it would change a directory of the host",
                ["make it on the host first"],
            )


def underlying(before: Sequence[Mount], mount: Mount) -> str:
    """The host path of what a ``self`` mount pins: no symbolic link leads to it.

    Raises:
        AileronError: ``mount-failed``.
    """
    outer = _holder(before, mount)
    if outer is None or outer.source is None:
        why = "it is in no directory of the host, and Podman without root cannot pin it"
        raise failed(mount, why)
    inner = _inside(outer, mount.target)
    with explained(mount, "looking for it on the host"):
        changed = outer.upper is not None and _exists(outer.upper, inner)
    found = outer.upper if changed and outer.upper is not None else outer.source
    return posixpath.normpath(posixpath.join(found, inner))
