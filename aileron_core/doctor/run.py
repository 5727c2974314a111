"""Runs checks, a few at a time, and gives every one an answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import trio
from attrs import frozen

from aileron_core.doctor.probe import CannotTry
from aileron_core.records import Check, CheckResult

AT_ONCE = 2
"""Sandboxes of doctor at one time: some of them fill their memory."""

LONGEST = 240.0
"""Seconds for one check; beyond that it cannot be tried."""


@frozen
class Finding:
    """A check and what it found."""

    check: Check
    result: CheckResult

    @property
    def holds(self) -> bool:
        """The protection was tried and held."""
        return self.result.verdict == "holds"

    def to_dict(self) -> dict[str, str]:
        """For ``--json``: an object with ``id`` and ``state`` like all lists."""
        return {
            "id": self.check.name,
            "state": self.result.verdict,
            "summary": self.check.summary,
            "detail": self.result.detail,
            "mend": self.result.mend,
        }


async def run_checks(
    checks: Sequence[Check], probe: Any, report: Callable[[Finding], None]
) -> list[Finding]:
    """Try every check; findings in the order of ``checks``, reported as they come."""
    limiter = trio.CapacityLimiter(AT_ONCE)
    found: dict[str, Finding] = {}

    async def one(check: Check) -> None:
        async with limiter:
            finding = Finding(check, await _try(check, probe))
        found[check.name] = finding
        report(finding)

    async with trio.open_nursery() as nursery:
        for check in checks:
            nursery.start_soon(one, check)
    return [found[check.name] for check in checks]


async def _try(check: Check, probe: Any) -> CheckResult:
    """The check's answer; one that fails in any way has not been tried."""
    try:
        with trio.fail_after(LONGEST):
            return await check.run(probe)
    except trio.TooSlowError:
        return CheckResult("cannot be tried", f"no answer within {LONGEST:g} s")
    except Exception as error:  # noqa: BLE001 - a plugin's check may fail in any way; it is named
        return _untried(error)


def _untried(error: Exception) -> CheckResult:
    """What an exception says; one alone in the group of a nursery speaks for itself."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if isinstance(error, CannotTry):
        return CheckResult("cannot be tried", error.detail, error.mend)
    return CheckResult("cannot be tried", f"the check failed: {type(error).__name__}: {error}")
