"""Lines of keys, in every way that TOML can write them."""

from __future__ import annotations

import tomllib

import pytest

from aileron_core.config.scanner import find_lines, has_endless_key, line_of

TEXT = '''\
# a comment with [brackets] and = signs
top = 1
"quoted.key" = "a # b"

[table]
list = [
  "x", # y ]
  "]",
]
after = 2
a.b.c = 3
text = """
[not.a.header]
key = 1
"""
'literal' = \'\'\'
[[nor.this]]
\'\'\'
inline = { one = 1, two = { three = 3 } }

[[table.items]]
n = 1
[table.items.sub]
m = 1
[[table.items]]
n = 2
[ spaced . "out" ]
last = 1
'''

LINES = {
    ("top",): 2,
    ("quoted.key",): 3,
    ("table",): 5,
    ("table", "list"): 6,
    ("table", "after"): 10,
    ("table", "a", "b", "c"): 11,
    ("table", "text"): 12,
    ("table", "literal"): 16,
    ("table", "inline"): 19,
    ("table", "items", 0): 21,
    ("table", "items", 0, "n"): 22,
    ("table", "items", 0, "sub", "m"): 24,
    ("table", "items", 1): 25,
    ("table", "items", 1, "n"): 26,
    ("spaced", "out", "last"): 28,
}


def test_every_key_has_its_line() -> None:
    """The text is TOML, and each key is found where it stands."""
    tomllib.loads(TEXT)
    found = find_lines(TEXT)
    assert {key: found[key] for key in LINES} == LINES
    assert not any("not" in key or "nor" in key for key in found)


def test_an_unknown_path_has_the_line_of_what_is_around_it() -> None:
    """Keys of inline tables are not told apart."""
    lines = find_lines(TEXT)
    assert line_of(lines, ("table", "inline", "two", "three")) == 19
    assert line_of(lines, ("nowhere",)) == 1


@pytest.mark.parametrize(
    ("text", "endless"),
    [
        (".".join("a" * 66) + " = 1", True),
        (".".join(['"a"'] * 66) + " = 1", True),
        ('x = "' + "." * 500 + '"', False),
        ("x = [" + "1.0, " * 200 + "]", False),
        ("# " + "." * 500, False),
        ("a.b = 1", False),
    ],
)
def test_only_keys_count_as_endless(text: str, endless: bool) -> None:
    """Dots in strings, comments and numbers are harmless."""
    assert has_endless_key(text) is endless
