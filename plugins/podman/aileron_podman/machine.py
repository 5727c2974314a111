"""What this machine can do, found by looking: cgroups, runtimes, limits, identity ranges."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from attrs import frozen

from aileron_core.backend import Capability
from aileron_podman.errors import PODMAN_MISSING, PODMAN_SETTING

IDS = 65536
"""Ids that a rootful sandbox's user namespace has."""
# systemd's UIDS-GIDS document leaves 0x70000000 up to the sign bit unused.
_FIRST_BASE = 0x70000000
_LAST_BASE = 0x7FFE0000
_CAP_SYS_RESOURCE = 24  # linux/capability.h
_UNLIMITED = resource.RLIM_INFINITY
# Podman's own ceiling for the default (rlimits.go); more is refused without CAP_SYS_RESOURCE.
_MOST_FILES = 1 << 20
_MOST_PROCESSES = 32768


@frozen
class Cgroups:
    """How resource limits are held here."""

    version: int
    """1 (also for hybrid) or 2."""
    hybrid: bool
    controllers: frozenset[str]
    """Those that a container of ours can be limited by."""


@frozen
class Machine:
    """What matters of this machine for a sandbox."""

    rootful: bool
    runtime: str
    """OCI runtime as Podman's ``oci_runtime`` takes it."""
    cgroups: Cgroups
    hard_files: int
    hard_processes: int
    uid_base: int
    """First host uid (and gid) of rootful sandboxes."""


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def find_cgroups(uid: int, root: str = "/sys/fs/cgroup") -> Cgroups:
    """The cgroup controllers that work for containers of user ``uid``."""
    unified = _read(f"{root}/cgroup.controllers")
    if unified:
        delegated = f"{root}/user.slice/user-{uid}.slice/user@{uid}.service/cgroup.controllers"
        return Cgroups(2, False, frozenset((unified if uid == 0 else _read(delegated)).split()))
    hybrid = bool(_read(f"{root}/unified/cgroup.controllers"))
    if uid != 0:
        # Podman says "ignored" in a log line that nobody reads, and starts the container.
        return Cgroups(1, hybrid, frozenset())
    names = ("memory", "pids", "cpu")
    return Cgroups(1, hybrid, frozenset(name for name in names if Path(root, name).is_dir()))


def _has_sys_resource(status: str) -> bool:
    for line in status.splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> _CAP_SYS_RESOURCE & 1)
    return False


def choose_runtime(wanted: str, *, hybrid: bool, sys_resource: bool) -> str:
    """The OCI runtime: what is configured, else crun where it works, else runc.

    crun refuses hybrid cgroups, and as root needs CAP_SYS_RESOURCE to set limits.

    Raises:
        AileronError: ``podman-missing`` when none is installed, ``podman-setting`` when the
            configured one is not.
    """
    if wanted:
        if shutil.which(wanted) is None:
            raise PODMAN_SETTING(
                f"the OCI runtime {wanted!r} is not installed",
                why="[podman] runtime names it",
                hints=[f"install {wanted}, or remove the setting"],
            )
        return wanted
    order = ["runc"] if hybrid or not sys_resource else ["crun", "runc"]
    for name in order:
        if _which(name):
            return name
    raise PODMAN_MISSING(
        f"no OCI runtime that works here is installed (looked for {', '.join(order)})",
        why="Podman starts containers through one",
        hints=[f"apt-get install {order[-1]}"],
    )


def _which(name: str) -> str | None:
    """As Podman looks for it: on PATH and where administrators' programs are."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin:/sbin")


def _hard(limit: int, most: int) -> int:
    hard = resource.getrlimit(limit)[1]
    return most if hard == _UNLIMITED else min(hard, most)


def taken_ranges(texts: Iterable[str]) -> list[tuple[int, int]]:
    """``(first, count)`` of every line of subuid(5) and subgid(5) files."""
    ranges = []
    for line in "\n".join(texts).splitlines():
        parts = line.split(":")
        if len(parts) == 3 and parts[1].isdigit() and parts[2].isdigit():
            ranges.append((int(parts[1]), int(parts[2])))
    return ranges


def choose_base(wanted: int, taken: Sequence[tuple[int, int]]) -> int:
    """A base whose `IDS` ids nobody else was given.

    Raises:
        AileronError: ``podman-setting`` when the configured one is somebody's, or below 65536.
    """

    def free(base: int) -> bool:
        return all(base + IDS <= first or first + count <= base for first, count in taken)

    if wanted:
        if wanted < IDS or not free(wanted):
            raise PODMAN_SETTING(
                f"[podman] uid_base = {wanted} overlaps ids that are in use",
                why="users of this machine or ranges of /etc/subuid or /etc/subgid hold them",
                hints=["remove the setting: an unused range is chosen"],
            )
        return wanted
    return next(base for base in range(_FIRST_BASE, _LAST_BASE, IDS) if free(base))


def look(runtime: str = "", uid_base: int = 0) -> Machine:
    """This machine, with the given settings.

    Raises:
        AileronError: ``podman-missing``, ``podman-setting``.
    """
    uid = os.geteuid()
    cgroups = find_cgroups(uid)
    capable = uid != 0 or _has_sys_resource(_read("/proc/self/status"))
    return Machine(
        rootful=uid == 0,
        runtime=choose_runtime(runtime, hybrid=cgroups.hybrid, sys_resource=capable),
        cgroups=cgroups,
        hard_files=_hard(resource.RLIMIT_NOFILE, _MOST_FILES),
        hard_processes=_hard(resource.RLIMIT_NPROC, _MOST_PROCESSES),
        uid_base=choose_base(uid_base, taken_ranges([_read("/etc/subuid"), _read("/etc/subgid")])),
    )


_LIMITS = {
    "memory": Capability.LIMIT_MEMORY,
    "pids": Capability.LIMIT_PIDS,
    "cpu": Capability.LIMIT_CPU,
}


def capabilities(machine: Machine) -> frozenset[Capability]:
    """What a local Podman can do on this machine."""
    found = {Capability.LISTENERS, Capability.OWNER_MAPPING, Capability.EXEC_SUPERVISION}
    if machine.rootful:
        found.add(Capability.LATE_MOUNTS)
    return frozenset(
        found | {_LIMITS[name] for name in _LIMITS if name in machine.cgroups.controllers}
    )
