"""Promise 1: nothing is reachable from the sandbox but the daemon's own listeners."""

from __future__ import annotations

import contextlib
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from aileron_core.doctor.checks.verdicts import fails, judge
from aileron_core.doctor.probe import Probe, ProbeResult
from aileron_core.records import Check, CheckResult

MEND = "do not use this machine for agents yet: aileron launch --dry-run shows what was asked for"

# RFC 5737 and RFC 3849 addresses: documentation only, nothing real is ever there.
_ROUTE = """
import socket
for family, kind, address in (
    (socket.AF_INET, socket.SOCK_STREAM, ("198.51.100.1", 9)),
    (socket.AF_INET, socket.SOCK_DGRAM, ("198.51.100.1", 9)),
    (socket.AF_INET6, socket.SOCK_STREAM, ("2001:db8::1", 9)),
    (socket.AF_INET6, socket.SOCK_DGRAM, ("2001:db8::1", 9)),
):
    try:
        with socket.socket(family, kind) as s:
            s.settimeout(5)
            s.connect(address)
            print("did reach", address[0])
    except socket.timeout:
        print("did send to", address[0], "(there is a route: no answer is not a refusal)")
    except OSError:
        pass
routes = [l.split() for l in open("/proc/net/route").read().splitlines()[1:]]
for name in {r[0] for r in routes} - {"lo"}:
    print("did see a route by", name)
print("tried")
"""

_NAMES = """
import socket
for name in ("deb.debian.org", "aileron-doctor.invalid"):
    try:
        print("did resolve", name, "to", socket.getaddrinfo(name, 443)[0][4][0])
    except OSError:
        pass
print("tried")
"""

_CONNECT = """
import socket
for family, address in {addresses!r}:
    try:
        with socket.socket(family) as s:
            s.settimeout(5)
            s.connect(address)
            print("did reach", repr(address))
    except OSError:
        pass
print("tried")
"""

_FAMILIES = """
import socket
for name, family, kind, number in (
    ("vsock", 40, socket.SOCK_STREAM, 0),
    ("vsock", 40, socket.SOCK_DGRAM, 0),
    ("packet", 17, socket.SOCK_RAW, 0x300),
    ("packet", 17, socket.SOCK_DGRAM, 0x300),
    ("raw", socket.AF_INET, socket.SOCK_RAW, 1),
    ("raw IPv6", socket.AF_INET6, socket.SOCK_RAW, 58),
    ("kernel crypto", 38, socket.SOCK_SEQPACKET, 0),
    ("bluetooth", 31, socket.SOCK_RAW, 1),
    ("tipc", 30, socket.SOCK_STREAM, 0),
):
    if name.split()[0] in {wanted!r}:
        try:
            socket.socket(family, kind, number).close()  # never connected to anything
            print("did open a", name, "socket")
        except OSError:
            pass
print("tried")
"""


async def _no_route(probe: Probe) -> CheckResult:
    """Connects over TCP and UDP, IPv4 and IPv6, to addresses that only a route can lead to."""
    return judge(await probe.python(_ROUTE), "no route leads out, by IPv4 or IPv6", MEND)


async def _no_dns(probe: Probe) -> CheckResult:
    """Resolves a name that exists and one that cannot."""
    return judge(await probe.python(_NAMES), "no name resolves", MEND)


async def _no_loopback(probe: Probe) -> CheckResult:
    """Listens on the host's loopback and tries to connect from inside."""
    async with _listening(_loopback()) as (listeners, arrived):
        addresses = [(s.family.value, s.getsockname()[:2]) for s in listeners]
        result = await probe.python(_CONNECT.format(addresses=addresses))
        return _unless_arrived(result, arrived, "the host's loopback was not reached")


async def _no_abstract(probe: Probe) -> CheckResult:
    """Listens on an abstract Unix socket of the host and tries to connect from inside."""
    name = f"\0aileron-doctor-{secrets.token_hex(8)}"
    async with _listening([_bound(socket.AF_UNIX, name)]) as (_, arrived):
        addresses = [(int(socket.AF_UNIX), name)]
        result = await probe.python(_CONNECT.format(addresses=addresses))
        return _unless_arrived(result, arrived, "the host's abstract sockets are out of reach")


async def _no_vsock(probe: Probe) -> CheckResult:
    """Creates a vsock socket: a network namespace does not confine those."""
    result = await probe.python(_FAMILIES.format(wanted=("vsock",)))
    return judge(result, "no vsock socket can be made", MEND)


async def _no_raw(probe: Probe) -> CheckResult:
    """Creates packet, raw and other sockets that an agent has no use for."""
    wanted = ("packet", "raw", "kernel", "bluetooth", "tipc")
    result = await probe.python(_FAMILIES.format(wanted=wanted))
    return judge(result, "only Unix, internet and netlink sockets can be made", MEND)


def _bound(family: socket.AddressFamily, address: object) -> socket.socket:
    listener = socket.socket(family)
    listener.bind(address)  # type: ignore[arg-type]  # a tuple or a name, by family
    listener.listen()
    return listener


def _loopback() -> list[socket.socket]:
    listeners = [_bound(socket.AF_INET, ("127.0.0.1", 0))]
    with contextlib.suppress(OSError):  # a host without IPv6 has no such loopback to reach
        listeners.append(_bound(socket.AF_INET6, ("::1", 0)))
    return listeners


@asynccontextmanager
async def _listening(
    listeners: list[socket.socket],
) -> AsyncIterator[tuple[list[socket.socket], list[str]]]:
    """Accept on ``listeners``; the second list grows with every connection that arrives."""
    arrived: list[str] = []

    async def accept(listener: socket.socket) -> None:
        wrapped = trio.socket.from_stdlib_socket(listener)
        while True:
            connection, _ = await wrapped.accept()
            arrived.append(repr(listener.getsockname()))
            connection.close()

    async with trio.open_nursery() as nursery:
        for listener in listeners:
            nursery.start_soon(accept, listener)
        yield listeners, arrived
        nursery.cancel_scope.cancel()
    for listener in listeners:
        listener.close()


def _unless_arrived(result: ProbeResult, arrived: list[str], fine: str) -> CheckResult:
    """The host's own view decides before the sandbox's."""
    if arrived:
        return fails(f"a connection from the sandbox arrived at {arrived[0]}", MEND)
    return judge(result, fine, MEND)


CHECKS = (
    Check("abstract-sockets", "no abstract Unix socket of the host is reachable", _no_abstract),
    Check("dns", "no name resolves", _no_dns),
    Check("host-loopback", "the host's loopback is not reachable", _no_loopback),
    Check("raw-sockets", "no packet or raw socket can be made", _no_raw),
    Check("route", "no address is reachable", _no_route),
    Check("vsock", "no vsock socket can be made", _no_vsock),
)
