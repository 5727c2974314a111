"""Amounts as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aileron_launch.units import parse_duration, parse_size, show_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1024", 1024),
        ("2g", 2 << 30),
        ("2G", 2 << 30),
        ("512m", 512 << 20),
        ("512MiB", 512 << 20),
        ("1.5gb", 3 << 29),
        (" 64 k ", 64 << 10),
        ("0", 0),
        ("1t", 1 << 40),
        ("7b", 7),
    ],
)
def test_sizes(text: str, size: int) -> None:
    """Suffixes are binary, as Podman's."""
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "g", "-1g", "1e3", "2 gigs", "1_000", "٣g", "9" * 30, "99999999t"]
)
def test_no_sizes(text: str) -> None:
    """What is no size, or too large for any machine, is refused."""
    with pytest.raises(ValueError, match=r"size|large"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("30m", 1800),
        ("1h30m", 5400),
        ("1d", 86400),
        ("1h5", 3605),
        ("0.5s", 0.5),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    """Parts add up; a bare number is seconds."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "h", "-5", "1m1h", "1y", "400d", "nan", "inf", "٣"])
def test_no_durations(text: str) -> None:
    """Nothing, disorder and what is longer than a year are refused."""
    with pytest.raises(ValueError, match=r"duration|between"):
        parse_duration(text)


@given(st.integers(0, 1 << 50))
def test_what_is_shown_can_be_read(size: int) -> None:
    """A size that is shown reads back as nearly the same size."""
    assert parse_size(show_size(size)) == pytest.approx(size, rel=1e-3, abs=1)


@given(st.text(max_size=20))
def test_nothing_else_is_raised(text: str) -> None:
    """Whatever is typed, only ValueError comes out."""
    for parse in (parse_size, parse_duration):
        try:
            parse(text)
        except ValueError:
            continue
