"""Errors as data: what happened, why, what to do now, a stable code, an exit status.

One shape serves people (`aileron: what. why. mend. [code]`), `--json` and the API. A module that
can fail declares its codes once, at import, with `ErrorCode`; `docs/errors.md` lists every one, by
test.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

# Exit statuses of the contract (docs/contract.md). 64-78 are those of sysexits.h (BSD).
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_DATA = 65  # EX_DATAERR: the input (a file, a record) is malformed
EXIT_NO_INPUT = 66  # EX_NOINPUT: a file or agent that was named does not exist
EXIT_UNAVAILABLE = 69  # EX_UNAVAILABLE: no daemon, no backend
EXIT_SOFTWARE = 70  # EX_SOFTWARE: a fault of Aileron's own
EXIT_OS = 71  # EX_OSERR: the kernel or the machine refused (full disk, no user namespace)
EXIT_CANNOT_CREATE = 73  # EX_CANTCREAT
EXIT_PENDING = 75  # EX_TEMPFAIL: still pending, try again
EXIT_DENIED = 77  # EX_NOPERM: denied by policy or a person
EXIT_CONFIG = 78  # EX_CONFIG
EXIT_TIMEOUT = 124  # as timeout(1)
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as sh(1)


class AileronError(Exception):
    """A failure that a person can act on.

    Attributes:
        code: the stable code, for example ``image-missing``.
        message: what happened, one sentence, no trailing full stop, never a secret.
        why: the cause, or "" when the message says it all.
        hints: what to do now, one action each, most likely mend first.
        exit_status: what the command exits with (0..255).
    """

    def __init__(
        self, code: ErrorCode, message: str, *, why: str = "", hints: Iterable[str] = ()
    ) -> None:
        super().__init__(message)
        self.code = code.name
        self.message = message
        self.why = why
        self.hints = tuple(hints)
        self.exit_status = code.exit_status

    def with_hints(self, hints: Iterable[str]) -> AileronError:
        """The same error with more hints at the end (from `aileron_error_hints`)."""
        self.hints = (*self.hints, *hints)
        return self

    def to_dict(self) -> dict[str, Any]:
        """``{"code", "message", "why", "hints"}``: the object under ``error`` in JSON."""
        return {
            "code": self.code,
            "message": self.message,
            "why": self.why,
            "hints": list(self.hints),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], exit_status: int = EXIT_FAILED) -> AileronError:
        """The error that another process reported; an unknown code keeps its name.

        ``exit_status`` serves only for a code this process has not declared and the sender sent
        no ``exit_status`` for.
        """
        name = str(data.get("code", "unknown"))
        code = ErrorCode.registry.get(name)
        error = cls.__new__(cls)
        Exception.__init__(error, str(data.get("message", "")))
        error.code = name
        error.message = str(data.get("message", ""))
        error.why = str(data.get("why", ""))
        error.hints = tuple(str(hint) for hint in data.get("hints", ()))
        error.exit_status = (
            code.exit_status if code is not None else int(data.get("exit_status", exit_status))
        )
        return error


class ErrorCode:
    """A stable error code with its exit status, declared once; calling it makes the error.

    Example::

        IMAGE_MISSING = ErrorCode("image-missing", 66, "The image is not on this machine.")
        raise IMAGE_MISSING(f"no image {ref}", hints=["aileron sandbox build"])

    Raises:
        ValueError: the name is declared already.
    """

    registry: ClassVar[dict[str, ErrorCode]] = {}

    def __init__(self, name: str, exit_status: int, summary: str) -> None:
        if name in self.registry:
            raise ValueError(f"error code {name!r} is declared twice")
        self.name = name
        self.exit_status = exit_status
        self.summary = summary
        self.registry[name] = self

    def __call__(self, message: str, *, why: str = "", hints: Iterable[str] = ()) -> AileronError:
        """An error of this code, to be raised."""
        return AileronError(self, message, why=why, hints=hints)

    def __repr__(self) -> str:
        return f"ErrorCode({self.name!r}, {self.exit_status})"


INTERNAL = ErrorCode("internal", EXIT_SOFTWARE, "A fault in Aileron itself; please report it.")
INTERRUPTED = ErrorCode("interrupted", EXIT_INTERRUPTED, "Ended by Ctrl-C or a signal.")
