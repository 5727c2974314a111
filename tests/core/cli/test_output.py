"""What is shown: tables, JSON, and nothing that could drive a terminal."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aileron_core.cli.output import Output, clean, error_text
from aileron_core.errors import INTERNAL


def output(**more: Any) -> tuple[Output, io.StringIO, io.StringIO]:
    """An output with its two streams."""
    stdout, stderr = io.StringIO(), io.StringIO()
    return Output(stdout=stdout, stderr=stderr, **more), stdout, stderr


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("\x9b31m", "\\x9b31m"),
        ("a\rb", "a\\x0db"),
        ("a\nb", "a\\nb"),
        ("a\tb", "a\\x09b"),
        ("\u202eevil", "\\u202eevil"),
        ("\udcff", "\\xff"),
        ("é 漢 🙂", "é 漢 🙂"),
    ],
)
def test_control_characters_are_shown_not_sent(text: str, shown: str) -> None:
    """Colours, titles, cursor moves, reordering, bytes that are no text."""
    assert clean(text) == shown


@given(st.text())
def test_nothing_that_moves_a_cursor_gets_through(text: str) -> None:
    """Of any text; a block keeps newlines and tabs."""
    assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 for c in clean(text))
    assert not any(ord(c) < 32 and c not in "\n\t" for c in clean(text, block=True))
    clean(text).encode()


def test_a_cell_stays_on_its_line() -> None:
    """An agent's words cannot make up a row."""
    out, stdout, _ = output()
    out.table([{"name": "a\nfake  row", "state": None}], ["name", "state"])
    assert len(stdout.getvalue().splitlines()) == 2


def test_a_table_is_aligned_for_people_and_whole_for_programs() -> None:
    """JSON has the columns that are not shown, too."""
    rows = [{"id": "1", "name": "short"}, {"id": "2", "name": "much longer"}]
    out, stdout, _ = output()
    out.table(rows, ["name", "id"])
    assert stdout.getvalue() == "NAME         ID\nshort        1\nmuch longer  2\n"
    out, stdout, _ = output(json=True)
    out.table(rows, ["name"])
    assert json.loads(stdout.getvalue()) == rows


def test_an_empty_table_is_a_word_on_the_side() -> None:
    """And an empty array for programs."""
    out, stdout, stderr = output()
    out.table([], ["name"], empty="no sessions")
    assert (stdout.getvalue(), stderr.getvalue()) == ("", "no sessions\n")
    out, stdout, stderr = output(json=True)
    out.table([], ["name"], empty="no sessions")
    assert (stdout.getvalue(), stderr.getvalue()) == ("[]\n", "")


def test_values_are_written_as_people_write_them() -> None:
    """Yes and no, lists with commas, a dash for nothing."""
    out, stdout, _ = output()
    out.record({"on": True, "off": False, "none": None, "list": ["a", "b"], "map": {"a": 1}})
    assert [line.partition(" ")[2].strip() for line in stdout.getvalue().splitlines()] == [
        "yes", "no", "-", "a, b", "a=1",
    ]  # fmt: skip


def test_json_knows_paths_and_sets() -> None:
    """What records hold."""
    out, stdout, _ = output(json=True)
    out.record({"path": Path("/x"), "set": frozenset({"b", "a"})})
    assert json.loads(stdout.getvalue()) == {"path": "/x", "set": ["a", "b"]}


def test_with_json_only_json_is_on_stdout() -> None:
    """Lines for people are left out."""
    out, stdout, _ = output(json=True)
    out.line("for people")
    out.result({"a": 1}, "for people")
    assert json.loads(stdout.getvalue()) == {"a": 1}


def test_quiet_keeps_warnings_and_errors() -> None:
    """Only what is on the side goes."""
    out, _, stderr = output(quiet=True)
    out.say("progress")
    out.warn("careful")
    assert stderr.getvalue() == "aileron: warning: careful\n"


def test_errors_of_a_sandbox_cannot_paint() -> None:
    """An image's name may hold anything."""
    assert "\x1b" not in error_text(INTERNAL("no \x1b[2J", why="\x07", hints=["\x1b]0;x\x07"]))


def test_sentences_of_an_error_end_once() -> None:
    """What ends in a question or a full stop gets no other full stop."""
    text = error_text(INTERNAL("no '--x'. Did you mean '--y'?", why="it is unknown."))
    assert text.startswith("aileron: no '--x'. Did you mean '--y'? it is unknown. [")


def test_what_a_stream_cannot_write_is_escaped() -> None:
    """A terminal of another age."""
    raw = io.BytesIO()
    stdout = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
    Output(stdout=stdout).line("é")
    assert raw.getvalue() == b"\\xe9\n"
