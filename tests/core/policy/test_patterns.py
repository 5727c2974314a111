"""Patterns: what they match, and that no pattern takes for ever."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aileron_core.policy.patterns import (
    command_matches,
    path_matches,
    path_pattern,
    text_matches,
)


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("/**", "/", True),
        ("/**", "/a/b/c", True),
        ("/repos/**", "/repos", True),
        ("/repos/**", "/repos/", True),
        ("/repos/**", "/repos/a/b", True),
        ("/repos/**", "/reposx", False),
        ("/repos/*", "/repos/a", True),
        ("/repos/*", "/repos/a/b", False),
        ("/repos/*", "/repos/", False),
        ("/*/x", "/a/x", True),
        ("/**/x", "/x", True),
        ("/**/x", "/a/b/x", True),
        ("/**/x", "/a/b/xy", False),
        ("/a/**/b/**/c", "/a/1/b/2/3/c", True),
        ("/a/**/b/**/c", "/a/1/2/3/c", False),
        ("/v*/a", "/v1/a", True),
        ("/v*/a", "/v/a", True),
        ("/v*/a", "/x1/a", False),
        ("/a.c", "/abc", False),
        ("/(a|b)+", "/a", False),
        ("/a", "/a/", False),
        ("/a", "/A", False),
    ],
)
def test_path_patterns(pattern: str, path: str, fits: bool) -> None:
    """``*`` is something within a segment, ``**`` any segments; the rest is text, never a regex."""
    assert path_matches(path_pattern(pattern), path) is fits


@pytest.mark.parametrize("pattern", ["", "a/b", "/a**", "/**b/c", "/a/../b", "/.", "/a\0"])
def test_odd_path_patterns_are_refused(pattern: str) -> None:
    """A pattern that no request can fit, or that says two things, is an error."""
    with pytest.raises(ValueError, match="path"):
        path_pattern(pattern)


@given(st.text("ab*", max_size=8), st.text("ab", max_size=8))
def test_stars_mean_what_they_mean_in_a_regex(pattern: str, text: str) -> None:
    """The matcher agrees with the regular expression that the pattern stands for."""
    expression = ".*".join(map(re.escape, pattern.split("*")))
    assert text_matches(pattern, text) == (re.fullmatch(expression, text) is not None)


@given(st.lists(st.sampled_from(["a", "b", "**"]), max_size=6), st.lists(st.sampled_from("ab")))
def test_double_stars_mean_what_they_mean_in_a_regex(pattern: list[str], words: list[str]) -> None:
    """The same for lists of words."""
    expression = "".join(".*" if word == "**" else word for word in pattern)
    fits = command_matches(["x", *pattern], "/bin/x", ["x", *words])
    assert fits == (re.fullmatch(expression, "".join(words)) is not None)


def test_no_pattern_takes_for_ever() -> None:
    """Patterns that blow up a backtracking matcher cost next to nothing."""
    before = time.perf_counter()
    assert not text_matches("a*" * 50 + "b", "a" * 2000)
    assert not path_matches(path_pattern("/**/a" * 50 + "/b"), "/a" * 1000)
    assert time.perf_counter() - before < 1


@pytest.mark.parametrize(
    ("command", "program", "argv", "fits"),
    [
        (["git", "push", "**"], "/usr/bin/git", ["git", "push"], True),
        (["git", "push", "**"], "/usr/bin/git", ["git", "push", "origin", "main"], True),
        (["git", "push", "**"], "/usr/bin/git", ["innocent", "push"], True),
        (["git", "push", "**"], "/usr/bin/git", ["git", "pull"], False),
        (["git", "push", "**"], "/tmp/evil", ["git", "push"], False),
        (["git"], "/usr/bin/git", ["git", "push"], False),
        (["/usr/bin/git", "**"], "/usr/bin/git", ["x"], True),
        (["/usr/bin/git", "**"], "/opt/bin/git", ["x"], False),
        (["/opt/*/git", "**"], "/opt/bin/git", ["x"], True),
        (["python*", "**"], "/usr/bin/python3.11", ["python"], True),
        (["rm", "-rf", "*"], "/bin/rm", ["rm", "-rf", "/"], True),
        (["rm", "-rf", "*"], "/bin/rm", ["rm", "-rf", "a", "b"], False),
        (["**"], "/bin/anything", ["x", "y"], True),
        (["**", "--force"], "/bin/anything", ["x", "--force"], True),
        (["**", "--force"], "/bin/anything", ["x", "--forceful"], False),
        (["curl", "**", "-o*"], "/usr/bin/curl", ["curl", "u", "-ofile"], True),
    ],
)
def test_commands(command: list[str], program: str, argv: list[str], fits: bool) -> None:
    """The program is known by its file, never by what the caller calls it; arguments by text."""
    assert command_matches(command, program, argv) is fits
