"""Who may import what: layers, and what start-up may cost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aileron_core.plugins.scan import scan

HEAVY = (
    "trio",
    "podman",
    "requests",
    "quart",
    "quart_trio",
    "hypercorn",
    "h11",
    "cattrs",
    "rich",
    "cryptography",
    "structlog",
    "tomlkit",
    "sqlite3",
    "asyncio",
)


def imported(code: str) -> list[str]:
    """The heavy modules that a new interpreter has imported after ``code``."""
    script = f"import sys\n{code}\nprint(*(m for m in {HEAVY!r} if m in sys.modules))"
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=env,  # coverage itself imports sqlite3
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    "module",
    [
        "aileron_core.__main__",
        "aileron_core.cli.main",
        "aileron_core.plugins",
        "aileron_core.records",
        "aileron_core.config.load",
        "aileron_core.testing",
    ],
)
def test_the_command_line_starts_without_heavy_modules(module: str) -> None:
    """click, attrs, pluggy and the standard library: everything else costs 100 ms and more."""
    assert imported(f"import {module}") == []


OWN = [p for p in scan(None) if p.distribution == "aileron-runtime"]


@pytest.mark.parametrize("module", [p.value for p in OWN], ids=[p.name for p in OWN])
def test_a_plugin_module_imports_nothing_heavy(module: str) -> None:
    """It is imported by every command; what a mode needs is imported in `Mode.load`."""
    assert imported(f"import {module}") == []


@pytest.mark.parametrize("mode", ["launch", "sessions"])
def test_the_most_used_modes_are_reached_without_heavy_modules(mode: str) -> None:
    """A launch is to take little longer than `podman run`."""
    code = (
        "from aileron_core.plugins import load_hooks\n"
        f"next(m for m in load_hooks().modes() if m.name == {mode!r}).load()"
    )
    assert imported(code) == []


def test_the_layers_hold(root: Path) -> None:
    """The core imports no plugin, no plugin imports another (import-linter)."""
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_only_the_facade_asks_hooks(sources: list[Path]) -> None:
    """One typed way in: nothing else touches ``pm.hook`` or pluggy."""
    for file in sources:
        if file.parent.name == "plugins" and file.parents[1].name == "aileron_core":
            continue
        text = file.read_text()
        assert ".hook." not in text, file
        if file.name != "hookspecs.py":
            assert "import pluggy" not in text, file


def test_plugins_import_what_they_may(sources: list[Path], pyproject: dict[str, Any]) -> None:
    """No back door: a plugin of the tree uses no private name of the core."""
    for file in sources:
        if "plugins/" in str(file) and "aileron_core" not in str(file):
            for line in file.read_text().splitlines():
                if line.startswith(("from aileron_core", "    from aileron_core")):
                    names = line.partition(" import ")[2].replace("(", "").split(",")
                    assert not any(n.strip().startswith("_") for n in names), (file, line)
