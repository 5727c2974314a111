"""Sockets in the calling thread's network namespace."""

from __future__ import annotations

import fcntl
import socket
import struct
from collections.abc import Sequence

from aileron_core.backend import ListenerSpec

_BACKLOG = 128
_SIOCGIFFLAGS = 0x8913  # linux/sockios.h
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1


def raise_loopback() -> None:
    """Bring ``lo`` up in the calling thread's network namespace, if it is not."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh14x", b"lo", 0)
        (flags,) = struct.unpack_from("h", fcntl.ioctl(control, _SIOCGIFFLAGS, request), 16)
        if not flags & _IFF_UP:
            fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))


def bind(spec: ListenerSpec) -> socket.socket:
    """A non-blocking socket in the calling thread's network namespace; bound unless to connect."""
    family = socket.AF_INET6 if ":" in spec.address else socket.AF_INET
    kind = socket.SOCK_DGRAM if spec.kind == "udp" else socket.SOCK_STREAM
    made = socket.socket(family, kind | socket.SOCK_CLOEXEC)
    try:
        if spec.kind != "connect":
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((spec.address, spec.port))
        if spec.kind == "tcp":
            made.listen(_BACKLOG)
        made.setblocking(False)
    except BaseException:
        made.close()
        raise
    return made


def bind_all(specs: Sequence[ListenerSpec]) -> dict[str, socket.socket]:
    """All the sockets, or none."""
    raise_loopback()
    made: dict[str, socket.socket] = {}
    try:
        for spec in specs:
            made[spec.name] = bind(spec)
    except BaseException:
        for each in made.values():
            each.close()
        raise
    return made
