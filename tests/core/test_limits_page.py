"""The numbers in ``docs/limits.md`` are the ones in the code."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from aileron_core.backend import Limits

PAGE = (Path(__file__).parents[2] / "docs" / "limits.md").read_text()
UNITS = {"": 1, "s": 1, "days": 86400, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
ROWS = re.findall(r"^\| [^|]+ \| ([\d.]+) ?(\w*) \| `([\w.]+):([\w.]+)` \|", PAGE, re.MULTILINE)


@pytest.mark.parametrize(("number", "unit", "module", "name"), ROWS, ids=lambda value: value)
def test_the_number_is_the_one_in_force(number: str, unit: str, module: str, name: str):
    """The bound on the page, in its unit, equals the constant it names."""
    first, *fields = name.split(".")
    value = getattr(importlib.import_module(module), first)
    if isinstance(value, type):
        value = value()
    for field in fields:
        value = getattr(value, field)
    assert float(number) * UNITS[unit] == value


def test_every_row_with_code_is_compared():
    """No row escapes the test by being written differently."""
    assert len(ROWS) == len(re.findall(r"`aileron_\w+[.\w]*:[\w.]+`", PAGE))


def test_the_defaults_of_a_sandbox():
    """Memory, processes, files and core dumps have the limits that the page says."""
    limits = Limits()
    assert (limits.memory, limits.pids, limits.files, limits.core) == (4 << 30, 1024, 4096, 0)
