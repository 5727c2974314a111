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
        options = [*_options(mount), f"mode={mode:o}", "notmpcopyup"]
        options += [f"size={mount.size}"] if mount.size is not None else []
        return {"type": "tmpfs", "source": "tmpfs", "destination": target, "options": options}
    if mount.kind == "overlay":
        options = [f"upperdir={mount.upper}", f"workdir={mount.work}"]
        source = mount.source
        return {"type": "overlay", "source": source, "destination": target, "options": options}
    source = mount.source if mount.kind == "bind" else underlying(mounts[:index], mount)
    options = ["rbind", "rprivate", *_options(mount)]
    return {"type": "bind", "source": source, "destination": target, "options": options}


def underlying(before: Sequence[Mount], mount: Mount) -> str:
    """The host path of what a ``self`` mount pins: no symbolic link may lead to it.

    Raises:
        AileronError: ``mount-failed``.
    """
    holding = [each for each in before if covers(each.target, mount.target) and each.source]
    if not holding:
        raise failed(
            mount, "it is in no directory of the host, and Podman without root cannot pin it"
        )
    outer = holding[-1]
    assert outer.source is not None
    inner = posixpath.relpath(posixpath.normpath(mount.target), posixpath.normpath(outer.target))
    with explained(mount, "looking for it on the host"):
        base = os.open(outer.source, os.O_PATH | os.O_CLOEXEC)
        try:
            os.close(syscalls.open_beneath(base, inner, os.O_PATH))
        finally:
            os.close(base)
    return posixpath.normpath(posixpath.join(outer.source, inner))
