"""From `SandboxSpec` to what Podman's REST API takes: pure, no I/O."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any

from aileron_core.backend import Limits, Mount, SandboxSpec
from aileron_podman.machine import IDS, Machine

INIT_PATHS = (
    "/usr/bin/catatonit",
    "/usr/libexec/podman/catatonit",
    "/usr/libexec/catatonit/catatonit",
)
# Enters the directory once every mount is there, then becomes the agent: the runtime itself would
# enter the one below the mounts. What is not found or cannot run is 127 or 126, as in any shell.
# OLDPWD and SHLVL are the shell's own traces.
_ENTER = 'cd -- "$0" || exit 126; unset OLDPWD SHLVL; exec "$@"'
_CPU_PERIOD = 100_000  # microseconds; Podman's own default

DEFAULT_TMPFS = ("/tmp", "/dev/shm")  # noqa: S108 - inside the sandbox


def covers(target: str, path: str) -> bool:
    """Whether a mount at ``target`` hides or holds ``path``."""
    target, path = posixpath.normpath(target), posixpath.normpath(path)
    return target == path or path.startswith(target.rstrip("/") + "/")


def with_defaults(spec: SandboxSpec) -> tuple[Mount, ...]:
    """The mounts of ``spec`` after the ones that every sandbox has, unless it says otherwise."""
    given = {posixpath.normpath(mount.target) for mount in spec.mounts}
    defaults = [
        Mount(target, "tmpfs", read_only=False, mode=0o1777, no_exec=target == "/dev/shm")  # noqa: S108 - inside the sandbox
        for target in DEFAULT_TMPFS
    ]
    return (*(mount for mount in defaults if mount.target not in given), *spec.mounts)


def command(spec: SandboxSpec) -> list[str]:
    """What the container runs: a shell that enters the working directory and becomes the agent."""
    return ["/bin/sh", "-c", _ENTER, spec.cwd, *spec.argv]


def resource_limits(limits: Limits) -> dict[str, Any]:
    """OCI LinuxResources; swap is limited together with memory, so that it cannot stretch it."""
    found: dict[str, Any] = {}
    if limits.memory is not None:
        found["memory"] = {"limit": limits.memory, "swap": limits.memory}
    if limits.pids is not None:
        found["pids"] = {"limit": limits.pids}
    if limits.cpus is not None:
        found["cpu"] = {"quota": round(limits.cpus * _CPU_PERIOD), "period": _CPU_PERIOD}
    return found


def process_limits(limits: Limits, machine: Machine) -> dict[str, int]:
    """Resource limits of each process, lowered to what this machine may set (soft = hard)."""
    files = machine.hard_files if limits.files is None else limits.files
    return {
        "nofile": min(files, machine.hard_files),
        "nproc": machine.hard_processes,
        "core": limits.core,
    }


def identity(spec: SandboxSpec, machine: Machine) -> dict[str, Any]:
    """User namespace: rootful, ids of nobody; rootless, the person's own id as the agent's."""
    if not machine.rootful:
        value = f"uid={spec.user.uid},gid={spec.user.gid}"
        return {"userns": {"nsmode": "keep-id", "value": value}}
    ids = [{"container_id": 0, "host_id": machine.uid_base, "size": IDS}]
    return {
        "userns": {"nsmode": "private"},
        "idmappings": {
            "HostUIDMapping": False,
            "HostGIDMapping": False,
            "UIDMap": ids,
            "GIDMap": ids,
        },
    }


def passwd_entry(spec: SandboxSpec) -> str:
    """The agent's line of /etc/passwd, used when the image has no such user."""
    user = spec.user
    return f"{user.name}:*:{user.uid}:{user.gid}::{user.home}:/bin/sh"


def container_name(session: str) -> str:
    """The container's name: known before Podman answers, so that it can always be removed."""
    return f"aileron-{session}"


def to_specgen(
    spec: SandboxSpec,
    machine: Machine,
    *,
    seccomp_path: str,
    early: Mapping[str, Any] | None = None,
    init_path: str | None = None,
) -> dict[str, Any]:
    """The body of POST /containers/create.

    ``early`` are specgen's own fields for mounts that Podman makes; others come after `init`.
    """
    return {
        "name": container_name(spec.session),
        "image": spec.image,
        "entrypoint": command(spec),
        "command": [],
        "work_dir": "/",
        # The environment is the spec's and nothing else: not the image's, the host's, a proxy's.
        "env": dict(spec.env),
        "unsetenvall": True,
        "env_host": False,
        "httpproxy": False,
        "terminal": spec.tty,
        "stdin": spec.stdin,
        "hostname": spec.hostname,
        "labels": dict(spec.labels),
        "stop_signal": 15,
        "log_configuration": {"driver": "none"},
        "healthconfig": {"Test": ["NONE"]},
        "systemd": "false",
        "oci_runtime": machine.runtime,
        "restart_policy": "no",
        "init": spec.init,
        **({"init_path": init_path} if spec.init and init_path else {}),
        **_confinement(spec, seccomp_path),
        **identity(spec, machine),
        "resource_limits": resource_limits(spec.limits),
        "r_limits": [
            {"type": name, "soft": value, "hard": value}
            for name, value in process_limits(spec.limits, machine).items()
        ],
        # Not synced to disk: the container's layer never outlives its session.
        "volatile": True,
        "image_volume_mode": "ignore",
        **(early or {}),
    }


def _confinement(spec: SandboxSpec, seccomp_path: str) -> dict[str, Any]:
    """Namespaces, privileges and identity files."""
    return {
        "user": f"{spec.user.uid}:{spec.user.gid}",
        "passwd_entry": passwd_entry(spec),
        "privileged": False,
        "cap_drop": ["all"],
        "no_new_privileges": True,
        "seccomp_profile_path": seccomp_path,
        "read_only_filesystem": spec.read_only_root,
        "netns": {"nsmode": "none"},
        "pidns": {"nsmode": "private"},
        "utsns": {"nsmode": "private"},
        "cgroupns": {"nsmode": "private"},
        # None: /dev/shm is a mount of ours, and Podman keeps no tmpfs on the host for it.
        "ipcns": {"nsmode": "none"},
        # Podman would copy the host's own names and servers.
        "use_image_hosts": True,
        "use_image_resolve_conf": True,
    }
