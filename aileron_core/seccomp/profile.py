"""Build the OCI seccomp object that a sandbox runs under.

What is not listed answers ENOSYS, so that programs fall back as on an older kernel; what is refused
on purpose answers EPERM, so that they say so.
"""

from __future__ import annotations

import errno
import functools
import json
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import Any

from attrs import evolve, frozen

from aileron_core.errors import EXIT_OS, ErrorCode
from aileron_core.records import SeccompRule

MACHINE_UNSUPPORTED = ErrorCode(
    "machine-unsupported", EXIT_OS, "There is no system-call filter for this kind of machine."
)

ALLOW = "SCMP_ACT_ALLOW"
ERRNO = "SCMP_ACT_ERRNO"
KILL = "SCMP_ACT_KILL_PROCESS"
NOTIFY = "SCMP_ACT_NOTIFY"

_ARCHITECTURES = {
    "x86_64": ("x86_64", "SCMP_ARCH_X86_64"),
    "amd64": ("x86_64", "SCMP_ARCH_X86_64"),
    "aarch64": ("aarch64", "SCMP_ARCH_AARCH64"),
    "arm64": ("aarch64", "SCMP_ARCH_AARCH64"),
}

# linux/socket.h
_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK = 1, 2, 10, 16
_NETLINK_ROUTE = 0
_REFUSED_FAMILIES = (0, *range(3, 10), *range(11, 16))  # and everything above AF_NETLINK

# linux/sched.h: NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET; unshare also has
# NEWTIME, whose bit is part of the exit signal in clone's flags.
_NEW_NAMESPACES = 0x7E020000
_NEW_TIME = 0x80

# Linux, and with it uname26 and an endless query (personality(2)).
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)


@frozen
class Argument:
    """A condition on an argument: ``index`` 0..5, an SCMP_CMP_* operator, one or two values."""

    index: int
    op: str
    value: int
    second: int = 0

    def to_oci(self) -> dict[str, Any]:
        """As the OCI runtime specification writes it."""
        return {"index": self.index, "value": self.value, "valueTwo": self.second, "op": self.op}


@frozen
class Rule:
    """One rule of a profile: all ``arguments`` must hold."""

    names: tuple[str, ...]
    action: str
    arguments: tuple[Argument, ...] = ()
    errno: int | None = None

    def to_oci(self) -> dict[str, Any]:
        """As the OCI runtime specification writes it."""
        found: dict[str, Any] = {"names": list(self.names), "action": self.action}
        if self.arguments:
            found["args"] = [argument.to_oci() for argument in self.arguments]
        if self.errno is not None:
            found["errnoRet"] = self.errno
        return found

    def without(self, names: frozenset[str]) -> Rule:
        """The rule with fewer names."""
        return evolve(self, names=tuple(name for name in self.names if name not in names))


def _equal(index: int, value: int) -> Argument:
    return Argument(index, "SCMP_CMP_EQ", value)


def _masked(index: int, mask: int, value: int) -> Argument:
    return Argument(index, "SCMP_CMP_MASKED_EQ", mask, value)


@functools.cache
def _base() -> dict[str, Any]:
    text = files("aileron_core.seccomp").joinpath("base.json").read_text()
    found: dict[str, Any] = json.loads(text)
    return found


def _sockets() -> list[Rule]:
    """Only families that the sandbox's own network namespace confines; no vsock, packet, alg."""
    no_family, no_protocol = errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT
    route = (_equal(0, _AF_NETLINK), _equal(2, _NETLINK_ROUTE))
    other = (_equal(0, _AF_NETLINK), Argument(2, "SCMP_CMP_NE", _NETLINK_ROUTE))
    refused = [_equal(0, family) for family in _REFUSED_FAMILIES]
    above = Argument(0, "SCMP_CMP_GT", _AF_NETLINK)
    return [
        *(Rule(("socket",), ALLOW, (_equal(0, f),)) for f in (_AF_UNIX, _AF_INET, _AF_INET6)),
        Rule(("socket",), ALLOW, route),
        Rule(("socket",), ERRNO, other, no_protocol),
        *(Rule(("socket",), ERRNO, (each,), no_family) for each in (*refused, above)),
        Rule(("socketpair",), ALLOW, (_equal(0, _AF_UNIX),)),
    ]


def _processes() -> list[Rule]:
    """Processes and threads, no new namespaces: clone3 hides its flags, so it does not exist."""
    plain = _masked(0, _NEW_NAMESPACES, 0)
    shared = _masked(0, _NEW_NAMESPACES | _NEW_TIME, 0)
    return [
        Rule(("clone",), ALLOW, (plain,)),
        Rule(("unshare",), ALLOW, (shared,)),
        *(Rule(("personality",), ALLOW, (_equal(0, value),)) for value in _PERSONALITIES),
    ]


def _rules(machine: str) -> list[Rule]:
    base = _base()
    refused = sorted(name for names in base["refuse"].values() for name in names)
    return [
        Rule(tuple(sorted((*base["allow"], *base[f"allow_{machine}"]))), ALLOW),
        *_sockets(),
        *_processes(),
        Rule(tuple(refused), ERRNO, errno=errno.EPERM),
    ]


_STRICTNESS = {"notify": 0, "errno": 1, "kill": 2}


def _strictest(contributed: Iterable[SeccompRule]) -> dict[str, SeccompRule]:
    """Each name's strictest rule: kill over errno over notify; order never matters."""
    found: dict[str, SeccompRule] = {}
    for rule in sorted(contributed, key=lambda rule: (_STRICTNESS[rule.action], rule.errno)):
        found.update(dict.fromkeys(rule.syscalls, rule))
    return found


def _tightened(rules: Iterable[Rule], contributed: Sequence[SeccompRule]) -> list[Rule]:
    """``rules`` with what is contributed; nothing that was refused becomes allowed or asked."""
    strictest = _strictest(contributed)
    asked = frozenset(name for name, rule in strictest.items() if rule.action == "notify")
    replaced = frozenset(strictest) - asked
    found = []
    for rule in rules:
        left = rule.without(replaced)
        if rule.action == ALLOW and (notified := tuple(n for n in left.names if n in asked)):
            found.append(evolve(left, names=notified, action=NOTIFY))
            left = left.without(asked)
        found.append(left)
    for name in sorted(replaced):
        killed = strictest[name].action == "kill"
        number = None if killed else strictest[name].errno
        found.append(Rule((name,), KILL if killed else ERRNO, errno=number))
    return [rule for rule in found if rule.names]


def build_profile(rules: Sequence[SeccompRule] = (), *, machine: str) -> dict[str, Any]:
    """The profile as an OCI LinuxSeccomp object (JSON-able), which Podman takes as a file.

    Args:
        rules: what plugins contribute; only ever makes it stricter.
        machine: as ``platform.machine()`` says: ``x86_64`` or ``aarch64``. Calls by the ABI of any
            other architecture (32-bit, x32) end the process: the kernel knows no rule for them.

    Raises:
        AileronError: ``machine-unsupported``.
    """
    if machine not in _ARCHITECTURES:
        raise MACHINE_UNSUPPORTED(
            f"no system-call filter is known for {machine}",
            why="a sandbox without one is not sealed",
            hints=["run Aileron on x86_64 or aarch64"],
        )
    kind, architecture = _ARCHITECTURES[machine]
    return {
        "defaultAction": ERRNO,
        "defaultErrnoRet": errno.ENOSYS,
        "architectures": [architecture],
        "syscalls": [rule.to_oci() for rule in _tightened(_rules(kind), rules)],
    }
