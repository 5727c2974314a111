"""Amounts as people write them: ``2g``, ``512m``, ``1h30m``.

Sizes are binary and take the suffixes of ``podman run --memory`` (``b k m g t``, ``ib``/``b`` after
them allowed); durations take those of ``sleep`` and ``podman --timeout`` together.
"""

from __future__ import annotations

import re

_SIZE = re.compile(r"(\d{1,18})(?:\.(\d{1,6}))?\s*([bkmgt]?)(?:i?b)?", re.IGNORECASE | re.ASCII)
_DURATION = re.compile(
    r"(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9}(?:\.\d{1,6})?)s?)?", re.ASCII
)
_POWERS = {"": 0, "b": 0, "k": 1, "m": 2, "g": 3, "t": 4}

LARGEST_SIZE = 1 << 62
"""Bytes; more than any machine has and less than what a cgroup file can hold."""

LONGEST = 365 * 86400.0
"""Seconds; a year."""


def parse_size(text: str) -> int:
    """Bytes.

    Raises:
        ValueError: not a size, or too large; the message is for people.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a size; write for example 512m or 2g")
    whole, fraction, unit = match.groups()
    scale: int = 1024 ** _POWERS[unit.lower()]
    size = int(whole) * scale + (int(fraction) * scale // 10 ** len(fraction) if fraction else 0)
    if size > LARGEST_SIZE:
        raise ValueError(f"{text!r} is too large")
    return size


def parse_duration(text: str) -> float:
    """Seconds; a bare number is seconds.

    Raises:
        ValueError: not a duration, zero, or longer than a year; the message is for people.
    """
    match = _DURATION.fullmatch(text.strip().lower())
    if match is None or not any(match.groups()):
        raise ValueError(f"{text!r} is not a duration; write for example 90s, 30m or 1h30m")
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    total = days * 86400 + hours * 3600 + minutes * 60 + seconds
    if not 0 < total <= LONGEST:
        raise ValueError(f"{text!r} is not between nothing and a year")
    return total


def show_size(size: int) -> str:
    """A size as a person reads it: ``4g``, ``1.5g``, ``900k``."""
    for unit, power in (("t", 4), ("g", 3), ("m", 2), ("k", 1)):
        if size >= 1024**power:
            return f"{size / 1024**power:.4g}{unit}"
    return f"{size}b"
