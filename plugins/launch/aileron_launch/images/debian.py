"""Makes the archive of the base image from Debian's packages: no registry, only a package archive.

`mmdebstrap` does the work, in its own user namespace where Aileron is not root. The archive is kept
in the cache and made again only when the recipe changes.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections import deque
from contextlib import suppress
from functools import partial
from pathlib import Path
from subprocess import DEVNULL, PIPE  # noqa: TID251 - the constants that trio.run_process takes

import trio

from aileron_core.backend import Progress, Recipe, SandboxUser
from aileron_core.errors import EXIT_FAILED, EXIT_UNAVAILABLE, ErrorCode

SUITE_LABEL = "io.aileron.debian.suite"
MIRROR_LABEL = "io.aileron.debian.mirror"
PACKAGES_LABEL = "io.aileron.debian.packages"

BASE_TOOL_MISSING = ErrorCode(
    "base-tool-missing", EXIT_UNAVAILABLE, "The program that makes the base image is missing."
)
BASE_FAILED = ErrorCode("base-failed", EXIT_FAILED, "The base image could not be made.")

# Everything that carries a time gets this one: 2024-01-01. A fixed input gives a fixed archive.
_EPOCH = "1704067200"
_KEPT_LINES = 12
_LONGEST_LINE = 300
# Pages and translations that no agent reads; copyright files stay, as their licences ask.
_LEFT_OUT = ("/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/doc/*")

_making = trio.Lock()
"""One archive at a time: two would write the same one twice, and slow each other down."""


def add_user(user: SandboxUser) -> str:
    """Shell text that adds the agent's account, where there is none of that number yet."""
    return (
        f"(getent group {user.gid} || groupadd --gid {user.gid} {user.name})"
        f" && (getent passwd {user.uid} || useradd --uid {user.uid} --gid {user.gid}"
        f" --create-home --home-dir {user.home} --shell /bin/bash {user.name})"
    )


async def make_archive(
    recipe: Recipe, user: SandboxUser, progress: Progress, *, anew: bool = False
) -> None:
    """Make the archive that ``recipe.rootfs`` names when it is absent, or ``anew``.

    Raises:
        AileronError: ``base-tool-missing``, ``base-failed``.
    """
    assert recipe.rootfs is not None
    async with _making:
        if anew or not await trio.Path(recipe.rootfs).exists():
            await _make(recipe, Path(recipe.rootfs), progress, user)


async def _make(recipe: Recipe, target: Path, progress: Progress, user: SandboxUser) -> None:
    program = shutil.which("mmdebstrap")
    if program is None:
        raise BASE_TOOL_MISSING(
            "mmdebstrap is not installed",
            why="it makes the base image from Debian's packages",
            hints=["apt-get install mmdebstrap", '[launch.base] source = "registry"'],
        )
    await trio.Path(target.parent).mkdir(mode=0o700, parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    progress(f"making the base image from Debian {recipe.labels[SUITE_LABEL]} (about a minute)")
    scratch = Path(tempfile.mkdtemp(prefix="aileron-base-"))
    os.chmod(scratch, 0o711)  # noqa: S103 - apt's own user goes through it
    try:
        await _run(arguments(program, recipe, part, user), scratch, progress)
        await trio.to_thread.run_sync(part.replace, target)
    finally:
        part.unlink(missing_ok=True)
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(partial(shutil.rmtree, scratch, ignore_errors=True))


def arguments(program: str, recipe: Recipe, part: Path, user: SandboxUser) -> list[str]:
    """The command line for a recipe."""
    packages = recipe.labels[PACKAGES_LABEL].split()
    command = [program, "--variant=apt", "--format=tar", f"--include={','.join(packages)}"]
    command += [f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT]
    command += ["--dpkgopt=path-include=/usr/share/doc/*/copyright"]
    command += [f"--customize-hook=chroot \"$1\" sh -ec '{add_user(user)}'"]
    command += [recipe.labels[SUITE_LABEL], str(part)]
    mirror = recipe.labels.get(MIRROR_LABEL, "")
    return [*command, mirror] if mirror else command


async def _run(command: list[str], scratch: Path, progress: Progress) -> None:
    """Run it, telling its lines; cancelled, it is asked to clean up after itself."""
    environment = {name: os.environ[name] for name in _PASSED if name in os.environ}
    environment |= {"SOURCE_DATE_EPOCH": _EPOCH, "LC_ALL": "C.UTF-8", "TMPDIR": str(scratch)}
    last: deque[str] = deque(maxlen=_KEPT_LINES)
    async with trio.open_nursery() as nursery:
        start = partial(trio.run_process, command, check=False, env=environment)
        start = partial(start, start_new_session=True, deliver_cancel=_end)
        process: trio.Process = await nursery.start(partial(start, stdout=DEVNULL, stderr=PIPE))
        assert process.stderr is not None
        await _tell(process.stderr, progress, last)
        status = await process.wait()
    if status != 0:
        raise BASE_FAILED(
            f"mmdebstrap ended with status {status}",
            why="; ".join(last),
            hints=[
                "check that the package archive is reachable (apt-get update)",
                "name another one: [launch.base] mirror",
            ],
        )


_PASSED = ("PATH", "HOME", "http_proxy", "https_proxy", "no_proxy")
_CLEANING = 30.0
"""Seconds that it may take to unmount and remove what it made."""


async def _end(process: trio.Process) -> None:
    """End the whole group: the first process waits for its children and ignores signals itself."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with trio.move_on_after(_CLEANING):
            await process.wait()
            return


async def _tell(stream: trio.abc.ReceiveStream, progress: Progress, last: deque[str]) -> None:
    """Each line of output, without its control characters; the last ones are kept."""
    rest = b""
    async for chunk in stream:
        *lines, rest = (rest + chunk).replace(b"\r", b"\n").split(b"\n")
        rest = rest[-_LONGEST_LINE:]
        for line in lines:
            text = "".join(filter(str.isprintable, line.decode("utf-8", "replace")))[:_LONGEST_LINE]
            if text.strip():
                last.append(text.strip())
                progress(text.strip())
