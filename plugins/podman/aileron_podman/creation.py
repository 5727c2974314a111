"""Create, initialise, mount, verify: from a spec to a sealed container that has run nothing."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import trio
from attrs import define, evolve, field

from aileron_core.backend import Capability, Limits, Mount, SandboxSpec
from aileron_core.errors import AileronError
from aileron_core.seccomp import build_profile
from aileron_podman import cgroup, early, verify
from aileron_podman.create import INIT_PATHS, container_name, to_specgen, with_defaults
from aileron_podman.errors import (
    IMAGE_ABSENT,
    LIMIT_UNSUPPORTED,
    PODMAN_REFUSED,
    SANDBOX_NOT_SEALED,
)
from aileron_podman.identity import IdMaps
from aileron_podman.machine import Machine
from aileron_podman.mounts import Attacher, Ids, id_map
from aileron_podman.namespaces import in_own_thread, read_as_user
from aileron_podman.records import Known
from aileron_podman.rest import ApiError, Rest
from aileron_podman.watch import find_places

_LIMITS = {
    "memory": Capability.LIMIT_MEMORY,
    "pids": Capability.LIMIT_PIDS,
    "cpus": Capability.LIMIT_CPU,
}


def check_limits(limits: Limits, capabilities: frozenset[Capability]) -> None:
    """Refuse a limit that would silently not hold.

    Raises:
        AileronError: ``limit-unsupported``.
    """
    for name, capability in _LIMITS.items():
        if getattr(limits, name) is not None and capability not in capabilities:
            raise LIMIT_UNSUPPORTED(
                f"this machine cannot hold a limit of {name}",
                why="its cgroups do not give Podman that controller, and Podman would ignore it",
                hints=[
                    f"launch without a limit of {name}",
                    "use cgroup v2 with delegation, or Podman as root",
                    "aileron doctor",
                ],
            )


def refused(doing: str, error: ApiError) -> AileronError:
    """Podman's own words as an error of ours."""
    return PODMAN_REFUSED(
        f"Podman could not {doing} the sandbox",
        why=error.message,
        hints=["aileron doctor", "look at podman.log in the daemon's runtime directory"],
    )


@define(eq=False)
class Creator:
    """Creates containers with one service on this machine."""

    rest: Rest
    machine: Machine
    directory: Path
    """Private, for generated files."""
    maps: IdMaps = field(factory=IdMaps)
    _init: str | None = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._init = next((path for path in INIT_PATHS if os.access(path, os.X_OK)), None)
        for part in ("seccomp", "etc", "scratch/base", "scratch/changes"):
            (self.directory / part).mkdir(mode=0o700, parents=True, exist_ok=True)

    async def create(self, spec: SandboxSpec) -> Known:
        """A sealed container; on any failure or cancellation nothing of it is left.

        Raises:
            AileronError: ``image-absent``, ``podman-refused``, ``mount-failed``,
                ``sandbox-not-sealed``.
        """
        spec = evolve(spec, seccomp=spec.seccomp or build_profile(machine=platform.machine()))
        profile = self._profile_file(spec)
        mounts = self._mounts(spec)
        late = mounts if self.machine.rootful else ()
        body = to_specgen(
            spec,
            self.machine,
            seccomp_path=str(profile),
            early=None if self.machine.rootful else early.fields(mounts, spec.user),
            init_path=self._init,
        )
        known: Known | None = None
        try:
            container = await self._call("create", "/containers/create", body, image=spec.image)
            await self._call("initialise", f"/containers/{container['Id']}/init")
            inspect = await self.rest.call("GET", f"/containers/{container['Id']}/json")
            known = self._known(spec, inspect)
            await self._attach(known, spec, late)
            self._verify(spec, known, await self._gather(known, inspect), mounts)
        except BaseException:
            if known is not None:
                known.close()
            with trio.CancelScope(shield=True):
                await remove(self.rest, container_name(spec.session))
            raise
        finally:
            profile.unlink()  # Podman has read it
        return known

    def _mounts(self, spec: SandboxSpec) -> tuple[Mount, ...]:
        """All mounts, with the sandbox's own table of names."""
        mounts = with_defaults(spec)
        if any(mount.target == "/etc/hosts" for mount in mounts):
            return mounts
        hosts = f"127.0.0.1 localhost {spec.hostname}\n::1 localhost ip6-localhost\n"
        path = self._file("etc", "hosts", hosts, mode=0o444)
        return (Mount("/etc/hosts", "bind", path, no_exec=True), *mounts)

    def _file(self, directory: str, name: str, text: str, *, mode: int) -> str:
        """A generated file, named by its content, whole when it exists."""
        digest = sha256(text.encode()).hexdigest()[:24]
        path = self.directory / directory / f"{name}-{digest}"
        if not path.exists():
            fresh = path.with_suffix(f".{os.getpid()}.new")
            fresh.write_text(text)
            fresh.chmod(mode)
            fresh.rename(path)
        return str(path)

    def _profile_file(self, spec: SandboxSpec) -> Path:
        path = self.directory / "seccomp" / f"{spec.session}.json"
        path.write_text(json.dumps(dict(spec.seccomp)))
        return path

    async def _call(self, doing: str, path: str, body: object = None, *, image: str = "") -> Any:
        """A call that is not left half way: Podman would go on without anybody to tell."""
        try:
            answer = await shielded(self.rest.call, "POST", path, body=body)
            await trio.lowlevel.checkpoint_if_cancelled()
        except ApiError as error:
            # 4.x answers 500 for it.
            absent = error.status == 404 or re.search(
                "no such image|image not known", error.message
            )
            if image and absent:
                raise IMAGE_ABSENT(
                    f"the image {image} is not on this machine",
                    hints=["aileron sandbox build", f"podman pull {image}"],
                ) from error
            raise refused(doing, error) from error
        return answer

    def _known(self, spec: SandboxSpec, inspect: Mapping[str, Any]) -> Known:
        state = inspect["State"]
        pid = int(state.get("Pid") or 0)
        if pid <= 0:
            raise SANDBOX_NOT_SEALED(
                "the sandbox ended before it was started", hints=["aileron doctor"]
            )
        return Known(
            id=inspect["Id"],
            session=spec.session,
            pid=pid,
            pidfd=os.pidfd_open(pid),
            tty=spec.tty,
            stdin=spec.stdin,
            size=(spec.rows, spec.columns),
            places=find_places(inspect["Id"], int(state.get("ConmonPid") or 0), pid),
        )

    async def _attach(self, known: Known, spec: SandboxSpec, mounts: Sequence[Mount]) -> None:
        if not self.machine.rootful:
            return
        ids = Ids.of(self.machine.uid_base, spec.user)
        wanted = {found for mount in mounts if (found := id_map(mount, ids)) is not None}
        namespaces = {each: await self.maps.get(each) for each in wanted}
        attacher = Attacher(ids, namespaces, str(self.directory / "scratch"), spec.user.home)

        def work() -> None:
            container = os.open(f"/proc/{known.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
            try:
                if not known.alive():  # else the number could be another process's by now
                    raise SANDBOX_NOT_SEALED("the sandbox ended before it was started")
                attacher.run(container, mounts)
            finally:
                os.close(container)

        await in_own_thread(work)

    async def _gather(self, known: Known, inspect: Mapping[str, Any]) -> verify.Evidence:
        path = str(inspect.get("OCIConfigPath") or "")
        if self.machine.rootful:
            return gather(known.pid, inspect, cgroup.read(path))
        return gather(known.pid, inspect, await read_as_user(known.pid, path))

    def _verify(
        self,
        spec: SandboxSpec,
        known: Known,
        evidence: verify.Evidence,
        mounts: Sequence[Mount],
    ) -> None:
        found = verify.differences(evidence, spec, self.machine, mounts, spec.seccomp)
        if not known.alive():
            found = ["it ended before it was started", *found]
        if found:
            raise SANDBOX_NOT_SEALED(
                "the sandbox is not confined as it was asked to be, and was removed",
                why="; ".join(found[:8]),
                hints=["aileron doctor", "look for defaults in containers.conf that add something"],
            )


def gather(pid: int, inspect: Mapping[str, Any], oci: str) -> verify.Evidence:
    """Read what the kernel and the runtime's instructions say; what is unreadable is empty."""
    process = f"/proc/{pid}"
    return verify.Evidence(
        inspect=inspect,
        oci=json.loads(oci) if oci else {},
        status=cgroup.read(f"{process}/status"),
        uid_map=cgroup.read(f"{process}/uid_map"),
        gid_map=cgroup.read(f"{process}/gid_map"),
        mountinfo=cgroup.read(f"{process}/mountinfo"),
        limits=cgroup.read(f"{process}/limits"),
        cgroup=cgroup.limits(cgroup.read(f"{process}/cgroup")),
    )


async def shielded(call: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
    """A call of `Rest`, which has a bound of its own, that cancelling does not interrupt."""
    with trio.CancelScope(shield=True):
        return await call(*args, **kwargs)


# Podman's own clean-up of a container that has just ended may hold a mount for a moment.
_BUSY = 5.0


async def remove(rest: Rest, container: str) -> None:
    """Force a container away (SIGKILL at once), whatever state it is in; gone already is fine.

    Raises:
        AileronError: ``podman-refused``, ``podman-unavailable``.
    """
    deadline = trio.current_time() + _BUSY
    while True:
        try:
            query = {"force": True, "timeout": 0, "v": True}
            await shielded(rest.call, "DELETE", f"/containers/{container}", query)
            return
        except ApiError as error:
            if error.status == 404:
                return
            if trio.current_time() > deadline:
                raise refused("remove", error) from error
        await trio.sleep(0.02)
