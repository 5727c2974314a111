"""The mount and namespace system calls that Python has no name for, by ctypes.

Numbers are those of the generic table (include/uapi/asm-generic/unistd.h); from 424 on they are the
same on x86-64 and arm64. Every function raises OSError and lets other threads run meanwhile.
"""

from __future__ import annotations

import ctypes
import os
import struct

_LIBC = ctypes.CDLL(None, use_errno=True)

_OPEN_TREE = 428
_MOVE_MOUNT = 429
_FSOPEN = 430
_FSCONFIG = 431
_FSMOUNT = 432
_OPENAT2 = 437
_MOUNT_SETATTR = 442

AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_AT_RECURSIVE = 0x8000
_OPEN_TREE_CLONE = 1
_MOVE_F_EMPTY_PATH = 0x4
_MOVE_T_EMPTY_PATH = 0x40
_FSCONFIG_SET_STRING = 1
_FSCONFIG_CMD_CREATE = 6

MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
_MOUNT_ATTR_IDMAP = 0x100000
_MS_REC = 0x4000
_MS_PRIVATE = 0x40000

_RESOLVE_NO_MAGICLINKS = 0x2
_RESOLVE_NO_SYMLINKS = 0x4
_RESOLVE_IN_ROOT = 0x10

CLONE_FS = 0x200
CLONE_NEWNS = 0x20000
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000


def _call(number: int, *args: object) -> int:
    result = int(_LIBC.syscall(ctypes.c_long(number), *args))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _check(result: int) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def open_tree(directory: int, path: str) -> int:
    """A detached copy of the mounts at ``path`` and below, as a descriptor (open_tree(2))."""
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_RECURSIVE | (0 if path else _AT_EMPTY_PATH)
    return _call(_OPEN_TREE, directory, os.fsencode(path), flags)


def set_attributes(mount: int, attributes: int, user_namespace: int | None = None) -> None:
    """Add attributes to a detached mount and all below it; make them private (mount_setattr(2)).

    Private, so that nothing mounted on the copy can spread to the host, nor the host's to it.
    """
    if user_namespace is not None:
        attributes |= _MOUNT_ATTR_IDMAP
    record = struct.pack("<QQQQ", attributes, 0, _MS_PRIVATE, user_namespace or 0)
    _call(_MOUNT_SETATTR, mount, b"", _AT_EMPTY_PATH | _AT_RECURSIVE, record, len(record))


def move_mount(mount: int, target: int) -> None:
    """Attach a detached mount on the file or directory that ``target`` is open on."""
    _call(_MOVE_MOUNT, mount, b"", target, b"", _MOVE_F_EMPTY_PATH | _MOVE_T_EMPTY_PATH)


def new_filesystem(kind: str, options: dict[str, str], attributes: int) -> int:
    """A new file system as a detached mount (fsopen(2), fsconfig(2), fsmount(2))."""
    context = _call(_FSOPEN, kind.encode(), 1)
    try:
        for key, value in options.items():
            _call(_FSCONFIG, context, _FSCONFIG_SET_STRING, key.encode(), os.fsencode(value), 0)
        _call(_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0)
        return _call(_FSMOUNT, context, 1, attributes)
    finally:
        os.close(context)


def open_beneath(root: int, path: str, flags: int) -> int:
    """Open ``path`` as if ``root`` were ``/``; any symbolic link is ELOOP (openat2(2))."""
    resolve = _RESOLVE_IN_ROOT | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS
    how = struct.pack("<QQQ", flags | os.O_CLOEXEC, 0, resolve)
    return _call(_OPENAT2, root, os.fsencode(path), how, len(how))


def unshare(flags: int) -> None:
    """unshare(2), for the calling thread."""
    _check(_LIBC.unshare(flags))


def setns(descriptor: int, kind: int) -> None:
    """setns(2), for the calling thread."""
    _check(_LIBC.setns(descriptor, kind))


def make_mounts_private() -> None:
    """Let no mount of the calling thread's namespace spread (mount(2))."""
    _check(_LIBC.mount(None, b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None))


_CAPABILITY_VERSION_3 = 0x20080522  # linux/capability.h


def _use_all_capabilities() -> None:
    """Make every permitted capability of the calling thread effective (capset(2))."""
    header = struct.pack("<Ii", _CAPABILITY_VERSION_3, 0)
    data = ctypes.create_string_buffer(24)
    _check(_LIBC.capget(header, data))
    low, high = struct.unpack("<6I", data.raw)[1::3]
    inherited = struct.unpack("<6I", data.raw)[2::3]
    _check(
        _LIBC.capset(header, struct.pack("<6I", low, low, inherited[0], high, high, inherited[1]))
    )


def act_as(uid: int, gid: int) -> None:
    """Who the calling thread is for the file system (setfsuid(2)); verified, as it cannot fail.

    It keeps the right to write everywhere, which the kernel takes from any but root: an image may
    have directories that not even their owner may write.
    """
    _LIBC.setfsgid(gid)
    _LIBC.setfsuid(uid)
    if _LIBC.setfsuid(-1) != uid or _LIBC.setfsgid(-1) != gid:
        raise PermissionError(f"cannot act as {uid}:{gid} for the file system")
    _use_all_capabilities()
