"""Another program in a running container."""

from __future__ import annotations

import os
from typing import Any

import trio
from attrs import define, field

from aileron_core.backend import Command, Exit
from aileron_podman import watch
from aileron_podman.rest import ApiError, Rest
from aileron_podman.stream import PodmanStream

# Podman's account of an exec follows its process by a moment.
_FIRST_LOOK = 0.002
_LONGEST_LOOK = 0.1


@define(eq=False)
class Exec:
    """One exec session."""

    rest: Rest
    id: str
    _pidfd: int | None = None
    _ended: Exit | None = None
    _looking: trio.Lock = field(factory=trio.Lock)

    async def _look(self) -> dict[str, Any]:
        found: dict[str, Any] = await self.rest.call("GET", f"/exec/{self.id}/json")
        return found

    async def _descriptor(self) -> int | None:
        """A descriptor of its process, as soon as there is one; None when it has ended."""
        async with self._looking:
            pause = _FIRST_LOOK
            while self._pidfd is None and self._ended is None:
                found = await self._look()
                if pid := int(found.get("Pid") or 0):
                    self._remember(pid)
                    break
                if not found.get("Running") and found.get("ExitCode", -1) >= 0 and pause > 0.05:
                    self._ended = Exit(int(found["ExitCode"]) & 0xFF)
                await trio.sleep(pause)
                pause = min(pause * 2, _LONGEST_LOOK)
        return self._pidfd

    def _remember(self, pid: int) -> None:
        try:
            self._pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            self._pidfd = None

    async def signal(self, signum: int) -> None:
        """To its process; one that has ended is no error."""
        try:
            pidfd = await self._descriptor()
        except ApiError:
            return
        if pidfd is not None:
            watch.send(pidfd, signum)

    async def wait(self) -> Exit:
        """Until its process has ended."""
        if self._ended is None:
            self._ended = await self._wait()
        return self._ended

    async def _wait(self) -> Exit:
        try:
            pidfd = await self._descriptor()
            if pidfd is not None:
                await watch.until_gone(pidfd)
            pause = _FIRST_LOOK
            while (found := await self._look()).get("Running"):
                await trio.sleep(pause)
                pause = min(pause * 2, _LONGEST_LOOK)
        except ApiError:
            return Exit(137)  # the container, and with it the exec, was removed
        return Exit(int(found["ExitCode"]) & 0xFF)

    async def resize(self, rows: int, columns: int) -> None:
        """Set its terminal's size."""
        try:
            await self.rest.call("POST", f"/exec/{self.id}/resize", {"h": rows, "w": columns})
        except ApiError:
            await trio.lowlevel.checkpoint()  # it has not started yet, or has ended


async def open_exec(rest: Rest, container: str, command: Command) -> PodmanStream:
    """Start a program in a running container.

    Raises:
        ApiError: Podman refused.
    """
    body = {
        "AttachStdin": command.stdin,
        "AttachStdout": True,
        "AttachStderr": True,
        "Tty": command.tty,
        "Cmd": list(command.argv),
        "Env": [f"{name}={value}" for name, value in command.env.items()],
        "WorkingDir": command.cwd,
        "Privileged": False,
    }
    created = await rest.call("POST", f"/containers/{container}/exec", body=body)
    started: dict[str, object] = {"Detach": False, "Tty": command.tty}
    if command.tty and command.rows > 0 and command.columns > 0:
        started |= {"h": command.rows, "w": command.columns}
    upgraded = await rest.upgrade(f"/exec/{created['Id']}/start", body=started)
    program = Exec(rest, created["Id"])
    return PodmanStream(
        upgraded, command.tty, resize=program.resize, signal=program.signal, wait=program.wait
    )
