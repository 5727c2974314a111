"""Which directory may be a workspace, and which of its paths are never writable."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from attrs import frozen

from aileron_core.errors import EXIT_CONFIG, EXIT_NO_INPUT, EXIT_USAGE, ErrorCode
from aileron_launch.gitdir import bare_paths, git_indirections, locks

WORKSPACE_MISSING = ErrorCode(
    "workspace-missing", EXIT_NO_INPUT, "The workspace does not exist or cannot be entered."
)
WORKSPACE_REFUSED = ErrorCode(
    "workspace-refused", EXIT_USAGE, "The directory must not be given to a sandbox as a workspace."
)
PROTECTED_LINK = ErrorCode(
    "protected-link", EXIT_CONFIG, "A path that is never writable is a symbolic link."
)
PROTECTED_INVALID = ErrorCode(
    "protected-invalid", EXIT_CONFIG, "A never-writable path does not lie inside the workspace."
)

# Whole trees of the system: never a workspace, nor anything below them.
_SYSTEM_TREES = (
    "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/run",
    "/sbin", "/sys", "/usr/bin", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/sbin",
    "/usr/share", "/var/lib", "/var/log", "/var/run",
)  # fmt: skip
# Only the directory itself: what lies below may be somebody's project.
_SYSTEM_PLACES = (
    "/", "/home", "/media", "/mnt", "/opt", "/root", "/srv", "/usr", "/usr/local", "/usr/src",
    "/var", "/var/cache", "/tmp", "/var/tmp",  # noqa: S108 - refused, not used
)  # fmt: skip
# Directories of a home that hold keys or what runs at log-in.
_PERSONAL = (
    ".ssh", ".gnupg", ".aws", ".azure", ".kube", ".docker", ".config", ".local", ".cache",
    ".password-store", ".mozilla",
)  # fmt: skip


@frozen
class Surroundings:
    """What of the host must stay out of every sandbox."""

    home: Path
    private: tuple[Path, ...]
    """Aileron's own directories."""


def check_workspace(cwd: str, around: Surroundings, uid: int) -> Path:
    """The workspace's real path.

    Raises:
        AileronError: ``workspace-missing``, ``workspace-refused``.
    """
    try:
        path = Path(os.path.realpath(cwd, strict=True))
        info = path.stat()
    except (OSError, ValueError) as error:
        raise WORKSPACE_MISSING(
            f"the workspace {cwd!r} cannot be used",
            why=getattr(error, "strerror", None) or str(error),
            hints=["change to the directory of your project and launch again"],
        ) from None
    if not stat.S_ISDIR(info.st_mode):
        raise WORKSPACE_MISSING(f"the workspace {path} is not a directory")
    reason = refusal(path, around)
    if reason:
        raise WORKSPACE_REFUSED(
            f"{path} cannot be the workspace",
            why=reason,
            hints=["change to the directory of one project and launch again"],
        )
    if not os.access(path, os.R_OK | os.X_OK):
        raise WORKSPACE_MISSING(f"the workspace {path} cannot be read", why="permission denied")
    if uid not in (0, info.st_uid) and not os.access(path, os.W_OK):
        raise WORKSPACE_REFUSED(
            f"{path} belongs to another user",
            why="what the agent writes there could not belong to you",
            hints=["launch with --workspace ro or overlay from a copy of your own"],
        )
    return path


def refusal(path: Path, around: Surroundings) -> str:
    """Why ``path`` (real) may not be a workspace; "" when it may."""
    text = str(path)
    if not text.isprintable():
        return "its path has control characters or bytes that are not UTF-8"
    if text in _SYSTEM_PLACES or any(path.is_relative_to(tree) for tree in _SYSTEM_TREES):
        return "it belongs to the system"
    home = Path(os.path.realpath(around.home))
    if path == home:
        return "it is the home directory: keys, mail and every project would be in the sandbox"
    if home.is_relative_to(path):
        return "it holds the home directory"
    if any(path.is_relative_to(home / name) for name in _PERSONAL):
        return "it holds keys or settings of yours"
    for private in around.private:
        if path.is_relative_to(private) or private.is_relative_to(path):
            return f"it holds or lies in {private}, which is Aileron's own"
    return ""


# --- never writable ---------------------------------------------------------------------------


@frozen
class Protection:
    """The never-writable paths of one workspace, and what to say about them."""

    paths: tuple[str, ...]
    notes: tuple[str, ...] = ()


def protect(
    workspace: Path,
    always: Iterable[str],
    if_present: Iterable[str] = (),
    without: Iterable[str] = (),
    *,
    check: bool = True,
) -> Protection:
    """Which paths of this workspace to protect, given what it holds now.

    A workspace without ``.git`` gets an empty, read-only one: a repository made in the sandbox
    would bring its own hooks. Where ``.git`` is a file (a linked worktree, a submodule), the file
    itself is protected, so that it cannot be pointed elsewhere. Where the workspace itself is a
    bare repository, so is what it runs. Without ``check`` the paths are told even if one of them
    could not be protected now.

    Raises:
        AileronError: ``protected-link``, ``protected-invalid``.
    """
    dropped = {_plain(item) for item in without}
    wanted = [item for item in always if _plain(item) not in dropped]
    for item in if_present:
        if _plain(item) not in dropped and os.path.lexists(workspace / item):
            wanted.append(item)
    notes: list[str] = []
    git = workspace / ".git"
    if not git.is_dir() and any(_is_git(item) for item in wanted):
        wanted = [item for item in wanted if not _is_git(item)] + [".git/"]
        notes.append(_git_note(git))
    else:
        wanted += [item for item in git_indirections(workspace) if _plain(item) not in dropped]
        wanted += locks(wanted)
    wanted += [item for item in bare_paths(workspace) if _plain(item) not in dropped]
    paths = tuple(dict.fromkeys(wanted))
    for item in paths if check else ():
        _check_protected(workspace, item)
    return Protection(paths, tuple(notes))


def _plain(item: str) -> str:
    return str(PurePosixPath(item))


def _is_git(item: str) -> bool:
    return PurePosixPath(item).parts[:1] == (".git",)


def _git_note(git: Path) -> str:
    if git.is_file():
        return (
            "the workspace is a linked worktree or a submodule: its history lies elsewhere, so git "
            "does not work in the sandbox unless that is mounted too"
        )
    return "the workspace is no Git repository, and none can be made in it from the sandbox"


def _check_protected(workspace: Path, item: str) -> None:
    """Refuse paths outside the workspace, and links: a mount cannot hold a link in place."""
    parts = PurePosixPath(item).parts
    if item.startswith("/") or ".." in parts or not parts or not item.isprintable():
        raise PROTECTED_INVALID(
            f"the protected path {item!r} is not inside the workspace",
            hints=["write it relative to the workspace, without '..'"],
        )
    here = workspace
    for part in parts:
        here = here / part
        if here.is_symlink():
            raise PROTECTED_LINK(
                f"{here} is a symbolic link and cannot be kept from being replaced",
                why="the agent could put something else in its place, which the host runs later",
                hints=[
                    "replace the link by what it points to",
                    f"add {item!r} to [launch] unprotected if nothing of it runs on the host",
                ],
            )
