"""Is the selected image fit for an agent? Tried in a sandbox sealed like the session's own.

The answer depends on the image, the agent's program and the tier's mounts; it is kept in the cache
directory under a digest of them, so that a warm launch does not pay for it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import structlog
import trio
from attrs import asdict, evolve, frozen

from aileron_core.backend import Backend, ImageInfo, Sandbox, SandboxSpec
from aileron_core.errors import EXIT_CONFIG, EXIT_NO_INPUT, AileronError, ErrorCode
from aileron_core.paths import Paths, make_private
from aileron_core.sessions.certificates import clean_roots
from aileron_core.sessions.spec import INSIDE, OWN_TARGETS

IMAGE_UNFIT = ErrorCode("image-unfit", EXIT_CONFIG, "The image cannot run an agent.")
AGENT_NOT_FOUND = ErrorCode(
    "agent-not-found", EXIT_NO_INPUT, "The agent's program is not on PATH in the image."
)

ROOT_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Where images keep the roots they trust (as in Go's crypto/x509); the first readable counts."""
SECONDS = 60.0
LARGEST = 4 << 20
"""Bytes of output that are taken of an image."""

# Only builtins of a POSIX shell: an image need not have anything else. PATH is searched by hand
# because `command -v` also finds builtins, which no exec can start.
SCRIPT = r"""
set -f
found() {
  case $1 in
    */*) [ -f "$1" ] && [ -x "$1" ]; return ;;
  esac
  old=$IFS; IFS=:
  for dir in $PATH; do
    if [ -f "${dir:-.}/$1" ] && [ -x "${dir:-.}/$1" ]; then IFS=$old; return 0; fi
  done
  IFS=$old; return 1
}
echo "ok shell"
if [ -w "$1" ]; then echo "ok writable"; fi
if [ -r "$1" ] && [ -x "$1" ]; then echo "ok readable"; fi
if [ -r "$2" ]; then echo "ok bundle"; fi
shift 2
while [ "$1" != -- ]; do
  if found "$1"; then echo "found $1"; fi
  shift
done
shift
for file in "$@"; do
  if [ -r "$file" ]; then
    echo "roots $file"
    if found cat; then cat "$file"; else while IFS= read -r line; do echo "$line"; done <"$file"; fi
    break
  fi
done
"""

log = structlog.get_logger("aileron.sessions")


@frozen
class Fitness:
    """What was found out about an image."""

    roots: str = ""
    """The roots that the image trusts, PEM."""


@frozen
class Wanted:
    """What an image must have for a session."""

    workspace: str
    mode: Literal["rw", "ro", "overlay"]
    agent: str
    programs: tuple[str, ...] = ()


def cache_file(paths: Paths, image: ImageInfo, spec: SandboxSpec, wanted: Wanted) -> Path:
    """Where the answer for these inputs is kept.

    The workspace's own path does not count: that it is writable is seen on the host each time.
    """
    others = (
        mount for mount in spec.mounts if mount.target not in (*OWN_TARGETS, wanted.workspace)
    )
    tier = [asdict(mount) for mount in others if mount.kind == "bind"]
    inputs = [SCRIPT, image.id, wanted.agent, wanted.programs, spec.env["PATH"], tier]
    digest = hashlib.sha256(json.dumps([*inputs, asdict(spec.user)], default=str).encode())
    return paths.cache / "images" / f"{digest.hexdigest()[:32]}.json"


def read_cache(file: Path) -> Fitness | None:
    """An earlier answer, if it is there and whole."""
    try:
        return Fitness(**json.loads(file.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def write_cache(file: Path, fitness: Fitness) -> None:
    """Keep an answer; a disk that is full only costs the next launch its time."""
    try:
        make_private(file.parent.parent)
        make_private(file.parent)
        fresh = file.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(fitness)))
        fresh.replace(file)
    except OSError as error:
        log.warning("an image's fitness is not cached", error=str(error))


async def try_image(backend: Backend, spec: SandboxSpec, wanted: Wanted) -> Fitness:
    """Run the script in a sandbox like ``spec``'s, and judge what it says.

    Raises:
        AileronError: ``image-unfit`` or ``agent-not-found``, naming what failed and the mend.
    """
    names = (wanted.agent, *wanted.programs)
    places = (wanted.workspace, f"{INSIDE}/ca-bundle.pem")
    argv = ("/bin/sh", "-c", SCRIPT, "aileron-probe", *places, *names, "--", *ROOT_BUNDLES)
    probe = evolve(spec, session=f"{spec.session}-probe", argv=argv, tty=False, stdin=False)
    sandbox = await backend.create(probe)
    try:
        output, complaint = await _run(backend, sandbox)
    except AileronError as error:
        raise _no_shell(spec.image, f"{error.message}. {error.why}") from error
    finally:
        with trio.CancelScope(shield=True):
            await backend.remove(sandbox)
    return judge(spec.image, wanted, output, complaint)


async def _run(backend: Backend, sandbox: Sandbox) -> tuple[bytes, bytes]:
    """What the probe prints on both channels; what takes too long or is too much is cut off."""
    output = {1: bytearray(), 2: bytearray()}
    stream = await backend.open(sandbox)
    try:
        with trio.move_on_after(SECONDS):
            while (piece := await stream.receive()) is not None:
                output[piece[0]] += piece[1]
                if sum(map(len, output.values())) > LARGEST:
                    break
    finally:
        with trio.CancelScope(shield=True):
            await stream.aclose()
    return bytes(output[1]), bytes(output[2])


def judge(image: str, wanted: Wanted, output: bytes, complaint: bytes = b"") -> Fitness:
    """What the script's output means; the bytes come from the image and are not trusted.

    Raises:
        AileronError: ``image-unfit`` or ``agent-not-found``.
    """
    head, _, roots = output.partition(b"\nroots ")
    said = set(head.decode(errors="replace").split("\n"))
    if "ok shell" not in said:
        last = complaint.decode(errors="replace").strip().rpartition("\n")[2][:200]
        raise _no_shell(image, last or "it printed nothing of what it was told to")
    if ("ok readable" if wanted.mode == "ro" else "ok writable") not in said:
        raise unwritable(wanted)
    if "ok bundle" not in said:
        raise IMAGE_UNFIT(
            f"the image {image} hides {INSIDE}",
            why="its user cannot read the session's CA bundle",
            hints=["aileron doctor", "choose another image (--image)"],
        )
    _require(image, wanted, said)
    return Fitness(clean_roots(roots.partition(b"\n")[2]).decode())


def _require(image: str, wanted: Wanted, said: set[str]) -> None:
    if f"found {wanted.agent}" not in said:
        raise AGENT_NOT_FOUND(
            f"{wanted.agent!r} is not in the image {image}",
            why="it is not on PATH there, or not executable",
            hints=[
                "aileron launch --build always … builds an image with the agent in it",
                "aileron launch --image host … uses what is installed on this machine",
            ],
        )
    missing = [name for name in wanted.programs if f"found {name}" not in said]
    if missing:
        raise IMAGE_UNFIT(
            f"the image {image} lacks {', '.join(missing)}",
            why="a plugin of this session needs it",
            hints=["add it to the image", "leave the plugin out (aileron --disable NAME launch …)"],
        )


def _no_shell(image: str, why: str) -> AileronError:
    return IMAGE_UNFIT(
        f"the image {image} does not run /bin/sh",
        why=why,
        hints=["choose an image with a shell (--image)", "aileron sandbox check"],
    )


def unwritable(wanted: Wanted) -> AileronError:
    """The error for a workspace that the agent cannot use."""
    verb = "read" if wanted.mode == "ro" else "write"
    hints: Sequence[str] = [f"check owner and mode of {wanted.workspace} (ls -ld)"]
    if wanted.mode != "ro":
        hints = [*hints, "or launch with --workspace overlay"]
    return IMAGE_UNFIT(
        f"the agent cannot {verb} the workspace {wanted.workspace}",
        why="its owner has not the rights, or the path leads through the image's own files",
        hints=hints,
    )


def writable_by_owner(workspace: Path) -> bool:
    """The workspace's owner, which the agent is inside, may write it."""
    return bool(workspace.stat().st_mode & 0o200)
