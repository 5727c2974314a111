"""The records that hooks return and the words they are made of.

Facts are frozen; things with identity (`Session`) compare by identity. Every name is imported from
here; what the command line does not need at its start is loaded when it is first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from aileron_core.records.startup import (
    BackendFactory,
    Check,
    CheckResult,
    Mode,
    Route,
)

if TYPE_CHECKING:
    from aileron_core.records.deciding import (
        ApprovalChannel,
        Decider,
        Decision,
        Event,
        Hint,
        Kind,
        NamedDecider,
        Observer,
        Request,
        SecretSource,
        Verdict,
    )
    from aileron_core.records.session import (
        Contribution,
        HelperFile,
        SeccompRule,
        Service,
        Session,
        SessionState,
    )

_LATER = {
    "deciding": (
        "ApprovalChannel",
        "Decider",
        "Decision",
        "Event",
        "Hint",
        "Kind",
        "NamedDecider",
        "Observer",
        "Request",
        "SecretSource",
        "Verdict",
    ),
    "session": (
        "Contribution",
        "HelperFile",
        "SeccompRule",
        "Service",
        "Session",
        "SessionState",
    ),
}
_HOME = {name: module for module, names in _LATER.items() for name in names}

__all__ = [
    "ApprovalChannel",
    "BackendFactory",
    "Check",
    "CheckResult",
    "Contribution",
    "Decider",
    "Decision",
    "Event",
    "HelperFile",
    "Hint",
    "Kind",
    "Mode",
    "NamedDecider",
    "Observer",
    "Request",
    "Route",
    "SeccompRule",
    "SecretSource",
    "Service",
    "Session",
    "SessionState",
    "Verdict",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value
