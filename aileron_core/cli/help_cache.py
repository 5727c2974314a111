"""The text of ``aileron --help``, remembered: importing all that makes it takes 100 ms and more.

The text is used only while everything it depends on has the same modification times: the
directories on ``sys.path``, the entry point files, the modules of plugins, the configuration files.
With a project file, ``AILERON_…`` variables or a broken plugin it is neither used nor kept. This
module is imported before anything else, so it imports nothing but what Python has loaded already.
"""

from __future__ import annotations

import os
import sys

_FORMAT = "aileron-help 1"


def recall() -> str | None:
    """The text, when it is known and nothing has changed."""
    try:
        file = cache_file()
        if file is None or os.path.lexists(".aileron.toml"):
            return None
        with open(file, encoding="utf-8") as stream:
            head, _, text = stream.read().partition("\n\n")
    except (OSError, ValueError):
        return None
    lines = head.split("\n")
    if lines[0] != _key() or [_stamp(line.split(" ", 2)[2]) for line in lines[1:]] != lines[1:]:
        return None
    return text


def remember(text: str, depends: list[str]) -> None:
    """Keep the text, with the state of every file that it depends on."""
    file = cache_file()
    paths = [path for path in dict.fromkeys([*sys.path, *depends]) if path]
    if file is None or os.path.lexists(".aileron.toml") or any("\n" in path for path in paths):
        return
    part = f"{file}.{os.getpid()}.part"
    try:
        os.makedirs(os.path.dirname(file), mode=0o700, exist_ok=True)
        with open(part, "w", encoding="utf-8") as stream:
            stream.write("\n".join([_key(), *map(_stamp, paths)]) + "\n\n" + text)
        os.replace(part, file)
    except (OSError, ValueError):  # it is a convenience
        if os.path.exists(part):
            os.unlink(part)


def cache_file() -> str | None:
    """Where the text is kept; None when variables say something that it may depend on."""
    if any(name.startswith("AILERON_") for name in os.environ):
        return None
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not base.startswith("/"):
        base = os.path.join(os.environ.get("HOME") or "/root", ".cache")
    return os.path.join(base, "aileron", "help.txt")


def _key() -> str:
    try:
        columns = os.get_terminal_size(1).columns
    except OSError:
        columns = 0
    return (
        f"{_FORMAT} {sys.version_info[:3]} {columns} {os.environ.get('COLUMNS', '')} {_language()}"
    )


def _language() -> str:
    return os.environ.get("LC_ALL") or os.environ.get("LANG", "")


def _stamp(path: str) -> str:
    """``mtime size path``, ``- - path`` when there is none."""
    try:
        info = os.stat(path)
    except OSError:
        return f"- - {path}"
    return f"{info.st_mtime_ns} {info.st_size} {path}"
