"""On which line each key of a TOML text stands; tomllib does not tell.

This reads text that tomllib has accepted, so it only has to find keys, not to judge them. It is
used for error messages, `config show` and the origin of rules; never on the fast path.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from attrs import define, field

Path = tuple[str | int, ...]

_TOKEN = re.compile(
    r'(?P<string>"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\')'
    r"|(?P<comment>#[^\n]*)"
    r"|(?P<newline>\n)"
    r"|(?P<mark>[\[\]{}=,.])"
    r"|(?P<bare>[^\s\[\]{}=,.#\"']+)",
    re.DOTALL,
)

_MOST_PARTS = 64  # of a dotted key


def has_endless_key(text: str) -> bool:
    """A dotted key of more than 64 parts: tomllib takes quadratic time for those (CPython 3.11)."""
    if not any(line.count(".") > _MOST_PARTS for line in text.split("\n")):
        return False
    dots = 0
    for match in _TOKEN.finditer(text):
        if match.lastgroup == "mark" and match.group() == ".":
            dots += 1
        elif match.lastgroup in ("newline", "comment") or match.group() in "=,[]{}":
            dots = 0
        if dots > _MOST_PARTS:
            return True
    return False


def find_lines(text: str) -> dict[Path, int]:
    """Each table's and key's line, from 1. Array tables count from 0: ``("policy", "exec", 0)``."""
    return _Scan().run(text)


def line_of(lines: dict[Path, int], path: Sequence[str | int]) -> int:
    """The line of a path, or of the nearest table around it; 1 when nothing is known."""
    for end in range(len(path), 0, -1):
        found = lines.get(tuple(path[:end]))
        if found is not None:
            return found
    return 1


@define
class _Scan:
    lines: dict[Path, int] = field(factory=dict)
    counts: dict[Path, int] = field(factory=dict)
    prefix: Path = ()

    def run(self, text: str) -> dict[Path, int]:
        """Read statement by statement."""
        for number, tokens in _statements(text):
            if tokens[0] == "[":
                self._header(number, tokens)
            elif "=" in tokens:
                self._note((*self.prefix, *_parts(tokens[: tokens.index("=")])), number)
        return self.lines

    def _header(self, number: int, tokens: list[str]) -> None:
        is_array = tokens[1:2] == ["["]
        parts = _parts([part for part in tokens if part not in ("[", "]")])
        path = self._resolve(parts if not is_array else parts[:-1])
        if is_array:
            path = (*path, parts[-1])
            index = self.counts.get(path, 0)
            self.counts[path] = index + 1
            path = (*path, index)
        self.prefix = path
        self._note(path, number)

    def _resolve(self, parts: list[str]) -> Path:
        """A header under an array of tables means the array's last one."""
        path: Path = ()
        for part in parts:
            path = (*path, part)
            if path in self.counts:
                path = (*path, self.counts[path] - 1)
        return path

    def _note(self, path: Path, number: int) -> None:
        for end in range(1, len(path) + 1):
            self.lines.setdefault(path[:end], number)


def _statements(text: str) -> Iterator[tuple[int, list[str]]]:
    """``(line, tokens)`` of each statement; brackets and strings may span lines."""
    number = start = 1
    depth = 0
    tokens: list[str] = []
    for match in _TOKEN.finditer(text):
        kind, token = match.lastgroup, match.group()
        if kind == "newline":
            number += 1
            if tokens and depth == 0:
                yield start, tokens
                tokens = []
            continue
        if kind == "comment":
            continue
        start = start if tokens else number
        number += token.count("\n")
        depth += (token in ("[", "{")) - (token in ("]", "}"))
        tokens.append(token)
    if tokens:
        yield start, tokens


def _parts(tokens: list[str]) -> list[str]:
    return [_unquote(part) for part in tokens if part != "."]


def _unquote(token: str) -> str:
    if token[0] == "'":
        return token[1:-1]
    if token[0] == '"':
        return token[1:-1].encode("latin-1", "backslashreplace").decode("unicode_escape")
    return token
