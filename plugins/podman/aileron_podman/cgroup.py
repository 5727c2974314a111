"""What limits the kernel holds for a process: cgroup v1, hybrid and v2."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

# cgroup v1 writes "no limit" as the largest page-aligned number (memcontrol: PAGE_COUNTER_MAX).
_V1_UNLIMITED = 1 << 62

Reader = Callable[[str], str]
"""Text of a file, or "" when it cannot be read."""


def read(path: str) -> str:
    """The file's text, or ""."""
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _number(text: str) -> int | None:
    text = text.strip()
    if not text.isdigit() or int(text) >= _V1_UNLIMITED:
        return None
    return int(text)


def hierarchies(proc_cgroup: str) -> dict[str, str]:
    """Controller to path, from /proc/PID/cgroup; "" is the unified hierarchy (cgroups(7))."""
    found = {}
    for line in proc_cgroup.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            found[controller] = path
    return found


def limits(
    proc_cgroup: str, read: Reader = read, root: str = "/sys/fs/cgroup"
) -> dict[str, int | float | None]:
    """``memory`` and ``swap`` (bytes), ``pids``, ``cpus``; None: no limit, or not readable."""
    paths = hierarchies(proc_cgroup)
    if "memory" in paths or "pids" in paths or "cpu" in paths:
        return _first(paths, read, root)
    return _second(root, paths.get("", "/"), read)


def _first(paths: dict[str, str], read: Reader, root: str) -> dict[str, int | float | None]:
    def value(controller: str, name: str) -> int | None:
        return _number(read(f"{root}/{controller}{paths.get(controller, '/')}/{name}"))

    memory = value("memory", "memory.limit_in_bytes")
    both = value("memory", "memory.memsw.limit_in_bytes")
    quota, period = value("cpu", "cpu.cfs_quota_us"), value("cpu", "cpu.cfs_period_us")
    return {
        "memory": memory,
        "swap": None if memory is None or both is None else both - memory,
        "pids": value("pids", "pids.max"),
        "cpus": quota / period if quota and period else None,
    }


def _second(root: str, path: str, read: Reader) -> dict[str, int | float | None]:
    """The lowest of the container's and all that hold it: a runtime may put processes one below."""
    found: dict[str, int | float | None] = dict.fromkeys(("memory", "swap", "pids", "cpus"))
    parts = path.strip("/").split("/")
    for count in range(len(parts), 0, -1):
        for name, value in _held("/".join((root, *parts[:count])), read).items():
            lowest = [each for each in (found[name], value) if each is not None]
            found[name] = min(lowest, default=None)
    return found


def _held(directory: str, read: Reader) -> dict[str, int | float | None]:
    quota, _, period = read(f"{directory}/cpu.max").strip().partition(" ")
    return {
        "memory": _number(read(f"{directory}/memory.max")),
        "swap": _number(read(f"{directory}/memory.swap.max")),
        "pids": _number(read(f"{directory}/pids.max")),
        "cpus": int(quota) / int(period) if quota.isdigit() and period.isdigit() else None,
    }


def oom_file(proc_cgroup: str, container: str, root: str = "/sys/fs/cgroup") -> str | None:
    """Where the kernel counts what it ended in this container for lack of memory.

    Conmon's own file is not relied on: with cgroup v1 it is not always written.
    """
    paths = hierarchies(proc_cgroup)
    first = "memory" in paths
    path = paths.get("memory" if first else "", "")
    if f"libpod-{container}" not in path:
        return None
    return f"{root}/memory{path}/memory.oom_control" if first else f"{root}{path}/memory.events"


def oom_kills(text: str) -> int:
    """``oom_kill`` of memory.oom_control (v1) or memory.events (v2)."""
    for line in text.splitlines():
        name, _, count = line.partition(" ")
        if name == "oom_kill" and count.strip().isdigit():
            return int(count)
    return 0
