"""The daemon's Unix sockets: files of the user's own, and who is at the other end."""

from __future__ import annotations

import os
import socket
import struct
from contextlib import suppress
from pathlib import Path

import trio


def peer_uid(connection: socket.socket | trio.socket.SocketType) -> int:
    """The uid of the process at the other end of a Unix socket (unix(7), SO_PEERCRED)."""
    credentials = connection.getsockopt(
        socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")
    )
    _, uid, _ = struct.unpack("3i", credentials)
    return int(uid)


def is_own(stream: trio.SocketStream) -> bool:
    """The peer is a process of the daemon's own user."""
    return peer_uid(stream.socket) == os.getuid()


def listen_on(path: Path) -> socket.socket:
    """A listening Unix socket at ``path``, 0600, in place of a stale one.

    The caller holds the daemon's lock, so that nobody listens on the file that is replaced.
    """
    with suppress(FileNotFoundError):
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
        listener.listen(128)
    except BaseException:
        listener.close()
        raise
    finally:
        os.umask(before)
    return listener
