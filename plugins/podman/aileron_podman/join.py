"""Run as a child: join a container's user and network namespace, bind sockets, hand them over.

``python -m aileron_podman.join PID JSON FD``: JSON holds ``[name, address, port, kind]`` lists; the
sockets are sent in that order over the socket FD. One shot; its own process, because one that has
several threads may not join a user namespace.
"""

from __future__ import annotations

import json
import os
import socket
import sys

from aileron_core.backend import ListenerSpec
from aileron_podman import syscalls
from aileron_podman.sockets import bind_all


def main(pid: str, wanted: str, descriptor: str) -> None:
    """Join, bind, send."""
    network = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    user = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    syscalls.setns(user, syscalls.CLONE_NEWUSER)
    syscalls.setns(network, syscalls.CLONE_NEWNET)
    made = bind_all([ListenerSpec(*each) for each in json.loads(wanted)])
    with socket.socket(fileno=int(descriptor)) as channel:
        socket.send_fds(channel, [b"x"], [each.fileno() for each in made.values()])


if __name__ == "__main__":
    main(*sys.argv[1:])
