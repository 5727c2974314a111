"""The one place where the command line writes: tables, JSON, errors.

Whatever is shown may come from a sandbox or a repository, so control characters (and those that
reorder text) are shown as escapes, never sent to a terminal.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TextIO

from attrs import define, field

from aileron_core.errors import AileronError

# C0 and C1 controls, line separators, bidirectional overrides (CVE-2021-42574), lone surrogates.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_UNSAFE_BLOCK = re.compile(_UNSAFE.pattern.replace("\x00-\x1f", "\x00-\x08\x0b-\x1f"))


def clean(text: str, *, block: bool = False) -> str:
    """``text`` with control characters as visible escapes; ``block`` keeps newlines and tabs."""
    return (_UNSAFE_BLOCK if block else _UNSAFE).sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    number = ord(match.group())
    if 0xDC80 <= number <= 0xDCFF:  # a byte that was not UTF-8 (PEP 383)
        return f"\\x{number - 0xDC00:02x}"
    if number == 0x0A:
        return "\\n"
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


@define
class Output:
    """Writes results to stdout and everything else to stderr.

    With ``json`` stdout carries one JSON document (or one a line, for streams) and nothing else.
    """

    json: bool = False
    quiet: bool = False
    verbose: int = 0
    stdout: TextIO = field(factory=lambda: sys.stdout)
    stderr: TextIO = field(factory=lambda: sys.stderr)

    def line(self, text: str = "") -> None:
        """A line (or block) of the result, for people; nothing with ``--json``."""
        if not self.json:
            self._print(clean(text, block=True), self.stdout)

    def data(self, value: Any) -> None:
        """A JSON document, with ``--json`` or without."""
        indent = 2 if not self.json or self.stdout.isatty() else None
        self._print(json.dumps(value, indent=indent, default=_plain), self.stdout)

    def result(self, value: Any, text: str) -> None:
        """A result: ``value`` with ``--json``, else ``text``."""
        if self.json:
            self.data(value)
        else:
            self.line(text)

    def table(
        self, rows: Iterable[Mapping[str, Any]], columns: Sequence[str], *, empty: str = ""
    ) -> None:
        """Rows with these columns; with ``--json`` an array of the whole objects."""
        kept = list(rows)
        if self.json:
            self.data([dict(row) for row in kept])
        elif not kept:
            self.say(empty)
        else:
            self.line(_aligned([[_cell(row.get(c)) for c in columns] for row in kept], columns))

    def record(self, value: Mapping[str, Any]) -> None:
        """One object: a line a key for people."""
        if self.json:
            self.data(dict(value))
            return
        width = max((len(key) for key in value), default=0)
        for key, item in value.items():
            self.line(f"{key:<{width}}  {_cell(item)}".rstrip())

    def say(self, text: str) -> None:
        """Something on the side, to stderr; nothing with ``--quiet``."""
        if text and not self.quiet:
            self._print(clean(text, block=True), self.stderr)

    def warn(self, text: str) -> None:
        """A warning, to stderr, ``--quiet`` or not."""
        self._print(clean(f"aileron: warning: {text}", block=True), self.stderr)

    def error(self, error: AileronError) -> None:
        """``aileron: what. why. mend [code]`` on stderr; with ``--json`` ``{"error": …}``."""
        if self.json:
            self._print(json.dumps({"error": error.to_dict()}), self.stderr)
            return
        self._print(clean(error_text(error), block=True), self.stderr)

    def trace(self, text: str) -> None:
        """A traceback, to stderr."""
        self._print(clean(text, block=True).rstrip(), self.stderr)

    def flush(self) -> None:
        """Hand over what is buffered, so that a closed pipe is noticed here and not at exit."""
        self.stdout.flush()

    def _print(self, text: str, stream: TextIO) -> None:
        encoding = getattr(stream, "encoding", None) or "utf-8"
        print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)


def error_text(error: AileronError) -> str:
    """An error for people: what, why, then what to do, one action a line."""
    parts = [error.message, error.why]
    said = " ".join(_sentence(clean(part)) for part in parts if part)
    mends = "".join(f"\n  {clean(hint)}" for hint in error.hints)
    return f"aileron: {said}{mends} [{error.code}]"


def _sentence(text: str) -> str:
    return text if text.endswith(("?", "!")) else text.rstrip(".") + "."


def _aligned(cells: Sequence[Sequence[str]], columns: Sequence[str]) -> str:
    table = [[column.replace("_", " ").upper() for column in columns], *cells]
    widths = [max(len(row[i]) for row in table) for i in range(len(columns))]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    )


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(_cell(item) for item in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={_cell(item)}" for key, item in value.items())
    return clean(str(value))


def _plain(value: Any) -> Any:
    """What JSON does not know: paths and such as text, sets sorted, mappings as objects."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    return str(value)
