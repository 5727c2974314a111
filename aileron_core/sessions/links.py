"""Other names of a protected file: writing through one of them changes what is protected.

A read-only mount holds a name, not a file. Nobody in a sandbox can give a protected file another
name, but an earlier session can have made both names when neither was protected.
"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from aileron_core.sessions.stubs import WORKSPACE_HOSTILE

MOST_PROTECTED = 50_000
"""Files in protected directories that are looked at."""
MOST_SEARCHED = 500_000
"""Files of the workspace among which other names are looked for, when there are any."""

_File = tuple[int, int]
"""Device and inode."""


def refuse_shared(root: Path, protected: Iterable[str]) -> None:
    """Refuse a workspace in which a protected file has another, writable name.

    The whole workspace is looked through only when a protected file has more names than the
    protected paths show.

    Raises:
        AileronError: ``workspace-hostile``.
    """
    places = [os.path.normpath(root / path) for path in protected]
    names: dict[_File, list[str]] = {}
    counts: dict[_File, int] = {}
    for number, (path, info) in enumerate(_files(places, ())):
        if number > MOST_PROTECTED:
            raise _refused(path, "its directory holds too many files to be looked through")
        if info.st_nlink > 1:
            key = info.st_dev, info.st_ino
            names.setdefault(key, []).append(path)
            counts[key] = info.st_nlink
    elsewhere = {key: found[0] for key, found in names.items() if len(found) < counts[key]}
    if elsewhere:
        _search(root, places, elsewhere)


def _search(root: Path, places: list[str], elsewhere: dict[_File, str]) -> None:
    for number, (path, info) in enumerate(_files([str(root)], frozenset(places))):
        if number > MOST_SEARCHED:
            found = next(iter(elsewhere.values()))
            raise _refused(found, "it has another name, and there are too many files to find it")
        if info.st_nlink > 1 and (info.st_dev, info.st_ino) in elsewhere:
            kept = elsewhere[info.st_dev, info.st_ino]
            raise _refused(kept, f"it is the same file as {path}, which the agent could write")


def _files(places: Iterable[str], but: Iterable[str]) -> Iterator[tuple[str, os.stat_result]]:
    """Regular files at and below ``places``, no link followed; nothing of what ``but`` names."""
    waiting = list(dict.fromkeys(places))
    left_out = frozenset(but)
    while waiting:
        path = waiting.pop()
        try:
            info = os.lstat(path)
            if stat.S_ISREG(info.st_mode):
                yield path, info
            elif stat.S_ISDIR(info.st_mode):
                inner = [entry.path for entry in os.scandir(path)]
                waiting += [entry for entry in inner if entry not in left_out]
        except (FileNotFoundError, NotADirectoryError):
            continue


def _refused(path: str, why: str) -> Exception:
    return WORKSPACE_HOSTILE(
        f"the protected file {path} cannot be protected",
        why=why,
        hints=[
            f"look at it, then make it a file of its own: sed -i '' {shlex.quote(path)}",
            "or launch with --workspace overlay",
        ],
    )
