"""Records of a session: what it is, what plugins add to it, what runs beside it."""

from __future__ import annotations

import enum
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Literal

from attrs import define, field, frozen

from aileron_core.backend import Limits, ListenerSpec, Mount, SandboxUser


@frozen
class HelperFile:
    """A file that a mode puts inside the sandbox under ``/run/aileron`` (read-only there).

    ``path`` is relative (``bin/git``); ``mode`` holds permission bits.
    """

    path: str
    content: bytes = field(repr=False)
    mode: int = 0o444


@frozen
class SeccompRule:
    """A change to the seccomp profile; only stricter ones are taken (``errno``, ``kill``,
    ``notify``).
    """

    syscalls: tuple[str, ...]
    action: Literal["errno", "kill", "notify"]
    errno: int = 1


@frozen
class Contribution:
    """What one plugin adds to one session's sandbox. Everything is optional.

    Two plugins that give one mount target, variable, helper path or listener name are an error that
    names both, before anything is created.
    """

    mounts: tuple[Mount, ...] = ()
    environment: Mapping[str, str] = field(factory=dict, repr=False)
    helpers: tuple[HelperFile, ...] = ()
    listeners: tuple[ListenerSpec, ...] = ()
    seccomp: tuple[SeccompRule, ...] = ()
    requirements: tuple[str, ...] = ()
    """Programs that the image must resolve on PATH."""
    protects: tuple[str, ...] = ()
    """What this contribution enforces. Rules about programs need one that names ``exec``, else a
    launch is refused."""


class SessionState(enum.StrEnum):
    """Where a session is; `ended` and `failed` are final."""

    PREPARING = "preparing"
    CREATED = "created"
    RUNNING = "running"
    DRAINING = "draining"
    ENDING = "ending"
    ENDED = "ended"
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        """Nothing of the session runs or will run."""
        return self in (SessionState.ENDED, SessionState.FAILED)


@define(eq=False)
class Session:
    """One launch, as plugins see it, from preparing to ended. Never holds a secret.

    ``listeners`` is empty until the sockets exist (before any service starts). ``disabled`` names
    the plugins that this session runs without.
    """

    id: str
    name: str
    agent: str
    command: tuple[str, ...]
    workspace: Path
    workspace_mode: Literal["rw", "ro", "overlay"]
    image: str
    tier: str
    backend: str
    host: str
    created: float
    """Seconds since the epoch."""
    user: SandboxUser = field(factory=SandboxUser)
    limits: Limits = field(factory=Limits)
    policy: str = "developer"
    disabled: frozenset[str] = frozenset()
    state: SessionState = SessionState.PREPARING
    listeners: dict[str, socket.socket] = field(factory=dict, repr=False)
    notes: list[str] = field(factory=list)
    """What the person should know, shown in the launch summary."""


@frozen
class Service:
    """Something that runs beside a session, in the daemon.

    ``serve(*, task_status)`` is async; it calls ``task_status.started()`` when it is ready and runs
    until cancelled. Services start in ``after`` order and stop newest first, after the container
    has ended. A service that fails ends the session: nothing runs unprotected.
    """

    name: str
    serve: Callable[..., Awaitable[None]]
    after: tuple[str, ...] = ()
