"""What a session changed: an overlay's upper directory compared with the workspace as it is now."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Literal

from attrs import define, field, frozen

from aileron_core.errors import EXIT_DATA, AileronError, ErrorCode
from aileron_launch.changes.tree import (
    DIRECTORY,
    attribute,
    is_whiteout,
    look,
    opened,
    read_link,
    same_content,
)

CHANGES_UNREADABLE = ErrorCode(
    "changes-unreadable", EXIT_DATA, "A change set holds something that cannot be interpreted."
)

MOST_CHANGES = 100_000
DEEPEST = 200
"""Directories in each other; more is not what a project has, and costs descriptors."""

_LONGEST_SHOWN = 100
"""Characters of a path in an error."""

Kind = Literal["added", "modified", "deleted"]
Type = Literal["file", "directory", "link", "special"]


@frozen
class Change:
    """One path that differs."""

    path: str
    kind: Kind
    type: Type
    """What it is now; of something deleted, what it was."""
    size: int = 0
    executable: bool = False
    skipped: str = ""
    """Why it is never applied, or ""."""
    conflict: str = ""
    """What has happened to it on the host since the session began, or ""."""
    replaces: bool = False
    """Something of another type is there on the host and goes away first."""


@frozen
class Changes:
    """A change set, sorted by path: a directory comes before what is in it."""

    changes: tuple[Change, ...] = ()

    @property
    def applicable(self) -> tuple[Change, ...]:
        """Those that `apply` carries out."""
        return tuple(change for change in self.changes if not change.skipped)

    @property
    def conflicts(self) -> tuple[Change, ...]:
        """Those that need ``--force``."""
        return tuple(change for change in self.applicable if change.conflict)


def scan_changes(
    upper: Path, workspace: Path, *, protected: Iterable[str] = (), since: float = 0.0
) -> Changes:
    """What differs; ``since`` (seconds since the epoch) is when the session began.

    Raises:
        AileronError: ``changes-unreadable``.
    """
    guarded = frozenset(PurePosixPath(item) for item in protected)
    if not upper.is_dir():
        return Changes()
    try:
        with opened(upper) as above, opened(workspace) as below:
            scan = _Scan(guarded, since)
            scan.directory(above, below, "", depth=0)
    except OSError as error:
        raise CHANGES_UNREADABLE(f"cannot read the changes in {upper}", why=str(error)) from error
    return Changes(tuple(sorted(scan.found, key=lambda change: PurePosixPath(change.path).parts)))


@define
class _Scan:
    """Walks both trees at once; ``below`` is None where the workspace has nothing (any more)."""

    protected: frozenset[PurePosixPath]
    since: float
    found: list[Change] = field(factory=list)

    def directory(self, above: int, below: int | None, path: str, depth: int) -> None:
        """Everything in one directory."""
        if depth > DEEPEST:
            raise _unreadable(path, f"directories are nested deeper than {DEEPEST}")
        names = os.listdir(above)
        for name in names:
            self.entry(above, below, name, f"{path}{name}", depth)
        if below is not None and attribute(above, ".", "opaque") == b"y":
            for name in set(os.listdir(below)).difference(names):
                self.gone(below, name, f"{path}{name}")

    def add(self, change: Change) -> None:
        """One more."""
        if len(self.found) >= MOST_CHANGES:
            raise _unreadable(change.path, f"there are more than {MOST_CHANGES} changes")
        self.found.append(change)

    def entry(self, above: int, below: int | None, name: str, path: str, depth: int) -> None:
        """One name of the upper directory."""
        info = look(above, name)
        if info is None:
            return
        was = look(below, name) if below is not None else None
        if is_whiteout(above, name, info):
            if was is not None and below is not None:
                self.gone(below, name, path)
        elif stat.S_ISDIR(info.st_mode):
            self.subdirectory(above, below, name, path, was, depth)
        elif stat.S_ISREG(info.st_mode):
            self.file(above, below, name, path, info, was)
        elif stat.S_ISLNK(info.st_mode):
            self.link(above, below, name, path, was)
        else:
            why = "devices, pipes and sockets are never applied"
            self.add(Change(path, _kind(was), "special", skipped=why))

    def gone(self, below: int, name: str, path: str) -> None:
        """Something that was deleted."""
        was = look(below, name)
        if was is None:
            return
        conflict = self.changed(was)
        if stat.S_ISDIR(was.st_mode) and not conflict:
            newer = next(self.newer(below, name, path, 0), None)
            conflict = f"{newer} changed on the host" if newer else ""
        guard = self.guard(path, goes_away=True)
        self.add(Change(path, "deleted", _type(was), skipped=guard, conflict=conflict))

    def newer(self, below: int, name: str, path: str, depth: int) -> Iterator[str]:
        """Paths in a directory of the workspace that changed since the session began."""
        if depth > DEEPEST:
            raise _unreadable(path, f"directories are nested deeper than {DEEPEST}")
        with opened(below, name) as directory:
            for entry in os.listdir(directory):
                info = look(directory, entry)
                if info is None:
                    continue
                if info.st_ctime > self.since and not stat.S_ISDIR(info.st_mode):
                    yield f"{path}/{entry}"
                if stat.S_ISDIR(info.st_mode):
                    yield from self.newer(directory, entry, f"{path}/{entry}", depth + 1)

    def subdirectory(
        self,
        above: int,
        below: int | None,
        name: str,
        path: str,
        was: os.stat_result | None,
        depth: int,
    ) -> None:
        """A directory of the upper layer: new, or on the way to changes."""
        for key in ("redirect", "metacopy"):
            if attribute(above, name, key) is not None:
                raise _unreadable(path, f"it was moved in a way that is not kept apart ({key})")
        is_old = was is not None and stat.S_ISDIR(was.st_mode)
        inner = os.open(name, DIRECTORY, dir_fd=above)
        try:
            if not is_old and not (self.guard(path) and was is None and not os.listdir(inner)):
                self.add(
                    Change(
                        path,
                        _kind(was),
                        "directory",
                        skipped=self.guard(path),
                        conflict=nested_repository(path) or self.changed(was),
                        replaces=was is not None,
                    )
                )
            if is_old and below is not None:
                with opened(below, name) as old:
                    self.directory(inner, old, f"{path}/", depth + 1)
            else:
                self.directory(inner, None, f"{path}/", depth + 1)
        finally:
            os.close(inner)

    def file(
        self,
        above: int,
        below: int | None,
        name: str,
        path: str,
        info: os.stat_result,
        was: os.stat_result | None,
    ) -> None:
        """A regular file: new, or copied up; what was merely touched is no change."""
        if attribute(above, name, "metacopy") is not None:
            raise _unreadable(path, "its content was not kept (metacopy)")
        is_file = was is not None and stat.S_ISREG(was.st_mode)
        if is_file and was is not None and below is not None:
            same_mode = not (info.st_mode ^ was.st_mode) & 0o111
            if same_mode and same_content((above, name), (below, name)):
                return
        replaces = was is not None and stat.S_ISDIR(was.st_mode)
        guard = self.guard(path, goes_away=replaces)
        if guard and was is None and info.st_size == 0:
            return  # what stood in for an absent path while the session ran
        conflict = self.changed(was)
        if was is None and attribute(above, name, "origin") is not None:
            conflict = "it was deleted on the host"
        conflict = nested_repository(path) or conflict
        executable = bool(info.st_mode & stat.S_IXUSR)
        self.add(
            Change(path, _kind(was), "file", info.st_size, executable, guard, conflict, replaces)
        )

    def link(
        self, above: int, below: int | None, name: str, path: str, was: os.stat_result | None
    ) -> None:
        """A symbolic link; one that leads out of the workspace needs a person's word."""
        target = read_link(above, name) or ""
        if was is not None and below is not None and read_link(below, name) == target:
            return
        conflict = self.changed(was)
        if leads_out(path, target):
            conflict = f"it is a link that leads out of the workspace, to {target}"
        replaces = was is not None and stat.S_ISDIR(was.st_mode)
        guard = self.guard(path, goes_away=replaces)
        self.add(
            Change(path, _kind(was), "link", 0, skipped=guard, conflict=conflict, replaces=replaces)
        )

    def guard(self, path: str, *, goes_away: bool = False) -> str:
        """Why a path is never applied, or "": it is protected, or would take away what is."""
        pure = PurePosixPath(path)
        if pure in self.protected or self.protected.intersection(pure.parents):
            return "never writable"
        if goes_away and any(pure in item.parents for item in self.protected):
            return "it holds what is never writable"
        return ""

    def changed(self, was: os.stat_result | None) -> str:
        """Whether the host's own file changed meanwhile; its ctime cannot be set by anybody."""
        if was is None or stat.S_ISDIR(was.st_mode) or was.st_ctime <= self.since:
            return ""
        return "it changed on the host"


def nested_repository(path: str) -> str:
    """Why a path needs a person's word: Git on the host runs what a nested repository configures.

    It does so in any `git status`, once the index of the outer one names the inner as a submodule.
    """
    pure = PurePosixPath(path)
    if pure.name == ".git" and len(pure.parts) > 1:
        return "it makes a repository inside the workspace, whose settings Git on the host obeys"
    return ""


def leads_out(path: str, target: str) -> bool:
    """Whether a link at ``path`` (relative to the workspace) points outside, read as text."""
    if target.startswith("/") or not target:
        return True
    depth = len(PurePosixPath(path).parts) - 1
    for part in target.split("/"):
        depth += {"": 0, ".": 0, "..": -1}.get(part, 1)
        if depth < 0:
            return True
    return False


def _kind(was: os.stat_result | None) -> Kind:
    return "added" if was is None else "modified"


def _type(info: os.stat_result) -> Type:
    if stat.S_ISDIR(info.st_mode):
        return "directory"
    if stat.S_ISLNK(info.st_mode):
        return "link"
    return "file" if stat.S_ISREG(info.st_mode) else "special"


def _shortened(path: str) -> str:
    return path if len(path) <= _LONGEST_SHOWN else f"{path[:_LONGEST_SHOWN]}…"


def _unreadable(path: str, why: str) -> AileronError:
    return CHANGES_UNREADABLE(
        f"the change at {_shortened(path) or 'the workspace'} cannot be interpreted",
        why=why,
        hints=["aileron sessions discard, and launch again"],
    )
