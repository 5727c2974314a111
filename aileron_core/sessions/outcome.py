"""How a session ended: what the record, the audit log and whoever is attached are told. Pure."""

from __future__ import annotations

import signal
from typing import Any

from attrs import frozen

from aileron_core.backend import Exit
from aileron_core.daemon.context import SessionSummary
from aileron_core.errors import EXIT_INTERRUPTED, EXIT_UNAVAILABLE, AileronError, ErrorCode
from aileron_core.records import SessionState
from aileron_core.sessions.frames import Frame, encode_json

SESSION_ABORTED = ErrorCode(
    "session-aborted", EXIT_INTERRUPTED, "The launch was ended before the agent started."
)
NOBODY_ATTACHED = ErrorCode(
    "nobody-attached", EXIT_UNAVAILABLE, "The command that launched a session never opened it."
)

GRACE_SECONDS = 10.0
"""Between asking an agent to end and ending it."""


@frozen
class Ending:
    """Why a session is ended from outside, and how."""

    reason: str
    status: int | None = None
    """What the session exits with; None: the agent's own status."""
    signum: int = signal.SIGTERM
    grace: float = GRACE_SECONDS


@frozen
class Outcome:
    """Everything that is known of an end."""

    error: AileronError | None
    exit: Exit | None
    """How the agent ended; None when it did not come to that."""
    ending: Ending | None
    left: tuple[str, ...]
    """What could not be removed, for people."""

    @property
    def state(self) -> SessionState:
        """The record's last state."""
        return SessionState.ENDED if self.error is None else SessionState.FAILED

    def changes(self, summary: SessionSummary) -> dict[str, Any]:
        """What the record's last writing changes besides the state and the time."""
        status, reason = self._account()
        if self.left:
            reason += f"; left behind: {', '.join(self.left)}"
        sandbox = summary.sandbox if self.left else None
        return {"exit_status": status, "reason": reason, "sandbox": sandbox}

    def last_frame(self, summary: SessionSummary) -> bytes:
        """What a console shows last."""
        if self.error is not None:
            detail = {**self.error.to_dict(), "exit_status": self.error.exit_status}
            return encode_json(Frame.ERROR, detail)
        told = {"status": summary.exit_status, "reason": summary.reason, "state": summary.state}
        return encode_json(Frame.EXIT, told)

    def _account(self) -> tuple[int | None, str]:
        """Exit status and reason."""
        if self.error is not None:
            return self.error.exit_status, f"{self.error.message} [{self.error.code}]"
        if self.exit is None:
            return None, "daemon ended"
        status, reason = self.exit.status, "exited"
        if self.ending is not None:
            status = status if self.ending.status is None else self.ending.status
            reason = self.ending.reason
        return status, f"{reason}; out of memory" if self.exit.oom else reason


def aborted(ending: Ending | None) -> AileronError:
    """The error of a launch that was ended before its agent had started."""
    reason = ending.reason if ending is not None else "the daemon ends"
    return SESSION_ABORTED(
        f"the launch was ended: {reason}", hints=["aileron launch … starts it again"]
    )


def nobody_attached() -> AileronError:
    """The error of a session whose launching command is gone."""
    return NOBODY_ATTACHED(
        "nobody opened the session's console", why="the command that launched it is gone"
    )


def facts(summary: SessionSummary) -> dict[str, Any]:
    """What the audit log says of a session: never its command line, which may hold a secret."""
    names = ("name", "agent", "image", "tier", "backend", "workspace", "workspace_mode")
    return {name: getattr(summary, name) for name in (*names, "exit_status", "reason")}
