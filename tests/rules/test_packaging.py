"""What is shipped is what is in the tree."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from aileron_core.plugins import load_hooks

PLUGINS = {
    "launch": "aileron_launch.plugin",
    "podman": "aileron_podman.plugin",
    "proxy": "aileron_proxy.plugin",
    "shell-intercept": "aileron_shell_intercept.plugin",
    "approvals": "aileron_approvals.plugin",
    "wait-drain": "aileron_approvals.wait_drain",
    "connectors": "aileron_connectors.plugin",
}


def test_every_package_of_the_tree_is_listed(root: Path, pyproject: dict[str, Any]) -> None:
    """A package that is not listed would be missing from the wheel, silently."""
    listed = pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    there = [str(p.parent.relative_to(root)) for p in root.glob("plugins/*/*/__init__.py")]
    assert sorted(listed) == sorted(["aileron_core", *there])
    names = [Path(package).name for package in listed]
    tools = pyproject["tool"]
    assert sorted(tools["mypy"]["packages"]) == sorted(names)
    assert sorted(tools["importlinter"]["root_packages"]) == sorted(names)
    assert sorted(tools["coverage"]["run"]["source_pkgs"]) == sorted(names)


def test_every_package_is_typed(root: Path, pyproject: dict[str, Any]) -> None:
    """Type checkers of plugin authors look for `py.typed` (PEP 561)."""
    for package in pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        assert (root / package / "py.typed").exists(), package


def test_entry_points_are_those_of_the_architecture(pyproject: dict[str, Any]) -> None:
    """The unit of on and off is the entry point; each can be imported."""
    assert pyproject["project"]["entry-points"]["aileron.plugins"] == PLUGINS
    for module in PLUGINS.values():
        importlib.import_module(module)


def test_no_plugin_of_the_tree_is_broken() -> None:
    """All load and answer."""
    hooks = load_hooks()
    for ask in (
        hooks.modes,
        hooks.backends,
        hooks.settings,
        hooks.checks,
        hooks.routes,
        hooks.secret_sources,
        hooks.approval_channels,
    ):
        ask()
    assert hooks.broken == ()


def test_no_mode_only_says_that_it_is_not_there() -> None:
    """A mode exists when it works."""
    for mode in load_hooks().modes():
        assert mode.summary, mode.name
        assert mode.load().name is not None, mode.name
