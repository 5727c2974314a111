"""The Podman backend: eight methods over its REST service and the kernel beneath."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import trio
from attrs import define, field

from aileron_core.backend import (
    Backend,
    BackendContext,
    Capability,
    Command,
    Exit,
    Found,
    ImageInfo,
    ListenerSpec,
    Progress,
    Recipe,
    Sandbox,
    SandboxSpec,
    Stream,
)
from aileron_podman import machine as machines
from aileron_podman import namespaces, watch
from aileron_podman.creation import Creator, check_limits, refused, remove
from aileron_podman.errors import PODMAN_REMOTE, SANDBOX_GONE
from aileron_podman.execs import open_exec
from aileron_podman.images import Images
from aileron_podman.monitors import end_monitors
from aileron_podman.records import Known
from aileron_podman.rest import ApiError
from aileron_podman.service import Service, open_service
from aileron_podman.settings import PodmanSettings
from aileron_podman.stream import PodmanStream

_STATES: dict[str, Literal["created", "running", "stopped"]] = {
    "configured": "created",
    "created": "created",
    "initialized": "created",
    "running": "running",
    "paused": "running",
    "stopping": "running",
}


# Seconds for a killed container to be seen ended; one that is frozen ends when Podman thaws it.
_LAST_WORD = 1.0


def _gone(sandbox: Sandbox) -> Exception:
    return SANDBOX_GONE(
        f"the sandbox of session {sandbox.session} is not there any more",
        why="it was removed, or it has ended",
        hints=["aileron sessions list"],
    )


@define(eq=False)
class PodmanBackend:
    """`aileron_core.backend.Backend` for one Podman service."""

    service: Service
    machine: machines.Machine
    creator: Creator
    images: Images
    capabilities: frozenset[Capability]
    name: str = "podman"
    _known: dict[str, Known] = field(factory=dict)

    async def image(self, reference: str) -> ImageInfo | None:
        """The image, if it is here."""
        await self.service.ensure()
        return await self.images.info(reference)

    async def provide(self, recipe: Recipe, progress: Progress) -> ImageInfo:
        """Pull, import or build the image."""
        await self.service.ensure()
        return await self.images.provide(recipe, progress)

    async def create(self, spec: SandboxSpec) -> Sandbox:
        """Create, initialise, mount and verify; see `Backend.create`."""
        if self.service.remote:
            raise _remote("seal a sandbox")
        check_limits(spec.limits, self.capabilities)
        await self.service.ensure()
        known = await self.creator.create(spec)
        self._known[known.id] = known
        return Sandbox(known.id, spec.session, known.pid)

    async def listen(
        self, sandbox: Sandbox, listeners: Sequence[ListenerSpec]
    ) -> Mapping[str, socket.socket]:
        """Sockets in the sandbox's network namespace."""
        if self.service.remote:
            raise _remote("open sockets in a sandbox")
        known = await self._find(sandbox)
        if not known.alive():
            raise _gone(sandbox)
        if not listeners:
            return {}
        enter = namespaces.listen_as_root if self.machine.rootful else namespaces.listen_as_user
        return await enter(known.pid, listeners)

    async def open(self, sandbox: Sandbox, command: Command | None = None) -> Stream:
        """Attach and start the agent, or start another program."""
        await self.service.ensure()
        known = await self._find(sandbox)
        try:
            if command is not None:
                known.has_execs = True
                return await open_exec(self.service.rest, known.id, command)
            return await self._attach_and_start(known)
        except ApiError as error:
            if error.status == 404 or not known.alive():
                raise _gone(sandbox) from error
            raise refused("start a program in" if command else "start", error) from error

    async def _attach_and_start(self, known: Known) -> Stream:
        rest = self.service.rest
        query = {"stream": True, "stdin": known.stdin, "stdout": True, "stderr": True}
        upgraded = await rest.upgrade(f"/containers/{known.id}/attach", query)
        stream = PodmanStream(
            upgraded,
            known.tty,
            resize=lambda rows, columns: self._resize(known, rows, columns),
            signal=lambda signum: self._signal(known, signum),
            wait=lambda: self._wait(known),
        )
        try:
            if not known.started:
                if known.tty and all(known.size):
                    await self._resize(known, *known.size)
                await rest.call("POST", f"/containers/{known.id}/start")
                known.started = True
        except BaseException:
            await stream.aclose()
            raise
        return stream

    async def _resize(self, known: Known, rows: int, columns: int) -> None:
        try:
            query = {"h": rows, "w": columns, "running": True}
            await self.service.rest.call("POST", f"/containers/{known.id}/resize", query)
        except ApiError:
            if known.alive():
                raise

    async def _signal(self, known: Known, signum: int) -> None:
        if signum not in (signal.SIGKILL, signal.SIGSTOP) and known.alive():
            await watch.until_heeded(known.pid, signum)
        watch.send(known.pidfd, signum)
        await trio.lowlevel.checkpoint()

    async def _wait(self, known: Known) -> Exit:
        """How it ended: looked for once, and remembered beyond its removal."""
        async with known.waiting:
            if known.ended is None:
                known.ended = await watch.exit_of(
                    known.pidfd, known.places, lambda: self._ask(known.id)
                )
            return known.ended

    async def _ask(self, container: str) -> Exit:
        """Podman's own account of how it ended; one that was removed was killed."""
        rest = self.service.rest
        try:
            query = {"condition": ("stopped", "exited"), "interval": "10ms"}
            await rest.call("POST", f"/containers/{container}/wait", query)
            state = (await rest.call("GET", f"/containers/{container}/json"))["State"]
        except ApiError:
            return Exit(137)
        return Exit(int(state["ExitCode"]) & 0xFF, bool(state.get("OOMKilled")))

    async def _find(self, sandbox: Sandbox) -> Known:
        """What is known of a sandbox; one of an earlier daemon is looked up."""
        if (known := self._known.get(sandbox.id)) is not None:
            return known
        try:
            found = await self.service.rest.call("GET", f"/containers/{sandbox.id}/json")
            known = recall(sandbox, found)
        except (ApiError, ProcessLookupError) as error:
            raise _gone(sandbox) from error
        self._known[sandbox.id] = known
        return known

    async def survey(self, owner: str) -> Sequence[Found]:
        """Every sandbox with this owner's label."""
        await self.service.ensure()
        query = {"all": True, "filters": {"label": [f"io.aileron.owner={owner}"]}}
        try:
            listed = await self.service.rest.call("GET", "/containers/json", query)
        except ApiError as error:
            raise refused("list", error) from error
        return [_found(each) for each in listed or ()]

    async def remove(self, sandbox: Sandbox, grace: float = 0.0) -> None:
        """End it and remove all of it."""
        await self.service.ensure()
        known = self._known.get(sandbox.id)
        try:
            if known is not None:
                await self._end(known, grace)
        finally:
            with trio.CancelScope(shield=True):
                await remove(self.service.rest, sandbox.id)
                if not self.service.remote and (known is None or known.has_execs):
                    await trio.to_thread.run_sync(end_monitors, sandbox.id)
            if (known := self._known.pop(sandbox.id, None)) is not None:
                known.close()

    async def _end(self, known: Known, grace: float) -> None:
        """SIGTERM, ``grace`` seconds, SIGKILL; its end is known before it is removed.

        Podman looks every 100 ms whether a container that it has killed is gone; we see it at once.
        """
        if grace > 0 and known.started and known.alive():
            watch.send(known.pidfd, signal.SIGTERM)
            with trio.move_on_after(grace):
                await watch.until_gone(known.pidfd)
        watch.send(known.pidfd, signal.SIGKILL)
        with trio.move_on_after(_LAST_WORD):
            await self._wait(known)

    async def aclose(self) -> None:
        """Let go of connections and of a service that was started here; containers go on."""
        while self._known:
            self._known.popitem()[1].close()
        self.creator.maps.close()
        await self.service.aclose()


def _remote(doing: str) -> Exception:
    return PODMAN_REMOTE(
        f"a remote Podman socket cannot {doing}",
        why="the container's namespaces are on another machine",
        hints=["log in to that machine, for example with ssh, and launch there"],
    )


def recall(sandbox: Sandbox, inspect: Mapping[str, Any]) -> Known:
    """What inspect tells of a container that an earlier daemon created.

    Raises:
        ProcessLookupError: it does not run.
    """
    state = inspect["State"]
    pid = int(state.get("Pid") or 0)
    if pid <= 0:
        raise ProcessLookupError(sandbox.id)
    return Known(
        id=inspect["Id"],
        session=sandbox.session,
        pid=pid,
        pidfd=os.pidfd_open(pid),
        tty=bool(inspect["Config"].get("Tty")),
        stdin=bool(inspect["Config"].get("OpenStdin")),
        places=watch.find_places(inspect["Id"], int(state.get("ConmonPid") or 0), pid),
        started=bool(state.get("Running")) or bool(state.get("Paused")),
    )


def _found(listed: Mapping[str, Any]) -> Found:
    labels = dict(listed.get("Labels") or {})
    pid = int(listed.get("Pid") or 0) or None
    return Found(
        Sandbox(listed["Id"], labels.get("io.aileron.session", ""), pid),
        _STATES.get(str(listed.get("State")), "stopped"),
        labels,
    )


async def open_backend(context: BackendContext) -> Backend:
    """The backend on this machine, or on the service that ``context.connection`` names.

    Raises:
        AileronError: ``podman-missing``, ``podman-unavailable``, ``podman-too-old``,
            ``podman-remote``, ``podman-setting``.
    """
    settings = context.settings or PodmanSettings()
    machine = machines.look(settings.runtime, settings.uid_base)
    service = await open_service(context, settings, machine.runtime)
    try:
        creator = Creator(service.rest, machine, Path(context.runtime_directory) / "podman")
        images = Images(service.rest, machine)
    except BaseException:
        await service.aclose()
        raise
    found = frozenset() if service.remote else machines.capabilities(machine)
    return PodmanBackend(service, machine, creator, images, found)
