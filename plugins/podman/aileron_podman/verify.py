"""Whether a container is what was asked for, judged by what came to be.

Three witnesses: what Podman says (inspect), what the OCI runtime was given (config.json), what the
kernel holds (/proc of the container's first process and its cgroup). Every judgement is a pure
function from text or JSON to differences; an empty list means sealed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import frozen

from aileron_core.backend import Limits, Mount, SandboxSpec
from aileron_podman.create import process_limits
from aileron_podman.machine import IDS, Machine

# What Podman and the OCI runtimes add to an environment by themselves.
_ADDED = frozenset({"HOSTNAME", "HOME", "TERM", "container"})

# Mounts that a runtime makes in every container. Anything else that was not asked for is refused.
_USUAL = re.compile(
    r"/|/proc|/proc/(acpi|asound|bus|fs|irq|kcore|keys|latency_stats|sched_debug|scsi|sys"
    r"|sysrq-trigger|timer_list|timer_stats|interrupts)"
    r"|/dev|/dev/(console|full|mqueue|null|ptmx|pts|random|tty|urandom|zero)"
    r"|/sys|/sys/(dev|dev/block|firmware|fs/selinux|fs/cgroup(/[a-z_,=]+)?"
    r"|devices/virtual/powercap|devices/system/cpu/cpu\d+/thermal_throttle)"
    r"|/run/(podman-init|\.containerenv)|/etc/(hostname|passwd|group)"
)

_MASKED = ("/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware")
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_NAMESPACES = frozenset({"pid", "network", "ipc", "uts", "mount", "user", "cgroup"})
_NO_CAPABILITIES = "0" * 16


@frozen
class Evidence:
    """What was found about a container that is initialised."""

    inspect: Mapping[str, Any]
    oci: Mapping[str, Any]
    status: str
    uid_map: str
    gid_map: str
    mountinfo: str
    limits: str
    """/proc/PID/limits."""
    cgroup: Mapping[str, int | float | None]
    """``memory``, ``swap``, ``pids``, ``cpus`` as the kernel holds them; None: no limit."""


def _differ(what: str, expected: object, actual: object) -> list[str]:
    if expected == actual:
        return []
    return [f"{what} is {actual!r}, not {expected!r}"]


def differences(
    evidence: Evidence,
    spec: SandboxSpec,
    machine: Machine,
    mounts: Sequence[Mount],
    seccomp: Mapping[str, Any],
) -> list[str]:
    """Everything that is not as asked for, as sentences."""
    return [
        *inspect_differences(evidence.inspect, spec),
        *oci_differences(evidence.oci, spec, machine),
        *seccomp_differences(evidence.oci, seccomp),
        *status_differences(evidence.status, spec, machine),
        *map_differences("uid", evidence.uid_map, spec.user.uid, machine),
        *map_differences("gid", evidence.gid_map, spec.user.gid, machine),
        *mount_differences(evidence.mountinfo, mounts, home=spec.user.home, late=machine.rootful),
        *process_limit_differences(evidence.limits, spec.limits, machine),
        *cgroup_differences(evidence.cgroup, spec.limits),
    ]


# --- what Podman says ---


def environment_differences(found: Iterable[str], wanted: Mapping[str, str]) -> list[str]:
    """Values are never shown: they may be secret."""
    actual = dict(entry.partition("=")[::2] for entry in found)
    extra = sorted(set(actual) - set(wanted) - _ADDED)
    wrong = sorted(name for name, value in wanted.items() if actual.get(name) != value)
    return [f"the environment also has {name}" for name in extra] + [
        f"the environment has another {name}" for name in wrong
    ]


def inspect_differences(found: Mapping[str, Any], spec: SandboxSpec) -> list[str]:
    """Podman's own account."""
    config, host = found.get("Config", {}), found.get("HostConfig", {})
    options = {option.split("=", 1)[0] for option in host.get("SecurityOpt") or ()}
    return [
        *_differ("privileged", False, host.get("Privileged")),
        *_differ("network", "none", host.get("NetworkMode")),
        *_differ("effective capabilities", [], list(found.get("EffectiveCaps") or ())),
        *_differ("bounding capabilities", [], list(found.get("BoundingCaps") or ())),
        *_differ("published ports", False, bool(host.get("PortBindings"))),
        *_differ("devices", [], list(host.get("Devices") or ())),
        *_differ("user", f"{spec.user.uid}:{spec.user.gid}", config.get("User")),
        *([] if "no-new-privileges" in options else ["no-new-privileges is not set"]),
        *environment_differences(config.get("Env") or (), spec.env),
    ]


# --- what the runtime was given ---


def oci_differences(config: Mapping[str, Any], spec: SandboxSpec, machine: Machine) -> list[str]:
    """The runtime's own instructions (config.json of the OCI runtime specification)."""
    process, linux = config.get("process", {}), config.get("linux", {})
    held = {name for name, names in (process.get("capabilities") or {}).items() if names}
    user = process.get("user", {})
    return [
        *_differ("capabilities given", set(), held),
        *_differ("noNewPrivileges", True, process.get("noNewPrivileges")),
        *_differ(
            "process user", (spec.user.uid, spec.user.gid), (user.get("uid"), user.get("gid"))
        ),
        *_differ("terminal", spec.tty, bool(process.get("terminal"))),
        *_namespace_differences(linux.get("namespaces") or ()),
        *_covered("masked", _MASKED, linux.get("maskedPaths") or ()),
        *_covered("read-only", _READ_ONLY, linux.get("readonlyPaths") or ()),
        *([] if not config.get("hooks") else ["runtime hooks are configured"]),
        *environment_differences(process.get("env") or (), spec.env),
    ]


def _namespace_differences(namespaces: Iterable[Mapping[str, str]]) -> list[str]:
    kinds = {each["type"] for each in namespaces}
    joined = [each["type"] for each in namespaces if each.get("path")]
    missing = sorted(_NAMESPACES - kinds)
    return [f"it has no {kind} namespace of its own" for kind in missing] + [
        f"its {kind} namespace is somebody else's" for kind in joined
    ]


def _covered(word: str, wanted: Iterable[str], found: Iterable[str]) -> list[str]:
    return [f"{path} is not {word}" for path in wanted if path not in set(found)]


Rules = frozenset[tuple[str, str, int | None, frozenset[tuple[int, int, int, str]]]]


def seccomp_rules(profile: Mapping[str, Any]) -> Rules:
    """A profile's rules, one for each name, whatever way they were grouped."""
    rules = set()
    for rule in profile.get("syscalls") or ():
        arguments = frozenset(
            (arg["index"], arg["value"], arg.get("valueTwo", 0), arg["op"])
            for arg in rule.get("args") or ()
        )
        for name in rule.get("names") or ():
            rules.add((name, rule["action"], rule.get("errnoRet"), arguments))
    return frozenset(rules)


def seccomp_differences(config: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """The filter that the runtime was given against the one that was asked for."""
    found = (config.get("linux") or {}).get("seccomp")
    if not found:
        return ["no seccomp profile is set"]
    changed = seccomp_rules(found) ^ seccomp_rules(wanted)
    names = sorted({rule[0] for rule in changed})
    keys = ("defaultAction", "defaultErrnoRet", "listenerPath")
    return [
        *(
            line
            for key in keys
            for line in _differ(f"seccomp {key}", wanted.get(key), found.get(key))
        ),
        *_differ(
            "seccomp architectures",
            sorted(wanted.get("architectures") or ()),
            sorted(found.get("architectures") or ()),
        ),
        *([f"seccomp rules differ for {', '.join(names[:8])}"] if names else []),
    ]


# --- what the kernel holds ---


def status_differences(text: str, spec: SandboxSpec, machine: Machine) -> list[str]:
    """/proc/PID/status (proc_pid_status(5))."""
    fields = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    sets = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
    ids: list[str] = []
    if machine.rootful:
        for name, number in (("Uid", spec.user.uid), ("Gid", spec.user.gid)):
            wanted = {str(machine.uid_base + number)}
            ids += _differ(f"kernel's {name}", wanted, set(fields.get(name, "").split()))
    elif "0" in fields.get("Uid", "0").split():
        ids.append("it runs as root")
    return [
        *(line for name in sets for line in _differ(name, _NO_CAPABILITIES, fields.get(name))),
        *_differ("NoNewPrivs", "1", fields.get("NoNewPrivs")),
        *ids,
    ]


def map_differences(kind: str, text: str, own: int, machine: Machine) -> list[str]:
    """/proc/PID/uid_map: "inside outside count" lines (user_namespaces(7))."""
    lines = [[int(part) for part in line.split()] for line in text.splitlines() if line.strip()]
    if machine.rootful:
        return _differ(f"{kind} map", [[0, machine.uid_base, IDS]], lines)
    if not lines or any(outside == 0 for inside, outside, _ in lines if inside != own):
        return [f"{kind} map {lines} shows the host's root"]
    return []


def _unescaped(path: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), path)


def _mounted(mountinfo: str) -> dict[str, tuple[set[str], str]]:
    """The uppermost mount at each place: its options and its file system type."""
    found = {}
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        parts = left.split()
        found[_unescaped(parts[4])] = (set(parts[5].split(",")), right.split()[0])
    return found


def mount_differences(
    mountinfo: str, mounts: Sequence[Mount], *, home: str = "", late: bool = True
) -> list[str]:
    """/proc/PID/mountinfo (proc_pid_mountinfo(5)) against the mounts asked for.

    ``home`` is mounted unasked; ``late`` says that the mounts were made by us, not by Podman.
    """
    found = _mounted(mountinfo)
    last = {mount.target.rstrip("/") or "/": mount for mount in mounts}
    lines = []
    for target, mount in last.items():
        if target not in found:
            lines.append(f"nothing is mounted at {target}")
            continue
        options, kind = found[target]
        wanted = {"ro"} if mount.read_only else {"rw"}
        # Podman's own overlay lies in a user namespace, where the kernel knows no devices, and
        # nothing gains by set-user-id under no-new-privileges; it cannot be told the options.
        wanted |= {"nosuid", "nodev"} if late or mount.kind != "overlay" else set()
        wanted |= {"noexec"} if mount.no_exec else set()
        if missing := wanted - options:
            lines.append(f"the mount at {target} is not {', '.join(sorted(missing))}")
        if mount.kind in ("tmpfs", "overlay") and kind != mount.kind:
            lines.append(f"the mount at {target} is {kind}, not {mount.kind}")
    asked = [*last, *([home] if home else [])]
    for place in found:
        below = any(place == target or place.startswith(target + "/") for target in asked)
        if not below and not _USUAL.fullmatch(place):
            lines.append(f"something that was not asked for is mounted at {place}")
    return lines


def process_limit_differences(text: str, limits: Limits, machine: Machine) -> list[str]:
    """/proc/PID/limits."""
    rows = {"nofile": "Max open files", "nproc": "Max processes", "core": "Max core file size"}
    lines = []
    for name, value in process_limits(limits, machine).items():
        row = next((line for line in text.splitlines() if line.startswith(rows[name])), "")
        hard = row[len(rows[name]) :].split()[1:2]
        if not hard or hard[0] == "unlimited" or int(hard[0]) > value:
            lines.append(f"the limit {name} is {hard[0] if hard else 'unknown'}, not {value}")
    return lines


def cgroup_differences(found: Mapping[str, int | float | None], limits: Limits) -> list[str]:
    """The kernel's own files against what was asked for; a lower limit is fine (page rounding)."""
    wanted = {
        "memory": limits.memory,
        "swap": None if limits.memory is None else 0,
        "pids": limits.pids,
        "cpus": limits.cpus,
    }
    lines = []
    for name, most in wanted.items():
        held = found.get(name)
        if most is not None and (held is None or held > most + 1e-3):
            lines.append(f"the kernel's limit of {name} is {held}, not {most}")
    return lines
