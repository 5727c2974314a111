"""Carry a change set out in the workspace, or throw it away.

Every directory is opened relative to the one before, links refused; files are written beside their
place and renamed into it, so that each is there whole or as it was. What is written belongs to the
workspace's owner and is never set-user-id.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path, PurePosixPath

from attrs import frozen

from aileron_core.cli.output import clean
from aileron_core.errors import EXIT_FAILED, EXIT_OS, ErrorCode
from aileron_core.sessions.files import remove_tree
from aileron_launch.changes.scan import Change, Changes
from aileron_launch.changes.tree import DIRECTORY, FILE, look, opened

CHANGES_CONFLICT = ErrorCode(
    "changes-conflict", EXIT_FAILED, "The workspace changed on the host since the session began."
)
CHANGES_FAILED = ErrorCode(
    "changes-failed", EXIT_OS, "A change could not be written; those before it were."
)

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 1 << 20


@frozen
class ApplyResult:
    """What was done."""

    applied: tuple[str, ...] = ()
    skipped: tuple[Change, ...] = ()


def apply_changes(
    found: Changes, upper: Path, workspace: Path, owner: tuple[int, int], *, force: bool = False
) -> ApplyResult:
    """Carry ``found`` out; without ``force`` nothing at all when there is a conflict.

    Raises:
        AileronError: ``changes-conflict``, ``changes-failed``.
    """
    if found.conflicts and not force:
        first = [clean(f"{change.path}: {change.conflict}") for change in found.conflicts[:10]]
        more = len(found.conflicts) - len(first)
        raise CHANGES_CONFLICT(
            f"{len(found.conflicts)} of {len(found.applicable)} changes need your word",
            why="; ".join([*first, *([f"and {more} more"] if more else [])]),
            hints=[
                "look: aileron sessions diff SESSION",
                "overwrite: aileron sessions apply --force SESSION",
            ],
        )
    skipped = tuple(c for c in found.changes if c.skipped)
    if not found.applicable:  # nothing was changed, or it is applied and gone
        return ApplyResult((), skipped)
    done: list[str] = []
    with opened(upper) as above, opened(workspace) as below:
        for change in found.applicable:
            try:
                _apply(change, above, below, owner)
            except OSError as error:
                raise CHANGES_FAILED(
                    f"cannot write {clean(change.path)}",
                    why=f"{error.strerror or error}; {len(done)} changes before it were written",
                    hints=["mend that and run it again: what is written already is skipped"],
                ) from error
            done.append(change.path)
    return ApplyResult(tuple(done), skipped)


def discard_changes(changes: Path) -> None:
    """Remove a session's change set, whatever the agent put in it; gone already is fine.

    Raises:
        AileronError: ``host-refused``.
    """
    remove_tree(changes)


def _apply(change: Change, above: int, below: int, owner: tuple[int, int]) -> None:
    path = PurePosixPath(change.path)
    try:
        with opened(below, str(path.parent)) as parent:
            if change.kind == "deleted" or change.replaces:
                _remove(parent, path.name)
            if change.kind != "deleted":
                with opened(above, str(path.parent)) as source:
                    _write(change, source, parent, path.name, owner)
    except OSError as error:
        gone = change.kind == "deleted" and error.errno in (errno.ENOENT, errno.ENOTDIR)
        if not gone:
            raise


def _write(change: Change, source: int, parent: int, name: str, owner: tuple[int, int]) -> None:
    if change.type == "directory":
        _make_directory(source, parent, name, owner)
    elif change.type == "link":
        _copy_link(source, parent, name, owner)
    else:
        _copy_file(source, parent, name, owner)


def _remove(parent: int, name: str) -> None:
    """Remove a file, link or directory with all it holds; no link is followed."""
    info = look(parent, name)
    if info is None:
        return
    if not stat.S_ISDIR(info.st_mode):
        os.unlink(name, dir_fd=parent)
        return
    with opened(parent, name) as directory:
        for entry in os.listdir(directory):
            _remove(directory, entry)
    os.rmdir(name, dir_fd=parent)


def _make_directory(source: int, parent: int, name: str, owner: tuple[int, int]) -> None:
    inner = os.open(name, DIRECTORY, dir_fd=source)
    try:
        mode = stat.S_IMODE(os.fstat(inner).st_mode) & 0o777
    finally:
        os.close(inner)
    info = look(parent, name)
    if info is not None and not stat.S_ISDIR(info.st_mode):
        os.unlink(name, dir_fd=parent)
        info = None
    if info is None:
        os.mkdir(name, 0o700, dir_fd=parent)
    made = os.open(name, DIRECTORY, dir_fd=parent)
    try:
        if info is None:
            os.fchown(made, *owner)
            os.fchmod(made, mode | 0o700)
    finally:
        os.close(made)


def _copy_link(source: int, parent: int, name: str, owner: tuple[int, int]) -> None:
    target = os.readlink(name, dir_fd=source)
    part = _part()
    os.symlink(target, part, dir_fd=parent)
    with _cleaning(parent, part):
        os.chown(part, *owner, dir_fd=parent, follow_symlinks=False)
        os.rename(part, name, src_dir_fd=parent, dst_dir_fd=parent)


def _copy_file(source: int, parent: int, name: str, owner: tuple[int, int]) -> None:
    given = os.open(name, FILE, dir_fd=source)
    with os.fdopen(given, "rb", buffering=0) as file:
        info = os.fstat(given)
        if not stat.S_ISREG(info.st_mode):
            raise OSError(errno.EINVAL, "it is no longer a regular file")
        part = _part()
        made = os.open(part, _NEW, 0o600, dir_fd=parent)
        with _cleaning(parent, part), os.fdopen(made, "wb") as copy:
            _copy_data(file.fileno(), copy.fileno())
            os.fchown(made, *owner)
            os.fchmod(made, stat.S_IMODE(info.st_mode) & 0o777)
            os.rename(part, name, src_dir_fd=parent, dst_dir_fd=parent)


def _copy_data(source: int, target: int) -> None:
    """A file's bytes; what are holes in it stay holes, lest a few bytes fill the disk."""
    size = os.fstat(source).st_size
    at = 0
    while at < size:
        try:
            at = os.lseek(source, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # only a hole is left
                raise
            break
        end = os.lseek(source, at, os.SEEK_HOLE)
        while at < end:
            piece = os.pread(source, min(_CHUNK, end - at), at)
            if not piece:
                raise OSError(errno.EIO, "it became shorter")
            at += os.pwrite(target, piece, at)
    os.ftruncate(target, size)


def _part() -> str:
    """A name that nothing in a workspace has."""
    return f".aileron-{secrets.token_hex(8)}.part"


class _cleaning:  # noqa: N801 - reads like a function
    """Remove the half-written file when the body fails."""

    def __init__(self, parent: int, name: str) -> None:
        self._parent, self._name = parent, name

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, _error: object, _trace: object) -> None:
        if kind is not None:
            with suppress(OSError):
                os.unlink(self._name, dir_fd=self._parent)
