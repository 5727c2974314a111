"""The audit log's lines: canonical JSON, each with the hash of the one before.

A line is ``{"data", "hash", "host", "prev", "seq", "session", "time", "type"}``, keys sorted, no
spaces; ``hash`` is the SHA-256 of the same line without ``hash``, ``prev`` the hash of the line
before (`GENESIS` for the first). So whoever removes, changes or reorders a line breaks the chain.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from aileron_core.records import Event

GENESIS = "0" * 64
"""``prev`` of the first line."""
LONGEST_LINE = 1 << 20
"""Bytes of one line with its newline; longer ones are never written and never read."""
_SECRET_WORDS = re.compile(
    r"(?:^|[_.\- ])(token|secret|password|passwd|authorization|cookie)s?$", re.IGNORECASE
)
_FIELDS = {"seq", "time", "type", "session", "host", "data", "prev", "hash"}


@frozen
class Head:
    """The end of a chain: number and hash of its last line."""

    seq: int = 0
    hash: str = GENESIS


@frozen
class Entry:
    """One line, read."""

    seq: int
    hash: str
    prev: str
    host: str
    event: Event

    def to_dict(self) -> dict[str, Any]:
        """The line as JSON shows it to people: without the chain's own fields but ``hash``."""
        return {
            "seq": self.seq,
            "time": self.event.time,
            "type": self.event.type,
            "session": self.event.session,
            "host": self.host,
            "data": dict(self.event.data),
            "hash": self.hash,
        }


def refuse_secrets(data: Any, path: str = "data") -> None:
    """Refuse a mapping with a key that names a secret, however deep.

    Values cannot be judged; keys can, and a key of such a name has no business in a record.

    Raises:
        ValueError: names the key.
    """
    if isinstance(data, Mapping):
        for key, value in data.items():
            if _SECRET_WORDS.search(str(key)):
                raise ValueError(f"{path}.{key}: a secret may not be recorded")
            refuse_secrets(value, f"{path}.{key}")
    elif isinstance(data, list | tuple):
        for item in data:
            refuse_secrets(item, f"{path}[]")


def canonical(fields: Mapping[str, Any]) -> bytes:
    """The one way to write ``fields``.

    Raises:
        ValueError: a number that JSON cannot hold.
        TypeError: a value that JSON cannot hold.
    """
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode("ascii")


def make_line(head: Head, host: str, event: Event) -> tuple[bytes, Head]:
    """The line that follows ``head``, with its newline, and the head after it.

    Raises:
        ValueError: it cannot be written as JSON, or is longer than `LONGEST_LINE`.
    """
    fields = {
        "seq": head.seq + 1,
        "time": event.time,
        "type": event.type,
        "session": event.session,
        "host": host,
        "data": event.data,
        "prev": head.hash,
    }
    digest = hashlib.sha256(canonical(fields)).hexdigest()
    line = canonical({**fields, "hash": digest}) + b"\n"
    if len(line) > LONGEST_LINE:
        raise ValueError(f"a record of {len(line)} bytes is too long")
    return line, Head(head.seq + 1, digest)


def parse_line(line: bytes) -> Entry:
    """The line's contents; its hash is not looked at.

    Raises:
        ValueError: it is no line of an audit log.
    """
    try:
        fields = json.loads(line)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if not isinstance(fields, dict) or set(fields) != _FIELDS:
        raise ValueError("its fields are not those of a record")
    seq, data = fields["seq"], fields["data"]
    if type(seq) is not int or not isinstance(data, dict):
        raise ValueError("its fields have wrong types")
    event = Event(str(fields["type"]), fields["session"], data, float(fields["time"]))
    return Entry(seq, str(fields["hash"]), str(fields["prev"]), str(fields["host"]), event)


def is_intact(line: bytes) -> bool:
    """The line is canonical and carries its own hash."""
    try:
        fields = json.loads(line)
        digest = fields.pop("hash")
        whole = canonical({**fields, "hash": digest}) == line.rstrip(b"\n")
        return whole and hashlib.sha256(canonical(fields)).hexdigest() == digest
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        return False


@frozen
class Finding:
    """Something wrong with the log: ``line`` counts from 1 in the file."""

    line: int
    problem: str


@frozen
class Verification:
    """What `verify_lines` found; ``findings`` holds the first `MOST_FINDINGS`."""

    records: int
    head: Head
    findings: tuple[Finding, ...]

    @property
    def is_sound(self) -> bool:
        """Nothing was removed, changed, reordered or added by another."""
        return not self.findings


MOST_FINDINGS = 20


def check_line(line: bytes, before: Head) -> tuple[Head, str]:
    """The head after ``line`` and what is wrong with it ("" for nothing)."""
    try:
        entry = parse_line(line)
    except ValueError as error:
        return before, f"it cannot be read: {error}"
    after = Head(entry.seq, entry.hash)
    if not is_intact(line):
        return after, f"record {entry.seq} was changed"
    if entry.seq != before.seq + 1:
        return after, f"record {entry.seq} follows {before.seq}: records were removed or reordered"
    if entry.prev != before.hash:
        return after, f"record {entry.seq} does not continue the record before it"
    return after, ""


def verify_lines(lines: Iterable[bytes], anchor: Head | None) -> Verification:
    """Check the whole chain, one line at a time, and that it ends at ``anchor`` or later."""
    findings: list[Finding] = []
    head, count = Head(), 0
    anchored = anchor is None or anchor == head
    for count, line in enumerate(lines, 1):
        head, problem = check_line(line, head)
        anchored = anchored or head == anchor
        if problem and len(findings) < MOST_FINDINGS:
            findings.append(Finding(count, problem))
    if not anchored and anchor is not None:
        problem = f"record {anchor.seq}, the last one known, is missing: the end was cut off"
        findings.append(Finding(count + 1, problem))
    return Verification(count, head, tuple(findings))


def read_lines(path: Path, end: int | None = None) -> Iterator[bytes]:
    """The file's lines up to ``end`` bytes (None: all), in bounded memory; no file, no lines."""
    try:
        log = path.open("rb")
    except FileNotFoundError:
        return
    with log:
        at = 0
        while end is None or at < end:
            line = log.readline(LONGEST_LINE)
            if not line:
                return
            at += len(line)
            yield line
