"""The remembered scan: used while nothing changes, and harmless."""

from __future__ import annotations

import importlib.metadata
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from aileron_core.plugins.scan import scan

Install = Callable[..., Path]


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One entry for each time that metadata is really read."""
    done: list[str] = []
    real = importlib.metadata.entry_points

    def counted(**params: str) -> importlib.metadata.EntryPoints:
        done.append("read")
        return real(**params)

    monkeypatch.setattr(importlib.metadata, "entry_points", counted)
    return done


def test_the_second_scan_reads_no_metadata(tmp_path: Path, scans: list[str]) -> None:
    """It gives the same answer from the cache."""
    first = scan(tmp_path / "cache")
    assert scan(tmp_path / "cache") == first
    assert scans == ["read"]


def test_a_new_distribution_is_noticed(tmp_path: Path, scans: list[str], install: Install) -> None:
    """Installing changes a directory on sys.path."""
    site = install("one", {"one": "one_plugin"})
    scan(tmp_path / "cache")
    info = site / "two-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: two\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[aileron.plugins]\ntwo = two_plugin\n")
    os.utime(site, ns=(1, 1))  # coarse clocks: make sure the time differs
    assert "two" in [point.name for point in scan(tmp_path / "cache")]


def test_a_changed_entry_point_file_is_noticed(tmp_path: Path, install: Install) -> None:
    """An editable install may rewrite it in place."""
    site = install("one", {"one": "one_plugin"})
    scan(tmp_path / "cache")
    file = site / "one-1.0.dist-info" / "entry_points.txt"
    file.write_text("[aileron.plugins]\nother = one_plugin\n")
    os.utime(file, ns=(1, 1))
    assert "other" in [point.name for point in scan(tmp_path / "cache")]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"format": 1}', b"null"])
def test_an_odd_cache_is_ignored(tmp_path: Path, content: bytes) -> None:
    """Whatever stands in the file, the answer is right."""
    cache = tmp_path / "cache"
    expected = scan(cache)
    (file,) = cache.iterdir()
    file.write_bytes(content)
    assert scan(cache) == expected
    assert json.loads(file.read_bytes())["format"] == 1


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    """A file where the directory should be: the scan is done each time."""
    (tmp_path / "file").write_text("")
    assert scan(tmp_path / "file" / "cache") == scan(None)
