"""Patterns of rules. None of them is a regular expression, and none takes more than n·m steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

P = TypeVar("P")
I = TypeVar("I")  # noqa: E741 - an item, beside P for a pattern

ANY = "**"


def matches(
    pattern: Sequence[P], items: Sequence[I], star: P, same: Callable[[P, I], bool]
) -> bool:
    """``items`` fit ``pattern``, in which ``star`` stands for any number of items, also none."""
    at = where = 0
    retry, retry_where = -1, 0
    while where < len(items):
        if at < len(pattern) and pattern[at] == star:
            retry, retry_where = at, where
            at += 1
        elif at < len(pattern) and same(pattern[at], items[where]):
            at, where = at + 1, where + 1
        elif retry >= 0:  # let the last star take one more item
            retry_where += 1
            at, where = retry + 1, retry_where
        else:
            return False
    return all(rest == star for rest in pattern[at:])


def _same_character(wanted: str, found: str) -> bool:
    return wanted == found


def text_matches(pattern: str, text: str) -> bool:
    """``text`` fits ``pattern``, in which ``*`` stands for any characters."""
    if "*" not in pattern:
        return pattern == text
    return matches(pattern, text, "*", _same_character)


def _segment_matches(pattern: str, segment: str) -> bool:
    return (
        bool(segment) and text_matches(pattern, segment)
        if pattern == "*"
        else (text_matches(pattern, segment))
    )


def path_matches(pattern: Sequence[str], path: str) -> bool:
    """A canonical path fits the segments that `path_pattern` made."""
    return matches(pattern, path.split("/")[1:], ANY, _segment_matches)


def path_pattern(text: str) -> tuple[str, ...]:
    """The segments of a path's pattern: ``*`` within one, ``**`` alone for any number of them.

    Raises:
        ValueError: no leading slash, ``**`` beside other text, dot segments.
    """
    if not text.startswith("/"):
        raise ValueError(f"the path {text!r} does not begin with a slash")
    segments = tuple(text.split("/")[1:])
    for segment in segments:
        if ANY in segment and segment != ANY:
            raise ValueError(f"in the path {text!r} ** stands beside other text")
        if segment in (".", "..") or not segment.isprintable():
            raise ValueError(f"the path {text!r} has a segment that no request can have")
    return segments


def command_matches(pattern: Sequence[str], program: str, argv: Sequence[str]) -> bool:
    """A program and its arguments fit a rule's command.

    The first word is the file: a name without a slash is compared with the last part of the
    resolved path, anything else with all of it; what the caller wrote as ``argv[0]`` never counts.
    """
    first, rest = pattern[0], pattern[1:]
    if first == ANY:
        return not rest or matches(rest, argv[1:], ANY, text_matches)
    name = program if "/" in first else program.rpartition("/")[2]
    return text_matches(first, name) and matches(rest, argv[1:], ANY, text_matches)
