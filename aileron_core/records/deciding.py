"""Records of deciding, watching and trouble: requests, verdicts, decisions, events, hints."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from attrs import frozen


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
    canonical. network: ``scheme host port method path``. exec: ``program`` (resolved path),
    ``argv``, ``cwd``, ``user``. operation: ``connector tool operation``. credential: ``name host``.
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
    """Where ``scheme:reference`` values come from; ``fetch(reference)`` is async and returns
    bytes.
    """

    scheme: str
    fetch: Callable[[str], Awaitable[bytes]]


@frozen
class ApprovalChannel:
    """Where a pending approval is announced; ``announce(approval)`` is async and must not
    decide.
    """

    name: str
    announce: Callable[[Any], Awaitable[None]]


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
