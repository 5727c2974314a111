"""JSON with comments and trailing commas, as devcontainer.json is written; hostile input expected.

Comments are blanked, not cut, so that the positions in error messages are those of the file.
"""

from __future__ import annotations

import json
import re
from typing import Any

LARGEST = 256 * 1024
"""Characters."""
DEEPEST = 32
"""Objects and lists in each other."""

_PART = re.compile(
    r'"(?:[^"\\\n]|\\.)*"'  # a string
    r"|//[^\n]*|/\*.*?\*/"  # a comment
    r"|[\[\]{}]"  # brackets
    r"|,(?=(?:\s|//[^\n]*(?:\n|\Z)|/\*.*?\*/)*[\]}])",  # a trailing comma
    re.DOTALL,
)
_NOT_LINES = re.compile(r"[^\n]")


class JsoncError(ValueError):
    """What is wrong, with line and column."""


def parse(text: str) -> Any:
    """The value that ``text`` holds.

    Raises:
        JsoncError: malformed, too large, too deep, a key twice, or a number that is none.
    """
    if len(text) > LARGEST:
        raise JsoncError(f"it is larger than {LARGEST} characters")
    plain = _plain(text.removeprefix("\ufeff"))
    try:
        return json.loads(plain, object_pairs_hook=_object, parse_constant=_constant)
    except json.JSONDecodeError as error:
        raise JsoncError(f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except JsoncError:
        raise
    except (ValueError, RecursionError) as error:
        raise JsoncError(str(error)) from None


def _plain(text: str) -> str:
    """``text`` without comments and trailing commas, every line where it was."""
    depth = 0

    def keep(match: re.Match[str]) -> str:
        nonlocal depth
        part = match.group()
        if part in ("{", "["):
            depth += 1
            if depth > DEEPEST:
                line = text.count("\n", 0, match.start()) + 1
                raise JsoncError(f"line {line}: nested deeper than {DEEPEST}")
        elif part in ("}", "]"):
            depth -= 1
        elif part == "," or part.startswith("/"):
            return _NOT_LINES.sub(" ", part)
        return part

    return _PART.sub(keep, text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a key that is there twice: two readers would see two files."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise JsoncError(f"the key {key[:80]!r} is there twice")
        found[key] = value
    return found


def _constant(name: str) -> Any:
    raise JsoncError(f"{name} is no JSON value")
