"""Limits, tried by going past them: the kernel may take a limit and ignore it."""

from __future__ import annotations

from aileron_core.doctor.checks.verdicts import fails, holds, judge
from aileron_core.doctor.probe import CannotTry, Probe, ProbeResult
from aileron_core.records import Check, CheckResult

MEND_CGROUP = (
    "run rootful Podman, or use cgroups v2 with the controllers delegated to you "
    "(systemd: Delegate=yes)"
)

# tail keeps its input in memory: 1 MB to show that it does, then 256 MB where 64 are allowed.
_MEMORY = """
head -c 1000000 /dev/zero | tail -c 999999 | wc -c
head -c 256000000 /dev/zero | tail -c 255000000 | wc -c
"""

_PROCESSES = """
count() {
  i=0
  while [ $i -lt 96 ]; do sleep 20 & i=$((i + 1)); done
  echo "did start 96 processes"
}
sleep 0 || exit 1
(count) 2>/dev/null
echo tried
"""

_FILES = """
kept = []
try:
    while len(kept) < 70000:
        kept.append(open("/dev/null"))
    print("did open", len(kept), "files")
except OSError:
    pass
print("tried")
"""


def _unheld(refusal: CannotTry) -> CheckResult:
    """Launch refuses a limit that it was asked for and that the kernel would ignore."""
    if "does not hold on this machine" not in refusal.detail:
        raise refusal
    return fails(refusal.detail, MEND_CGROUP)


async def _memory(probe: Probe) -> CheckResult:
    """Fills 256 MB where 64 MB are allowed."""
    try:
        result = await probe.sh(_MEMORY, flags=("--memory", "64m"))
    except CannotTry as refusal:
        return _unheld(refusal)
    if not result.says("999999"):
        raise CannotTry("the image has no head, tail and wc to fill memory with")
    if result.says("255000000"):
        return fails("it filled 256 MB where 64 MB were allowed", MEND_CGROUP)
    return holds("the kernel stopped it at 64 MB")


async def _processes(probe: Probe) -> CheckResult:
    """Starts 96 processes where 48 are allowed."""
    try:
        result: ProbeResult = await probe.sh(_PROCESSES, flags=("--pids", "48"))
    except CannotTry as refusal:
        return _unheld(refusal)
    if result.says("did start 96 processes"):
        return fails("it started 96 processes where 48 were allowed", MEND_CGROUP)
    if not result.output and result.status == 1:
        raise CannotTry("the image has no sleep to start processes with")
    return holds("the kernel stopped it at 48 processes")


async def _files(probe: Probe) -> CheckResult:
    """Opens more files than any process may."""
    return judge(await probe.python(_FILES), "the kernel stopped it", "report this")


CHECKS = (
    Check("file-limit", "the limit on open files is enforced", _files),
    Check("memory-limit", "the limit on memory is enforced", _memory),
    Check("process-limit", "the limit on processes is enforced", _processes),
)
