"""Short ways to say what a check found, and to judge a script that prints what it could do."""

from __future__ import annotations

from collections.abc import Iterable

from aileron_core.doctor.probe import CannotTry, ProbeResult
from aileron_core.records import CheckResult


def holds(detail: str) -> CheckResult:
    """The forbidden thing was tried and failed."""
    return CheckResult("holds", detail)


def fails(detail: str, mend: str) -> CheckResult:
    """The forbidden thing was done."""
    return CheckResult("does not hold", detail, mend)


def lines(result: ProbeResult, prefix: str) -> list[str]:
    """What follows ``prefix`` on the output's lines that start with it."""
    return [
        line.removeprefix(prefix).strip()
        for line in result.output.splitlines()
        if line.startswith(prefix)
    ]


def judge(result: ProbeResult, fine: str, mend: str) -> CheckResult:
    """A script's own report: ``did THING`` for what it should not have been able to do.

    It must end with ``tried``: a script that broke off half way has not tried.

    Raises:
        CannotTry: the script broke off.
    """
    done = lines(result, "did ")
    if done:
        return fails(_and(done), mend)
    if not result.says("tried"):
        tail = (result.errors.strip() or result.output.strip()).splitlines()[-1:]
        raise CannotTry(f"the probe broke off with status {result.status}: {' '.join(tail)}")
    return holds(fine)


def _and(things: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(things))
