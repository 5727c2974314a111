"""Work inside a container's namespaces, and sockets opened there.

`threading` is banned in this project in favour of trio's worker threads. It is used here, and only
here, because a thread that has entered other namespaces must never go back to a pool: the next
thing that runs in it would open files and sockets in a sandbox. So each such thread is made for one
piece of work and ends with it; there is nothing to restore and nothing that can be forgotten.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading  # noqa: TID251 - see above: a thread that changed namespaces must not be reused
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import outcome
import trio

from aileron_core.backend import ListenerSpec
from aileron_podman import syscalls
from aileron_podman.errors import LISTENER_FAILED
from aileron_podman.sockets import bind_all

T = TypeVar("T")


async def in_own_thread(work: Callable[[], T]) -> T:
    """Run ``work`` in a thread of its own that ends with it; not cancelled half way.

    ``work`` must be short and must not wait for anything that a sandbox controls.
    """
    done = trio.Event()
    token = trio.lowlevel.current_trio_token()
    results: list[outcome.Outcome[T]] = []

    def body() -> None:
        results.append(outcome.capture(work))
        token.run_sync_soon(done.set)

    threading.Thread(target=body, name="aileron-namespace", daemon=True).start()
    with trio.CancelScope(shield=True):
        await done.wait()
    return results[0].unwrap()


def enter_mounts(namespace: int) -> None:
    """Move the calling thread into a mount namespace.

    Threads share their root and working directory; setns(2) refuses until this one has its own.
    """
    syscalls.unshare(syscalls.CLONE_FS)
    syscalls.setns(namespace, syscalls.CLONE_NEWNS)


def _failed(error: Exception | str) -> Exception:
    return LISTENER_FAILED(
        "a socket could not be opened inside the sandbox",
        why=str(error),
        hints=["two plugins may want one port", "aileron doctor"],
    )


async def listen_as_root(pid: int, specs: Sequence[ListenerSpec]) -> Mapping[str, socket.socket]:
    """Sockets in the network namespace of ``pid``, opened by a thread that enters it."""

    def work() -> dict[str, socket.socket]:
        namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            syscalls.setns(namespace, syscalls.CLONE_NEWNET)
        finally:
            os.close(namespace)
        return bind_all(specs)

    try:
        return await in_own_thread(work)
    except OSError as error:
        raise _failed(error) from error


# setns(2) into a user namespace: 0x10000000 is CLONE_NEWUSER.
_READER = (
    "import ctypes, os, sys\n"
    "libc = ctypes.CDLL(None, use_errno=True)\n"
    "user = os.open(f'/proc/{sys.argv[1]}/ns/user', os.O_RDONLY)\n"
    "if libc.setns(user, 0x10000000): sys.exit(os.strerror(ctypes.get_errno()))\n"
    "sys.stdout.write(open(sys.argv[2]).read())\n"
)


async def read_as_user(pid: int, path: str) -> str:
    """A file that belongs to the container's own root, read without root; "" when it cannot be."""
    ended = await trio.run_process(
        [sys.executable, "-I", "-S", "-c", _READER, str(pid), path],
        capture_stdout=True,
        capture_stderr=True,
        check=False,
    )
    return ended.stdout.decode(errors="replace") if ended.returncode == 0 else ""


async def listen_as_user(pid: int, specs: Sequence[ListenerSpec]) -> Mapping[str, socket.socket]:
    """The same without root: a child joins the user and the network namespace and hands them over.

    A process with several threads may not join a user namespace (setns(2)), so a thread cannot.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    wanted = json.dumps([[s.name, s.address, s.port, s.kind] for s in specs])
    command = [sys.executable, "-m", "aileron_podman.join", str(pid), wanted, str(theirs.fileno())]
    with ours, theirs:
        ended = await trio.run_process(
            command, pass_fds=[theirs.fileno()], capture_stderr=True, check=False
        )
        theirs.close()
        ours.setblocking(False)
        try:
            _, descriptors, _, _ = socket.recv_fds(ours, 1, len(specs))
        except BlockingIOError:
            descriptors = []
    if ended.returncode != 0 or len(descriptors) != len(specs):
        for descriptor in descriptors:
            os.close(descriptor)
        raise _failed(ended.stderr.decode(errors="replace").strip()[-300:])
    made = [socket.socket(fileno=descriptor) for descriptor in descriptors]
    for each in made:
        each.setblocking(False)
    return {spec.name: each for spec, each in zip(specs, made, strict=True)}
