"""The audit log's lines: canonical, chained, and every way to tamper with them found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aileron_core.daemon.chain import (
    GENESIS,
    LONGEST_LINE,
    Head,
    canonical,
    make_line,
    parse_line,
    read_lines,
    refuse_secrets,
    verify_lines,
)
from aileron_core.records import Event


def chain(count: int) -> list[bytes]:
    """The first ``count`` lines of a log."""
    head, lines = Head(), []
    for number in range(count):
        line, head = make_line(head, "here", Event("test.made", None, {"n": number}, 1.5))
        lines.append(line)
    return lines


def test_line_is_canonical_json() -> None:
    """A line is sorted, dense JSON whose hash covers everything else in it."""
    line, head = make_line(Head(), "here", Event("a.b", "s_1", {"z": 1, "a": "ü"}, 2.0))
    assert line.startswith(b'{"data":{"a":"\\u00fc","z":1},"hash":"')
    assert line.endswith(b'"seq":1,"session":"s_1","time":2.0,"type":"a.b"}\n')
    assert json.loads(line)["prev"] == GENESIS
    assert head == Head(1, json.loads(line)["hash"])


def test_sound_log_verifies() -> None:
    """A log as it was written is sound, and its head is the last line's."""
    lines = chain(5)
    found = verify_lines(lines, None)
    assert found.is_sound
    assert found.records == 5
    assert found.head.seq == 5
    assert verify_lines(lines, found.head).is_sound


def test_empty_log_verifies_only_without_a_known_end() -> None:
    """Nothing is sound when nothing was recorded, and not when something was."""
    assert verify_lines([], None).is_sound
    assert not verify_lines([], Head(3, "f" * 64)).is_sound


@given(st.integers(2, 12), st.data())
def test_removed_line_is_found(count: int, data: st.DataObject) -> None:
    """Whichever line is taken out, the log is not sound any more."""
    lines = chain(count)
    anchor = verify_lines(lines, None).head
    del lines[data.draw(st.integers(0, count - 1))]
    assert not verify_lines(lines, anchor).is_sound


@given(st.integers(2, 12), st.data())
def test_reordered_lines_are_found(count: int, data: st.DataObject) -> None:
    """Lines in any other order are not sound."""
    lines = chain(count)
    shuffled = data.draw(st.permutations(lines))
    assert verify_lines(shuffled, None).is_sound == (shuffled == lines)


@given(st.integers(1, 6), st.data())
def test_any_changed_byte_is_found(count: int, data: st.DataObject) -> None:
    """No byte of the log can be replaced without that being found."""
    whole = bytearray(b"".join(chain(count)))
    anchor = verify_lines(chain(count), None).head
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] = data.draw(st.integers(0, 255).filter(lambda byte: byte != whole[at]))
    changed = bytes(whole).splitlines(keepends=True)
    assert not verify_lines(changed, anchor).is_sound


def test_rewritten_tail_is_found_by_the_anchor() -> None:
    """Lines made anew with right hashes do not lead to the end that is known."""
    lines = chain(4)
    anchor = verify_lines(lines, None).head
    forged, _ = make_line(
        verify_lines(lines[:3], None).head, "here", Event("test.forged", None, {}, 1.5)
    )
    found = verify_lines([*lines[:3], forged], anchor)
    assert [one.problem for one in found.findings] == [
        "record 4, the last one known, is missing: the end was cut off"
    ]


def test_findings_say_where_and_are_bounded() -> None:
    """A finding names line and record; a log of rubbish does not fill the memory."""
    lines = chain(3)
    lines[1] = lines[1].replace(b'"n":1', b'"n":7')
    (finding,) = verify_lines(lines, None).findings
    assert (finding.line, finding.problem) == (2, "record 2 was changed")
    assert len(verify_lines([b"rubbish\n"] * 500, None).findings) == 20


@pytest.mark.parametrize(
    "line",
    [b"", b"\n", b"null\n", b"[]", b"{}", b'{"seq":1}', b"\xff\xfe", b"[" * 5000, b'{"a":NaN}'],
)
def test_rubbish_is_no_line(line: bytes) -> None:
    """Whatever stands in the file, reading it raises nothing but ValueError."""
    with pytest.raises(ValueError, match=r".*"):
        parse_line(line)
    assert not verify_lines([line], None).is_sound


def test_unwritable_data_is_refused() -> None:
    """What JSON cannot hold, or is too long, never becomes a line."""
    for data in ({"x": float("nan")}, {"x": "y" * LONGEST_LINE}):
        with pytest.raises(ValueError, match=r"JSON|too long"):
            make_line(Head(), "here", Event("t", None, data, 0.0))
    with pytest.raises(TypeError):
        canonical({"x": object()})


@pytest.mark.parametrize(
    "data",
    [
        {"token": "x"},
        {"API_TOKEN": "x"},
        {"a": [{"client-secret": 1}]},
        {"a": {"b": ({"Password": 1},)}},
        {"headers": {"Authorization": "Basic"}},
        {"cookies": []},
    ],
)
def test_keys_that_name_secrets_are_refused(data: Any) -> None:
    """However deep it is, a key that names a secret keeps the whole record out."""
    with pytest.raises(ValueError, match="secret"):
        refuse_secrets(data)


def test_other_keys_pass() -> None:
    """A word that merely contains one of the refused words is fine."""
    refuse_secrets({"tokenizer": 1, "secretary": [{"cookiecutter": 2}], "n": None})


def test_lines_are_read_up_to_an_end(tmp_path: Path) -> None:
    """Reading stops at the given byte, and a file that is not there has no lines."""
    lines = chain(3)
    path = tmp_path / "log"
    assert list(read_lines(path)) == []
    path.write_bytes(b"".join(lines))
    assert list(read_lines(path)) == lines
    assert list(read_lines(path, len(lines[0]))) == lines[:1]
