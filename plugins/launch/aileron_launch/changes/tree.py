"""Looking at files below a directory that somebody hostile wrote: descriptors, never paths."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK

_XATTR_NAMESPACE = "trusted" if os.geteuid() == 0 else "user"
"""Of the attributes in which overlayfs says what it did, for overlays of root and of other users.

Only this one: in an overlay of root the agent may set attributes of the other as it likes.
"""


@contextmanager
def opened(directory: int | Path, relative: str = "") -> Iterator[int]:
    """A descriptor of a directory below ``directory``; a link on the way is an `OSError`."""
    descriptor = os.open(directory, DIRECTORY) if isinstance(directory, Path) else os.dup(directory)
    try:
        for part in PurePosixPath(relative).parts:
            inner = os.open(part, DIRECTORY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def look(directory: int, name: str) -> os.stat_result | None:
    """What ``name`` in an open directory is; None when it is not there."""
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None


def look_at(root: int, path: str) -> os.stat_result | None:
    """What ``path`` below an open directory is; None when it, or a directory on the way, is not."""
    pure = PurePosixPath(path)
    try:
        with opened(root, str(pure.parent)) as parent:
            return look(parent, pure.name)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise


def is_whiteout(directory: int, name: str, info: os.stat_result) -> bool:
    """Overlayfs's mark for "deleted": character device 0/0, or an empty file with an attribute."""
    if stat.S_ISCHR(info.st_mode):
        return info.st_rdev == 0
    if stat.S_ISREG(info.st_mode) and info.st_size == 0:
        return attribute(directory, name, "whiteout") is not None
    return False


def attribute(directory: int, name: str, key: str) -> bytes | None:
    """An ``overlay.KEY`` attribute of a file or directory (not of links); None when it has none.

    ``name`` is opened, not named, so that what is asked about is what is there.
    """
    try:
        descriptor = os.open(name, FILE, dir_fd=directory)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.ENOENT):
            return None
        raise
    try:
        return descriptor_attribute(descriptor, key)
    finally:
        os.close(descriptor)


def descriptor_attribute(descriptor: int, key: str) -> bytes | None:
    """Like `attribute`, of something that is open."""
    try:
        return os.getxattr(descriptor, f"{_XATTR_NAMESPACE}.overlay.{key}")
    except OSError as error:
        if error.errno not in (errno.ENODATA, errno.EOPNOTSUPP, errno.EPERM):
            raise
    return None


def read_file(root: int, path: str, most: int) -> tuple[bytes, os.stat_result] | None:
    """A regular file's first ``most`` bytes and its facts; None when it is no regular file."""
    pure = PurePosixPath(path)
    try:
        with opened(root, str(pure.parent)) as parent:
            descriptor = os.open(pure.name, FILE, dir_fd=parent)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO):
            return None
        raise
    with os.fdopen(descriptor, "rb") as file:
        info = os.fstat(file.fileno())
        return (file.read(most), info) if stat.S_ISREG(info.st_mode) else None


def read_link(root: int, path: str) -> str | None:
    """Where a link points; None when it is none."""
    pure = PurePosixPath(path)
    try:
        with opened(root, str(pure.parent)) as parent:
            return os.readlink(pure.name, dir_fd=parent)
    except OSError:
        return None


def same_content(one: tuple[int, str], other: tuple[int, str]) -> bool:
    """Whether two regular files, each a name in an open directory, hold the same bytes."""
    first = os.open(one[1], FILE, dir_fd=one[0])
    with os.fdopen(first, "rb") as left:
        second = os.open(other[1], FILE, dir_fd=other[0])
        with os.fdopen(second, "rb") as right:
            if os.fstat(first).st_size != os.fstat(second).st_size:
                return False
            while True:
                chunk = left.read(1 << 20)
                if chunk != right.read(1 << 20):
                    return False
                if not chunk:
                    return True
