"""A change set as a unified diff, as `git diff --no-index` shows it; bounded, and safe to print."""

from __future__ import annotations

import difflib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from aileron_core.cli.output import clean
from aileron_launch.changes.scan import Change, Changes
from aileron_launch.changes.tree import look_at, opened, read_file, read_link

LARGEST_FILE = 512 * 1024
"""Bytes of a file that is compared line by line."""
MOST_LINES = 8000
"""Lines of a file that is compared line by line: the comparison is quadratic."""
LARGEST_DIFF = 4 << 20
"""Characters of a whole diff."""


def render_diff(found: Changes, upper: Path, workspace: Path) -> str:
    """The diff, control characters as visible escapes, cut at `LARGEST_DIFF`."""
    parts: list[str] = []
    length = 0
    if not found.changes:
        return ""
    with opened(upper) as above, opened(workspace) as below:
        for change in found.changes:
            for text in _one(change, above, below):
                length += len(text)
                if length > LARGEST_DIFF:
                    return "".join([*parts, f"(cut: the diff is over {LARGEST_DIFF} characters)\n"])
                parts.append(text)
    return "".join(parts)


def _one(change: Change, above: int, below: int) -> Iterator[str]:
    """The text of one change."""
    path = clean(change.path)
    mark = f" ({change.skipped}: not applied)" if change.skipped else ""
    if change.type == "directory" and change.kind == "deleted":
        yield from _deleted_directory(change.path, below)
        return
    if change.type in ("directory", "special"):
        yield f"{change.kind} {change.type} {path}{mark}\n"
        return
    yield f"diff --git a/{path} b/{path}{mark}\n"
    yield from _modes(change, above, below)
    # What marks a deletion is a device of the sandbox's root, which a plain user may not open.
    new = b"" if change.kind == "deleted" else _content(above, change.path)
    old = b"" if change.kind == "added" else _content(below, change.path)
    yield from _compare(path, old, new, change)


def _deleted_directory(path: str, below: int) -> Iterator[str]:
    """Each file of a directory that was deleted."""
    yield f"deleted directory {clean(path)}\n"
    with opened(below, path) as directory:
        names = sorted(os.listdir(directory))
    for name in names:
        info = look_at(below, f"{path}/{name}")
        if info is None:
            continue
        if stat.S_ISDIR(info.st_mode):
            yield from _deleted_directory(f"{path}/{name}", below)
        else:
            kind: Change = Change(
                f"{path}/{name}", "deleted", "link" if stat.S_ISLNK(info.st_mode) else "file"
            )
            yield from _one(kind, below, below)


def _modes(change: Change, above: int, below: int) -> Iterator[str]:
    old, new = look_at(below, change.path), look_at(above, change.path)
    if change.kind == "added" and new is not None:
        yield f"new file mode {_git_mode(new)}\n"
    elif change.kind == "deleted" and old is not None:
        yield f"deleted file mode {_git_mode(old)}\n"
    elif old is not None and new is not None and _git_mode(old) != _git_mode(new):
        yield f"old mode {_git_mode(old)}\nnew mode {_git_mode(new)}\n"


def _git_mode(info: os.stat_result) -> str:
    if stat.S_ISLNK(info.st_mode):
        return "120000"
    return "100755" if info.st_mode & stat.S_IXUSR else "100644"


def _content(root: int, path: str) -> bytes | None:
    """A file's bytes or a link's target; None when it is too large to be shown."""
    found = read_file(root, path, LARGEST_FILE + 1)
    if found is None:
        return os.fsencode(read_link(root, path) or "")
    return found[0] if len(found[0]) <= LARGEST_FILE else None


def _compare(path: str, old: bytes | None, new: bytes | None, change: Change) -> Iterator[str]:
    before = "/dev/null" if change.kind == "added" else f"a/{path}"
    after = "/dev/null" if change.kind == "deleted" else f"b/{path}"
    if old is None or new is None:
        yield f"Large files {before} and {after} differ\n"
        return
    if b"\0" in old or b"\0" in new:
        yield f"Binary files {before} and {after} differ\n"
        return
    left, right = _lines(old), _lines(new)
    if len(left) > MOST_LINES or len(right) > MOST_LINES:
        yield f"Long files {before} and {after} differ ({len(left)} and {len(right)} lines)\n"
        return
    yield from _safe(difflib.unified_diff(left, right, before, after))


def _lines(content: bytes) -> list[str]:
    """Lines with their ends; only a newline ends one."""
    text = content.decode("utf-8", "surrogateescape")
    lines = [f"{line}\n" for line in text.split("\n")]
    if text.endswith("\n") or not text:
        lines.pop()
    elif lines:
        lines[-1] = lines[-1][:-1]
    return lines


def _safe(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        if line.endswith("\n"):
            yield clean(line[:-1], block=True) + "\n"
        else:
            yield clean(line, block=True) + "\n\\ No newline at end of file\n"
