"""Where the tree is, and what is in it."""

from __future__ import annotations

import importlib.util
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def pyproject() -> dict[str, Any]:
    """`pyproject.toml`."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="session")
def sources(pyproject: dict[str, Any]) -> list[Path]:
    """Every module that is shipped."""
    packages = pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    return sorted(file for package in packages for file in (ROOT / package).rglob("*.py"))


@pytest.fixture(scope="session")
def docs() -> ModuleType:
    """`scripts/docs.py`."""
    spec = importlib.util.spec_from_file_location("docs_script", ROOT / "scripts/docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
