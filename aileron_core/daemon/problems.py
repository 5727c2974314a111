"""Failures of the API itself, and how an error travels: ``{"error": {…}}`` and a status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aileron_core.errors import (
    EXIT_CONFIG,
    EXIT_DATA,
    EXIT_DENIED,
    EXIT_NO_INPUT,
    EXIT_PENDING,
    EXIT_SOFTWARE,
    EXIT_TIMEOUT,
    EXIT_UNAVAILABLE,
    EXIT_USAGE,
    INTERNAL,
    AileronError,
    ErrorCode,
)

BAD_REQUEST = ErrorCode("bad-request", EXIT_USAGE, "A call of the API is malformed.")
BODY_TOO_LARGE = ErrorCode("body-too-large", EXIT_USAGE, "The body of a call is over the limit.")
CALL_UNKNOWN = ErrorCode("call-unknown", EXIT_USAGE, "The API has no such call.")
DAEMON_RUNNING = ErrorCode("daemon-running", EXIT_UNAVAILABLE, "Another daemon of this user runs.")
DAEMON_VERSION = ErrorCode(
    "daemon-version", EXIT_SOFTWARE, "The daemon is of another version than the command."
)
HEAD_TOO_LARGE = ErrorCode("head-too-large", EXIT_USAGE, "The head of a call is over the limit.")
METHOD_UNKNOWN = ErrorCode("method-unknown", EXIT_USAGE, "The call exists with another method.")
RECORD_UNKNOWN = ErrorCode("record-unknown", EXIT_NO_INPUT, "The audit log has no such record.")
REQUEST_SLOW = ErrorCode("request-slow", EXIT_TIMEOUT, "A request did not arrive in time.")
TOKEN_REFUSED = ErrorCode(
    "token-refused", EXIT_DENIED, "The sandbox's bearer token is missing or wrong."
)

_CODES = {
    401: TOKEN_REFUSED,
    404: CALL_UNKNOWN,
    405: METHOD_UNKNOWN,
    408: REQUEST_SLOW,
    413: BODY_TOO_LARGE,
    431: HEAD_TOO_LARGE,
}
_BY_CODE = {code.name: status for status, code in _CODES.items()}
_BY_EXIT = {
    EXIT_USAGE: 400,
    64: 400,  # EX_USAGE
    EXIT_DATA: 422,
    EXIT_NO_INPUT: 404,
    EXIT_UNAVAILABLE: 503,
    EXIT_SOFTWARE: 500,
    71: 500,  # EX_OSERR
    73: 500,  # EX_CANTCREAT
    EXIT_PENDING: 409,
    EXIT_DENIED: 403,
    EXIT_CONFIG: 422,
    EXIT_TIMEOUT: 504,
}


def http_status(error: AileronError) -> int:
    """The HTTP status for an error: its own for those of the API, else by its exit status."""
    return _BY_CODE.get(error.code) or _BY_EXIT.get(error.exit_status, 409)


def error_body(error: AileronError) -> dict[str, Mapping[str, Any]]:
    """``{"error": {code, message, why, hints, exit_status}}``."""
    return {"error": {**error.to_dict(), "exit_status": error.exit_status}}


def http_problem(status: int, message: str, *, why: str = "") -> AileronError:
    """The error for a failure of HTTP itself (404, 405, 413, a head that cannot be read, …)."""
    code = _CODES.get(status) or (INTERNAL if status >= 500 else BAD_REQUEST)
    return code(message, why=why)
