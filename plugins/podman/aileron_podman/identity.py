"""User namespaces that exist only to describe how owners are shown under a mount."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path

import trio
from attrs import define, field

from aileron_core.errors import EXIT_OS, ErrorCode
from aileron_podman.mounts import IdMap

USER_NAMESPACE = ErrorCode(
    "user-namespace-refused", EXIT_OS, "The kernel refused to make a user namespace."
)

# The child makes its namespace, says so, and waits until its input ends.
_CHILD = (
    "import ctypes, os, sys\n"
    "libc = ctypes.CDLL(None, use_errno=True)\n"
    "if libc.unshare(0x10000000): sys.exit(os.strerror(ctypes.get_errno()))\n"
    "os.write(1, b'x'); os.read(0, 1)\n"
)


@define(eq=False)
class IdMaps:
    """Open user namespaces by their maps: made once, a few for each daemon."""

    _open: dict[IdMap, int] = field(factory=dict)
    _making: trio.Lock = field(factory=trio.Lock)

    async def get(self, wanted: IdMap) -> int:
        """A descriptor of a user namespace with these maps.

        Raises:
            AileronError: ``user-namespace-refused``.
        """
        async with self._making:
            if wanted not in self._open:
                self._open[wanted] = await _make(wanted)
            return self._open[wanted]

    def close(self) -> None:
        """Let go of all of them."""
        while self._open:
            os.close(self._open.popitem()[1])


async def _make(wanted: IdMap) -> int:
    async with trio.open_nursery() as nursery:
        # -1 is subprocess.PIPE, whose module is banned here for its blocking calls.
        child = partial(trio.run_process, stdin=-1, stdout=-1, capture_stderr=True, check=False)
        process: trio.Process = await nursery.start(
            child, [sys.executable, "-I", "-S", "-c", _CHILD]
        )
        assert process.stdin is not None
        assert process.stdout is not None
        ready = await process.stdout.receive_some(1)
        if not ready:
            raise USER_NAMESPACE(
                "the kernel refused to make a user namespace",
                why="owners cannot be mapped without one",
                hints=["sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone"],
            )
        directory = Path(f"/proc/{process.pid}")
        for name, text in zip(("uid_map", "gid_map"), wanted, strict=True):
            (directory / name).write_text(text)
        descriptor = os.open(directory / "ns/user", os.O_RDONLY | os.O_CLOEXEC)
        await process.stdin.aclose()
    return descriptor
