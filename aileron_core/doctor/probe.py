"""A `Probe`: runs scripts in fresh sandboxes through the real ``aileron launch``."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from attrs import define, field, frozen

_RAN = "aileron-probe-runs"
"""Printed by every script first: without it the sandbox, not the script, has failed."""

_PYTHON = "command -v python3 >/dev/null || { echo no-python3; exit 0; }; exec python3 -I -c "


class CannotTry(Exception):  # noqa: N818 - an answer, not a fault
    """What a check raises when this machine does not let it try; ``mend`` says what to do."""

    def __init__(self, detail: str, mend: str = "") -> None:
        super().__init__(detail)
        self.detail = detail
        self.mend = mend


@frozen
class ProbeResult:
    """What a script in a sandbox did."""

    status: int
    """Exit status as a shell reports it."""
    output: str
    """Standard output."""
    errors: str
    """Standard error, the launch's own lines too."""

    def says(self, word: str) -> bool:
        """``word`` stands alone on a line of the output."""
        return word in self.output.split("\n")


@define(eq=False)
class Probe:
    """Starts sandboxes for checks. Every script has a sandbox of its own, gone when it returns.

    Attributes:
        image: what ``launch --image`` gets: ``host`` or a reference.
        environment: what the launching process has; nothing of it may be seen inside.
        globals: options before the mode: ``--config FILE``, ``--disable NAME``.
        state: the daemon's state directory on the host; the sandbox must not see it.
    """

    image: str
    environment: Mapping[str, str] = field(repr=False)
    state: Path
    globals: Sequence[str] = ()

    @asynccontextmanager
    async def workspace(self) -> AsyncIterator[Path]:
        """An empty directory for a sandbox to work in, removed afterwards."""
        directory = Path(tempfile.mkdtemp(prefix="aileron-doctor-"))
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    async def sh(
        self,
        script: str,
        *,
        flags: Sequence[str] = (),
        workspace: Path | None = None,
        timeout: float = 90,  # noqa: ASYNC109 - one bound for launching and running
    ) -> ProbeResult:
        """Run a POSIX shell script in a fresh sandbox.

        Args:
            script: for ``/bin/sh``; the workspace is its directory.
            flags: more options of ``launch``, for example ``("--memory", "64m")``.
            workspace: a host directory; by default an empty one.
            timeout: seconds for everything.

        Raises:
            CannotTry: the sandbox could not be launched, or took longer than ``timeout``.
        """
        if workspace is None:
            async with self.workspace() as directory:
                return await self.sh(script, flags=flags, workspace=directory, timeout=timeout)
        command = ("/bin/sh", "-c", f"echo {_RAN}\n{script}")
        argv = [*self._launch(), *flags, "--", *command]
        with trio.move_on_after(timeout) as scope:
            done = await trio.run_process(
                argv,
                cwd=workspace,
                env=dict(self.environment),
                stdin=b"",
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )
        if scope.cancelled_caught:
            raise CannotTry(f"no answer within {timeout:g} s", "aileron sessions list")
        return _judge(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr)

    async def python(self, source: str, **more: object) -> ProbeResult:
        """Run Python source in a fresh sandbox, for what a shell cannot try.

        Takes what `sh` takes.

        Raises:
            CannotTry: as `sh`; and when the image has no python3.
        """
        result = await self.sh(_PYTHON + _quoted(source), **more)  # type: ignore[arg-type]  # as sh
        if result.says("no-python3"):
            raise CannotTry(
                "the image has no python3 to try it with",
                "aileron doctor --image host (with python3 installed on this machine)",
            )
        return result

    def _launch(self) -> list[str]:
        program = [sys.executable, "-m", "aileron_core", "--quiet", *self.globals]
        return [*program, "launch", "--image", self.image]


def _quoted(text: str) -> str:
    """``text`` as one word of a POSIX shell."""
    return "'" + text.replace("'", "'\\''") + "'"


def _judge(status: int, output: str, errors: bytes) -> ProbeResult:
    said = errors.decode("utf-8", "replace")
    ran, mark, rest = output.partition(_RAN + "\n")
    if not mark:
        lines = [line for line in said.splitlines() if line.strip()]
        mend = " ".join(line.strip() for line in lines[1:])
        raise CannotTry(lines[0] if lines else f"launch exited {status} in silence", mend)
    return ProbeResult(status, ran + rest, said)
