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

# Each alternative matches to some end, so that no text is looked through twice: an unfinished
# string or comment is a part too, and left for the JSON reader to refuse.
_STRING = r'"(?:[^"\\\n]|\\[^\n])*"?'
_COMMENTS = re.compile(rf"{_STRING}|//[^\n]*|/\*(?:.*?\*/|.*)", re.DOTALL)
_PARTS = re.compile(rf'{_STRING}|[\[\]{{}}:,]|[^\s\[\]{{}}:,"]+')
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
    bare = _COMMENTS.sub(_blanked, text)
    kept: list[str] = []
    end, depth, before, comma = 0, 0, "", -1
    for match in _PARTS.finditer(bare):
        part = match.group()
        if part in ("]", "}") and before == ",":
            kept[comma] = " "
        if part == "," and before in ("", "[", "{", ",", ":"):
            raise _error(bare, match.start(), "a comma with nothing before it")
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(part, 0)
        if depth > DEEPEST:
            raise _error(bare, match.start(), f"nested deeper than {DEEPEST}")
        kept += (bare[end : match.start()], part)
        end, before, comma = match.end(), part, len(kept) - 1
    return "".join([*kept, bare[end:]])


def _blanked(match: re.Match[str]) -> str:
    part = match.group()
    if part.startswith('"') or (part.startswith("/*") and not part.endswith("*/", 2)):
        return part
    return _NOT_LINES.sub(" ", part)


def _error(text: str, position: int, why: str) -> JsoncError:
    line = text.count("\n", 0, position) + 1
    return JsoncError(f"line {line}: {why}")


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
