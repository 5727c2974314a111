"""What people type as ``--mount``, ``--env``, ``--publish`` and ``--name``, checked. Pure but for
looking at the mounts' sources.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from attrs import frozen

from aileron_core.backend import Mount, PortMapping
from aileron_core.errors import EXIT_NO_INPUT, EXIT_USAGE, AileronError, ErrorCode
from aileron_launch.images.locate import KEYS
from aileron_launch.workspace import Surroundings

OPTION_INVALID = ErrorCode(
    "option-invalid", EXIT_USAGE, "An option's value is not one that can be used."
)
MOUNT_MISSING = ErrorCode("mount-missing", EXIT_NO_INPUT, "The source of a mount does not exist.")
MOUNT_REFUSED = ErrorCode(
    "mount-refused", EXIT_USAGE, "A mount would open the sandbox or hide its protections."
)

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_.-]{0,61}[a-z0-9])?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

RESERVED_VARIABLES = (
    "LD_PRELOAD", "LD_AUDIT", "LD_LIBRARY_PATH", "HOME", "USER", "LOGNAME", "HOSTNAME",
)  # fmt: skip
"""Besides ``AILERON_…``: they would break the sandbox's helpers, or say what is not so."""
_SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|PRIVATE_KEY|CREDENTIAL", re.IGNORECASE)

# Sources that are never shown: the kernel's interfaces and what controls the machine.
_SOURCE_TREES = ("/proc", "/sys", "/dev", "/run", "/var/run", "/boot")
_SOURCE_PLACES = ("/", "/etc", "/home", "/root", "/var", "/var/lib")
_SOURCE_FILES = ("/etc/shadow", "/etc/gshadow", "/etc/sudoers")
_TARGET_TREES = ("/proc", "/sys", "/dev", "/run/aileron", "/etc/aileron")
_TARGET_PLACES = (
    "/", "/bin", "/etc", "/home", "/lib", "/lib64", "/run", "/sbin", "/usr", "/usr/bin", "/usr/lib",
    "/etc/passwd", "/etc/group", "/etc/hosts", "/etc/resolv.conf", "/etc/ld.so.cache",
    "/etc/ld.so.preload",
)  # fmt: skip


@frozen
class Place:
    """Where mounts are given from and what they must not touch."""

    cwd: str
    workspace: Path
    owner: tuple[int, int]
    around: Surroundings


def parse_mount(text: str, place: Place) -> tuple[Mount, str]:
    """A ``--mount``, and a warning about it or "".

    Raises:
        AileronError: ``option-invalid``, ``mount-missing``, ``mount-refused``.
    """
    given, target, mode = split_mount(text)
    if given == "~" or given.startswith("~/"):
        given = str(place.around.home) + given[1:]
    absolute = os.path.normpath(os.path.join(place.cwd, given))
    try:
        source = Path(os.path.realpath(absolute, strict=True))
        info = source.stat()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise MOUNT_MISSING(f"the source of --mount {text!r} cannot be used", why=why) from None
    if not (stat.S_ISDIR(info.st_mode) or stat.S_ISREG(info.st_mode)):
        raise _refused(text, "it is a socket, a device or a pipe, not a file or directory")
    target = os.path.normpath(target or absolute)
    read_only = mode != "rw"
    reason = _source_refusal(source, place, read_only) or _target_refusal(target, place)
    if reason:
        raise _refused(text, reason)
    mount = Mount(
        target,
        source=str(source),
        read_only=read_only,
        map_owner=info.st_uid == place.owner[0],
        owner=place.owner if info.st_uid == place.owner[0] else None,
    )
    return mount, _warning(source)


def split_mount(text: str) -> tuple[str, str, str]:
    """``SOURCE[:TARGET[:ro|rw]]`` in three parts; also ``SOURCE:ro``.

    Raises:
        AileronError: ``option-invalid``.
    """
    parts = text.split(":")
    mode = parts.pop() if len(parts) > 1 and parts[-1] in ("ro", "rw") else "ro"
    good = 1 <= len(parts) <= 2 and all(parts) and text.isprintable()
    if not good or (len(parts) == 2 and not parts[1].startswith("/")):
        raise OPTION_INVALID(
            f"--mount {text!r} cannot be read",
            why="it is SOURCE[:TARGET[:ro|rw]], with an absolute target",
            hints=["for example --mount ~/reference:/srv/reference:ro"],
        )
    return parts[0], (parts[1] if len(parts) == 2 else ""), mode


def _refused(text: str, why: str) -> AileronError:
    return MOUNT_REFUSED(
        f"--mount {text!r} is refused", why=why, hints=["mount the one directory that is needed"]
    )


def _source_refusal(source: Path, place: Place, read_only: bool) -> str:
    around = place.around
    home = Path(os.path.realpath(around.home))
    if str(source) in _SOURCE_PLACES or any(source.is_relative_to(tree) for tree in _SOURCE_TREES):
        return f"{source} belongs to the system or controls it"
    if str(source) in _SOURCE_FILES:
        return f"{source} holds secrets of the machine"
    if home.is_relative_to(source):
        return "it holds the home directory: keys, mail and every project would be in the sandbox"
    for private in around.private:
        if source.is_relative_to(private) or private.is_relative_to(source):
            return f"it holds or lies in {private}, which is Aileron's own"
    inside = source.is_relative_to(place.workspace) or place.workspace.is_relative_to(source)
    if inside and not read_only:
        return "it overlaps the workspace, whose protected paths could be written through it"
    return ""


def _target_refusal(target: str, place: Place) -> str:
    path = PurePosixPath(target)
    if target in _TARGET_PLACES or any(path.is_relative_to(tree) for tree in _TARGET_TREES):
        return f"nothing may be mounted at {target} in a sandbox"
    if place.workspace.is_relative_to(path):
        return "it would hide the workspace"
    return ""


def _warning(source: Path) -> str:
    if any(part in KEYS for part in source.parts) or any((source / key).exists() for key in KEYS):
        return f"{source} holds keys, which the agent can read"
    return ""


# --- environment ------------------------------------------------------------------------------


def check_environment(variables: Mapping[str, str]) -> tuple[str, ...]:
    """Warnings about variables for the agent.

    Raises:
        AileronError: ``option-invalid`` for a name that is malformed or reserved. Values are never
            part of a message.
    """
    for name, value in variables.items():
        if not _VARIABLE.fullmatch(name):
            raise OPTION_INVALID(f"{name!r} is not a variable's name")
        if name.startswith("AILERON_") or name in RESERVED_VARIABLES:
            raise OPTION_INVALID(
                f"the variable {name} cannot be set",
                why="Aileron sets it, or it would break helpers",
            )
        if "\0" in value:
            raise OPTION_INVALID(f"the value of {name} holds a NUL")
    secret = sorted(name for name in variables if _SECRET.search(name))
    return tuple(f"{name} looks like a secret, which the agent can read" for name in secret)


# --- ports and names --------------------------------------------------------------------------


def parse_publish(text: str) -> PortMapping:
    """``[HOST:]PORT``; without a host port any free one is taken. Always on loopback.

    Raises:
        AileronError: ``option-invalid``.
    """
    host, _, sandbox = text.rpartition(":")
    if not (sandbox.isascii() and sandbox.isdigit() and (not host or host.isascii())):
        raise _bad_port(text)
    if host and not host.isdigit():
        raise _bad_port(text)
    mapping = PortMapping(int(sandbox[:6]), int(host[:6] or 0))
    if not (0 < mapping.sandbox < 65536 and 0 <= mapping.host < 65536):
        raise _bad_port(text)
    return mapping


def _bad_port(text: str) -> AileronError:
    return OPTION_INVALID(
        f"--publish {text!r} cannot be read",
        why="it is PORT or HOSTPORT:PORT, each from 1 to 65535, always on the host's loopback",
    )


def check_name(name: str) -> str:
    """A session's name.

    Raises:
        AileronError: ``option-invalid``.
    """
    if not _NAME.fullmatch(name):
        raise OPTION_INVALID(
            f"--name {name!r} cannot be used",
            why="a name has 1 to 63 of a-z, 0-9, '.', '_' and '-', and starts and ends with one of "
            "the first two",
        )
    return name
