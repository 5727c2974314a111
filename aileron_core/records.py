"""The records that hooks return and the words they are made of.

Facts are frozen; things with identity (`Session`) compare by identity. Importing this module costs
attrs and nothing else: plugins' ``plugin.py`` files import it at start.
"""

from __future__ import annotations

import enum
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from attrs import define, field, frozen

from aileron_core.backend import BackendOpener, Limits, ListenerSpec, Mount, SandboxUser

if TYPE_CHECKING:
    import click

    from aileron_core.daemon.context import Daemon

# --- start-up ---------------------------------------------------------------------------------


@frozen
class Mode:
    """A subcommand of ``aileron``.

    ``load`` imports and returns the click command; it is called only when the mode is used or its
    own help is asked for, so that ``aileron --help`` stays fast. ``summary`` serves that help.
    """

    name: str
    summary: str
    load: Callable[[], click.Command]


@frozen
class BackendFactory:
    """A container backend; ``open`` is an async callable from context to `Backend`."""

    name: str
    summary: str
    open: BackendOpener


@frozen
class CheckResult:
    """What a check of ``aileron doctor`` found."""

    verdict: Literal["holds", "does not hold", "cannot be tried"]
    detail: str = ""
    mend: str = ""


@frozen
class Check:
    """A protection that doctor *tries*: ``run`` does the forbidden thing and looks whether it fails.

    ``run`` is async, takes a `Probe` (see `aileron_core.doctor`) and raises nothing for "does not
    hold".
    """

    name: str
    summary: str
    run: Callable[[Any], Awaitable[CheckResult]]


@frozen
class Route:
    """A group of API calls: ``blueprint`` is called once, in the daemon, and returns a quart Blueprint.

    Side ``host`` is served on the user's Unix socket, side ``sandbox`` on the sessions' listeners.
    """

    name: str
    side: Literal["host", "sandbox"]
    blueprint: Callable[[Daemon], Any]


# --- session ----------------------------------------------------------------------------------


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
    """A change to the seccomp profile; only stricter ones are taken (``errno``, ``kill``, ``notify``)."""

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
    """Promises that this contribution enforces, shown in the summary (for example ``network``)."""


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

    ``listeners`` is empty until the sockets exist (before any service starts). ``disabled`` names the
    plugins that this session runs without.
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
    until cancelled. Services start in ``after`` order and stop newest first, after the container has
    ended. A service that fails ends the session: nothing runs unprotected.
    """

    name: str
    serve: Callable[..., Awaitable[None]]
    after: tuple[str, ...] = ()


# --- deciding ---------------------------------------------------------------------------------


class Verdict(enum.StrEnum):
    """What a rule says. Strictness: deny > ask > mediate > allow."""

    ALLOW = "allow"
    MEDIATE = "mediate"
    ASK = "ask"
    DENY = "deny"

    @property
    def strictness(self) -> int:
        """0 (allow) to 3 (deny)."""
        return _STRICTNESS[self]


_STRICTNESS = {Verdict.ALLOW: 0, Verdict.MEDIATE: 1, Verdict.ASK: 2, Verdict.DENY: 3}


class Kind(enum.StrEnum):
    """Kinds of request."""

    NETWORK = "network"
    EXEC = "exec"
    OPERATION = "operation"
    CREDENTIAL = "credential"
    PORT = "port"


@frozen
class Request:
    """Something that a sandbox wants to do and that is subject to policy.

    ``subject`` holds what is asked, by kind; all values are strings or tuples of strings, already
    canonical. network: ``scheme host port method path``. exec: ``program`` (resolved path), ``argv``,
    ``cwd``, ``user``. operation: ``connector tool operation``. credential: ``name host``.
    port: ``port``.
    """

    kind: Kind
    session: str
    subject: Mapping[str, str | tuple[str, ...]]
    reason: str = ""
    """The agent's own words, if it gave any; never trusted."""


@frozen
class Decision:
    """A verdict with the rule and reason it came from. Silence is a deny."""

    verdict: Verdict
    rule: str
    """Where it is written: ``policy:developer``, ``/path/config.toml:12``, ``plugin:NAME``."""
    reason: str
    decider: str = ""
    credential: str | None = None
    """Name of the credential that an allowed request may carry."""


Decider = Callable[[Request], Awaitable[Decision | None]]


@frozen
class NamedDecider:
    """A plugin's say in decisions; None from it means "not mine". It can only make things stricter.

    It fails, or takes longer than ``timeout`` seconds: deny.
    """

    name: str
    decide: Decider
    timeout: float = 5.0


@frozen
class SecretSource:
    """Where ``scheme:reference`` values come from; ``fetch(reference)`` is async and returns bytes."""

    scheme: str
    fetch: Callable[[str], Awaitable[bytes]]


@frozen
class ApprovalChannel:
    """Where a pending approval is announced; ``announce(approval)`` is async and must not decide."""

    name: str
    announce: Callable[[Any], Awaitable[None]]


# --- watching and trouble ---------------------------------------------------------------------


@frozen
class Event:
    """Something that happened; what the audit log and ``/v1/events`` carry.

    ``data`` is JSON-able and holds no secret.
    """

    type: str
    """``session.started``, ``decision``, ``daemon.recovered``, …: dotted, past tense."""
    session: str | None
    data: Mapping[str, Any]
    time: float
    """Seconds since the epoch."""


Observer = Callable[[Event], None]


@frozen
class Hint:
    """One more thing to do about an error with code ``code``."""

    text: str
    code: str
