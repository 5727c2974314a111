"""Everything that a person can meet is documented, and the documentation is true."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import click
import pytest

from aileron_core.config import schema_of
from aileron_core.config.convert import fields_of
from aileron_core.plugins import load_hooks
from aileron_core.plugins.loader import hook_names, new_manager, register
from aileron_core.testing import session_for

ASKED_ABOUT_A_SESSION = ("contributions", "services", "deciders", "observers")


@pytest.mark.parametrize("page", ["settings", "hooks", "errors", "commands"])
def test_a_reference_page_is_what_the_code_says(page: str, root: Path, docs: ModuleType) -> None:
    """`scripts/docs.py` writes it anew."""
    written = (root / "docs" / f"{page}.md").read_text()
    assert written == docs.render(page), "run scripts/docs.py"


@pytest.mark.parametrize("name", hook_names())
def test_the_example_of_a_hook_runs(name: str, docs: ModuleType) -> None:
    """It is a whole plugin: it loads, and what it returns passes the facade."""
    example = docs.examples()[name]
    assert "@hookimpl" in example, "every hook has an example"
    assert run_example(example, name) not in (None, [], {})


def run_example(source: str, name: str) -> Any:
    """Load the source as a plugin and ask its hook."""
    from aileron_core.errors import INTERNAL
    from aileron_core.plugins.facade import Hooks
    from aileron_core.plugins.facts import PluginFact

    plugin = ModuleType("example")
    exec(compile(source, f"<example of {name}>", "exec"), plugin.__dict__)
    manager = new_manager()
    register(manager, "example", plugin)
    hooks = Hooks(manager, [PluginFact("example", "example", "docs", "0")])
    hook = name.removeprefix("aileron_")
    ask = getattr(hooks, hook)
    if hook in ASKED_ABOUT_A_SESSION:
        return ask(session_for())
    if hook == "error_hints":
        error = INTERNAL("x")
        error.code = "image-missing"
        return ask(error)
    answer = ask()
    assert hooks.broken == (), hooks.broken
    return answer


def test_every_setting_says_what_it_does() -> None:
    """In `setting(…, doc)`: a sentence that ends with a full stop."""
    for table, cls in schema_of(load_hooks()).tables.items():
        for where, setting in documented(table, cls):
            assert setting.doc.endswith("."), f"{where} is not documented"


def documented(prefix: str, cls: type[Any]) -> list[tuple[str, Any]]:
    """Every key with its setting, those of nested tables too."""
    found = []
    for name, field in fields_of(cls).items():
        found.append((f"{prefix}.{name}", field.setting))
        for kind in (field.type, *getattr(field.type, "__args__", ())):
            if isinstance(kind, type) and attrs.has(kind):
                found += documented(f"{prefix}.{name}", kind)
    return found


def test_every_command_and_option_says_what_it_does(docs: ModuleType) -> None:
    """In `--help`, hence in docs/commands.md."""
    for mode in load_hooks().modes():
        for path, command in docs.commands(mode.load(), mode.name):
            assert command.help, f"aileron {path}"
            for param in command.params:
                if isinstance(param, click.Option) and not param.hidden:
                    assert param.help, f"aileron {path} {param.opts[0]}"


def test_every_error_code_says_what_it_means(docs: ModuleType) -> None:
    """A sentence, and an exit status of the contract."""
    from aileron_core.errors import ErrorCode

    list(docs.modules())
    for code in ErrorCode.registry.values():
        assert code.summary.endswith("."), code
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", code.name), code
        assert code.exit_status in {1, 2, *range(64, 79), 124, 126, 127, 130}, code


def python_blocks(page: Path) -> list[str]:
    """The Python examples of a page."""
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def test_the_examples_for_plugin_authors_run(root: Path) -> None:
    """Each is a whole module; those with hooks load as plugins, those with tests pass."""
    blocks = python_blocks(root / "docs/writing-plugins.md")
    assert len(blocks) >= 4
    for number, source in enumerate(blocks):
        module = ModuleType(f"page_{number}")
        module.__dict__["plugin_of_this_page"] = None
        exec(compile(source, f"<writing-plugins {number}>", "exec"), module.__dict__)
        register(new_manager(), module.__name__, module)
        for name, value in list(vars(module).items()):
            if name.startswith("test_"):
                value()


def test_every_link_between_pages_leads_somewhere(root: Path) -> None:
    """Relative links, in docs and README."""
    lost = [
        f"{page}: {target}"
        for page in [root / "README.md", *(root / "docs").rglob("*.md")]
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert lost == []
