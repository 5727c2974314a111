"""What Git on the host obeys in a workspace besides the paths that are always protected.

The workspace's content may be hostile: files are opened without waiting and without following
links, and what cannot be looked through is protected as a whole.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

_LARGEST_CONFIG = 256 * 1024
_MOST_MODULES = 64
_MOST_DIRECTORIES = 20_000
_CONFIGS = (".git/config", ".git/config.worktree")


def locks(protected: Iterable[str]) -> list[str]:
    """The lock of each protected configuration file.

    Git on the host replaces such a file by renaming its lock over it, and the kernel then takes the
    sandbox's read-only mount away: the agent could write the new one. While the lock is there, Git
    refuses to change the file at all.
    """
    found = [item for item in protected if item in _CONFIGS or _is_module_config(item)]
    return [f"{item}.lock" for item in found]


def _is_module_config(item: str) -> bool:
    return item.startswith(".git/modules/") and item.endswith("/config")


def bare_paths(workspace: Path) -> tuple[str, ...]:
    """What a workspace that is a bare repository runs: it has no ``.git`` that could be protected.

    Whether it is one is `HEAD`'s being a file; where it is none, `HEAD` is kept from becoming one.
    """
    if not os.path.lexists(workspace / "HEAD"):
        return ()
    return ("hooks/", "config/", "config.worktree/", "commondir")


def git_indirections(workspace: Path) -> Iterator[str]:
    """Paths in the workspace that its Git configuration runs or reads: hooks directories, includes.

    Also what links in the hooks directories lead to, and hooks and configuration of the submodules
    that exist now.
    """
    git = workspace / ".git"
    hooks = [".git/hooks"]
    for name in ("config", "config.worktree"):
        for value in config_paths(_read(git / name)):
            inside = _inside(workspace, git, value)
            if inside is not None:
                yield inside
                hooks += [inside] if inside.endswith("/") else []
    for place in hooks:
        yield from _linked(workspace, workspace / place)
    yield from _modules(workspace, git / "modules")


def _linked(workspace: Path, hooks: Path) -> Iterator[str]:
    """Files of the workspace that a hooks directory has links to: Git runs those."""
    try:
        links = [entry.path for entry in os.scandir(hooks) if entry.is_symlink()]
    except OSError:
        return
    for link in sorted(links):
        try:
            target = Path(os.path.realpath(link))
        except (OSError, ValueError):
            continue
        if not target.is_relative_to(workspace) or target.is_relative_to(hooks):
            continue
        if not target.is_dir():
            yield f"{target.relative_to(workspace)}" + ("" if target.exists() else "/")


def _modules(workspace: Path, modules: Path) -> Iterator[str]:
    """Hooks and configuration of submodules; all of them where there are too many to be named."""
    if modules.is_symlink():
        yield ".git/modules/"  # refused with a reason, as any protected link is
        return
    found: list[str] = []
    for number, (place, _, files) in enumerate(os.walk(modules)):
        if "config" in files:
            found.append(os.path.relpath(place, workspace))
        if number > _MOST_DIRECTORIES or len(found) > _MOST_MODULES:
            yield ".git/modules/"
            return
    for place in sorted(found):
        yield f"{place}/config"
        yield f"{place}/hooks/"


def _read(path: Path) -> str:
    """The beginning of a regular file; "" for what is none, and never a wait for a pipe."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        with open(os.open(path, flags), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return ""
            return file.read(_LARGEST_CONFIG).decode("utf-8", "replace")
    except OSError:
        return ""


def config_paths(text: str) -> Iterator[tuple[str, str]]:
    """``(key, path)`` of each ``core.hooksPath`` and ``include*.path`` in a Git configuration."""
    section = ""
    for raw in text.split("\n"):
        line = raw.strip()
        if line.startswith("["):
            head, _, line = line[1:].partition("]")
            section = (head.split('"', 1)[0].split() or [""])[0].lower()
        key, separator, value = line.partition("=")
        key, value = key.strip().lower(), value.split(" #")[0].split(" ;")[0].strip().strip('"')
        if not separator or not value:
            continue
        if section == "core" and key in ("hookspath", "attributesfile"):
            yield f"core.{key}", value
        elif section in ("include", "includeif") and key == "path":
            yield "include.path", value


def _inside(workspace: Path, git: Path, item: tuple[str, str]) -> str | None:
    """The path relative to the workspace, if it lies there; includes start at the file's place."""
    key, value = item
    start = git if key == "include.path" else workspace
    path = Path(os.path.normpath(start / value))
    if value.startswith("~") or path == workspace or not path.is_relative_to(workspace):
        return None
    return str(path.relative_to(workspace)) + ("/" if key == "core.hookspath" else "")
