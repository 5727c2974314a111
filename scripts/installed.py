"""Exit 0 when every requirement of pyproject.toml, development ones too, is installed here.

Quick (no resolver): `scripts/setup` asks it on every run, to notice a package that was removed.
"""

from __future__ import annotations

import re
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def missing() -> list[str]:
    """Names of requirements that have no distribution in this environment."""
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"], project["name"]]
    return [name for name in map(_name, wanted) if not _installed(name)]


def _name(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    return match.group() if match else requirement


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


if __name__ == "__main__":
    absent = missing()
    if absent:
        print("not installed:", ", ".join(absent), file=sys.stderr)
    sys.exit(bool(absent))
