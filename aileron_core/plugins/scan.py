"""Which plugins are installed: a scan of ``importlib.metadata``, remembered.

The scan costs 40 ms and more, most of it reading every distribution's metadata. Installing or
removing a distribution changes the modification time of a directory on ``sys.path``; so the result
is kept together with those times (and those of the entry point files it came from) and used while
all are the same. The cache is a convenience: unreadable, unwritable or odd, it is ignored.
"""

from __future__ import annotations

import json
import os
import sys
import zlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from attrs import frozen

from aileron_core.hookspecs import ENTRY_POINT_GROUP
from aileron_core.plugins.facts import EntryPoint

Stamp = list[Any]
"""``[path, mtime in ns or None]``."""

_FORMAT = 1


@frozen
class Points:
    """What a scan found."""

    plugins: tuple[EntryPoint, ...]
    sources: tuple[str, ...] = ()
    """The files that said so."""


def scan(cache_directory: Path | None) -> tuple[EntryPoint, ...]:
    """Every plugin that is installed, from the cache when nothing has changed since."""
    return find_points(cache_directory).plugins


def find_points(cache_directory: Path | None) -> Points:
    """What `scan` gives, with the files that it comes from."""
    if cache_directory is None:
        return _scan_metadata()
    file = _cache_file(cache_directory)
    found = _read(file)
    if found is None:
        found = _scan_metadata()
        _write(file, found)
    return found


def _cache_file(directory: Path) -> Path:
    key = zlib.crc32("\0".join([sys.version, *sys.path]).encode())
    return directory / f"plugins-{key:08x}.json"


def _stamps(paths: Iterable[str]) -> list[Stamp]:
    return [[path, _changed(path)] for path in paths]


def _changed(path: str) -> int | None:
    try:
        return os.stat(path or ".").st_mtime_ns
    except OSError:
        return None


def _read(file: Path) -> Points | None:
    try:
        kept = json.loads(file.read_bytes())
        if kept["format"] != _FORMAT or kept["path"] != _stamps(sys.path):
            return None
        sources = [str(path) for path, _ in kept["sources"]]
        if kept["sources"] != _stamps(sources):
            return None
        return Points(tuple(EntryPoint(*map(str, p)) for p in kept["plugins"]), tuple(sources))
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _write(file: Path, found: Points) -> None:
    kept = {
        "format": _FORMAT,
        "path": _stamps(sys.path),
        "sources": _stamps(found.sources),
        "plugins": [[p.name, p.value, p.distribution, p.version] for p in found.plugins],
    }
    part = file.with_suffix(f".{os.getpid()}.part")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part.write_text(json.dumps(kept))
        part.replace(file)
    except OSError:
        with suppress(OSError):
            part.unlink()


def _scan_metadata() -> Points:
    from importlib.metadata import entry_points  # 40 ms with the scan; the cache saves both

    found, sources = [], []
    for point in entry_points(group=ENTRY_POINT_GROUP):
        dist = point.dist
        found.append(
            EntryPoint(
                point.name,
                point.value,
                dist.name if dist is not None else "unknown",
                dist.version if dist is not None else "",
            )
        )
        if dist is not None:
            sources.append(str(dist.locate_file(f"{_directory(dist)}/entry_points.txt")))
    found.sort(key=lambda p: (p.name, p.distribution))
    return Points(tuple(found), tuple(sorted(set(sources))))


def _directory(dist: Any) -> str:
    """The name of the distribution's metadata directory (private there, but stable since 3.8)."""
    path = getattr(dist, "_path", None)
    return path.name if isinstance(path, Path) else "nowhere"
