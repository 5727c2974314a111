"""``docs/promises.md`` and this folder say the same."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "promises.md").read_text()


def test_every_promise_is_numbered_once():
    """Eleven promises, in order."""
    assert re.findall(r"^## (\d+)\. ", PAGE, re.MULTILINE) == [str(n) for n in range(1, 12)]


def test_every_test_named_on_the_page_exists():
    """A path on the page is a file, and a test named after it is in that file."""
    for path, name in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE):
        assert (ROOT / path).is_file(), path
        assert not name or f"def {name}(" in (ROOT / path).read_text(), (path, name)


def test_every_hostile_test_is_on_the_page():
    """No file of this folder proves something that is not promised."""
    here = {p.name for p in Path(__file__).parent.glob("test_*.py")} - {Path(__file__).name}
    assert {name for name in here if f"tests/escape/{name}" not in PAGE} == set()


def test_every_promise_says_how_it_is_held():
    """A promise names its tests, or says with which plugin it comes."""
    for section in PAGE.split("\n## ")[1:12]:
        assert "**Tests**" in section or "**Comes with**" in section, section.splitlines()[0]
