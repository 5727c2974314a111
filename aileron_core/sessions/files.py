"""A session's directory on the host, and what of it the sandbox sees under ``/run/aileron``.

``Paths.session_runtime(id)/inside`` is mounted there read-only: certificates, the token, ``bin/``,
``tools.txt`` and what plugins add. The token itself is kept nowhere else; its SHA-256 is in the
database.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import secrets
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from attrs import frozen

from aileron_core.errors import EXIT_CONFIG, EXIT_OS, AileronError, ErrorCode
from aileron_core.paths import make_private
from aileron_core.records import HelperFile
from aileron_core.sessions.certificates import CERTIFICATES_BROKEN

HELPER_INVALID = ErrorCode(
    "helper-invalid", EXIT_CONFIG, "A plugin's helper file has a path that cannot be used."
)
HOST_REFUSED = ErrorCode(
    "host-refused", EXIT_OS, "The machine refused what a session needs: full disk, no rights."
)

TOKEN_BYTES = 32
RESERVED = frozenset({"ca.pem", "ca-bundle.pem", "token", "bin"})
"""Names under /run/aileron that no plugin may give."""


@frozen
class SessionFiles:
    """The directories of one session."""

    root: Path

    @property
    def inside(self) -> Path:
        """What the sandbox sees as ``/run/aileron``."""
        return self.root / "inside"

    @property
    def seen(self) -> tuple[Path, ...]:
        """Files that sandboxes need to exist before they are created."""
        return (self.inside, self.inside / "tools.txt")


def new_token() -> str:
    """A session's token: 256 random bits, URL-safe text."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def token_digest(token: str) -> str:
    """SHA-256 of a token, in hexadecimal: what is stored and compared."""
    return hashlib.sha256(token.encode()).hexdigest()


def write_files(
    files: SessionFiles,
    *,
    token: str,
    ca: bytes,
    roots: bytes,
    tools: str,
    helpers: Iterable[HelperFile],
) -> None:
    """Make the session's directory and everything in it.

    Raises:
        AileronError: ``host-refused`` (a full disk), ``helper-invalid``, ``certificates-broken``.
    """
    with host_errors(f"write the session's files in {files.root}"):
        make_private(files.root.parent)
        files.root.mkdir(mode=0o700)
        files.inside.mkdir(mode=0o755)
        (files.inside / "bin").mkdir(mode=0o755)
        _write(files.inside / "token", token.encode(), 0o400)
        _write(files.inside / "ca.pem", ca, 0o444)
        _write(files.inside / "tools.txt", tools.encode(), 0o444)
        write_bundle(files, roots, ca)
        for helper in helpers:
            _write_helper(files.inside, helper)
        # Last, so that a umask of the daemon's cannot have taken the reading away.
        for directory in (files.inside, files.inside / "bin"):
            directory.chmod(0o755)


def write_bundle(files: SessionFiles, roots: bytes, ca: bytes) -> None:
    """``ca-bundle.pem``: the image's own roots and the session's CA, read back and compared."""
    target = files.inside / "ca-bundle.pem"
    content = roots + ca
    with host_errors(f"write {target}"):
        target.unlink(missing_ok=True)
        _write(target, content, 0o444)
        if target.read_bytes() != content or b"\0" in content:
            raise CERTIFICATES_BROKEN(f"{target} does not hold what was written")


def remove_tree(directory: Path) -> None:
    """Remove a directory with everything in it; gone already is fine.

    A sandbox may have filled it: what is nested deeply or without permissions goes away as well.

    Raises:
        AileronError: ``host-refused`` when something of it stays.
    """
    with contextlib.suppress(OSError):
        top = os.open(directory, _DIRECTORY)
        try:
            _empty(top)
        finally:
            os.close(top)
        os.rmdir(directory)
    if os.path.lexists(directory) and os.getuid() != 0:
        _remove_as_mapped_root(directory)
    if os.path.lexists(directory):
        raise HOST_REFUSED(f"{directory} cannot be removed", hints=[f"rm -rf {directory}"])


def _remove_as_mapped_root(directory: Path) -> None:
    """Remove what belongs to a plain user's subordinate ids, in a user namespace that has them.

    The kernel keeps whiteouts of an overlay's root in its work directory. This runs in a worker
    thread, so it may wait. Source: unshare(1), `--map-auto`, util-linux 2.38.
    """
    words = ["unshare", "--user", "--map-auto", "--map-root-user", "rm", "-rf", "--"]
    path = "/usr/sbin:/usr/bin:/sbin:/bin"
    program = shutil.which(words[0], path=path)
    if program is None:
        return
    child = os.posix_spawn(program, [*words, str(directory)], {"PATH": path})
    os.waitpid(child, 0)


_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def _empty(top: int) -> None:
    """Remove all that an open directory holds.

    Directories below are moved up into it before they are emptied: neither the stack nor paths nor
    descriptors grow with how deep they are nested. Nothing else may be using it.
    """
    for number in itertools.count():
        names = os.listdir(top)
        if not names:
            return
        for name in names:
            _empty_one(top, name, f"{number}-{secrets.token_hex(4)}")


def _empty_one(top: int, name: str, fresh: str) -> None:
    """Remove an entry of ``top``; what a directory holds in directories becomes entries of it."""
    if not stat.S_ISDIR(os.stat(name, dir_fd=top, follow_symlinks=False).st_mode):
        os.unlink(name, dir_fd=top)
        return
    if _removed_empty(name, top):
        return
    with contextlib.suppress(OSError):  # somebody else's, which root need not change
        os.chmod(name, 0o700, dir_fd=top)
    inner = os.open(name, _DIRECTORY, dir_fd=top)
    try:
        for number, entry in enumerate(os.listdir(inner)):
            info = os.stat(entry, dir_fd=inner, follow_symlinks=False)
            if not stat.S_ISDIR(info.st_mode):
                os.unlink(entry, dir_fd=inner)
                continue
            if _removed_empty(entry, inner):
                continue
            with contextlib.suppress(OSError):  # moving a directory writes to it
                os.chmod(entry, 0o700, dir_fd=inner)
            os.rename(entry, f"{fresh}-{number}", src_dir_fd=inner, dst_dir_fd=top)
    finally:
        os.close(inner)
    os.rmdir(name, dir_fd=top)


def _removed_empty(name: str, parent: int) -> bool:
    """Remove a directory that is empty, without looking inside or moving it.

    An overlay's work directory belongs to its mapped root, whom a plain user may not touch.
    """
    try:
        os.rmdir(name, dir_fd=parent)
    except OSError:
        return False
    return True


class host_errors(contextlib.AbstractContextManager[None]):  # noqa: N801 - reads like a function
    """An `OSError` inside becomes ``host-refused``, which says what was being done."""

    def __init__(self, doing: str) -> None:
        self._doing = doing

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, OSError):
            raise host_refused(self._doing, error) from error


def host_refused(doing: str, error: OSError) -> AileronError:
    """The error for an `OSError` that happened while ``doing``."""
    place = error.filename or "the disk"
    hints = {
        28: [f"free space on the file system of {place} (df -h)"],  # ENOSPC
        122: [f"free space within your quota on the file system of {place}"],  # EDQUOT
        30: [f"make the file system of {place} writable"],  # EROFS
        13: [f"check the owner and mode of {place}"],  # EACCES
        24: ["raise the limit of open files (ulimit -n) and restart the daemon"],  # EMFILE
    }.get(error.errno or 0, ["aileron doctor"])
    return HOST_REFUSED(f"cannot {doing}", why=error.strerror or str(error), hints=hints)


def _write(path: Path, content: bytes, mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(path, flags, mode), "wb") as file:
        file.write(content)
        os.fchmod(file.fileno(), mode)


def _write_helper(inside: Path, helper: HelperFile) -> None:
    path = PurePosixPath(helper.path)
    if path.is_absolute() or ".." in path.parts or not path.parts or str(path) in RESERVED:
        raise HELPER_INVALID(
            f"a plugin gives the helper file {helper.path!r}, which is not allowed"
        )
    target = inside / path
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    _write(target, helper.content, helper.mode & 0o777)
