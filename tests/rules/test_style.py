"""Sizes and habits that keep the code readable."""

from __future__ import annotations

import ast
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

MOST_LINES = 400
LONGEST_FUNCTION = 60
MEDIAN_FUNCTION = 8

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(file: Path) -> Iterator[Function]:
    """Every function of a module, nested ones and methods too."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, Function):
            yield node


def body_lines(function: Function) -> int:
    """Lines from the first statement after the docstring to the end."""
    body = function.body
    if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body = body[1:]
    return (function.end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_no_module_is_longer_than_400_lines(sources: list[Path]) -> None:
    """Split it by what it is about."""
    sizes = {str(file): len(file.read_text().splitlines()) for file in sources}
    assert {name: size for name, size in sizes.items() if size > MOST_LINES} == {}


def test_no_function_is_longer_than_60_lines(sources: list[Path]) -> None:
    """And half of them have no more than 8."""
    sizes = {
        f"{file}:{one.lineno} {one.name}": body_lines(one)
        for file in sources
        if file.name != "hookspecs.py"  # pages, not functions
        for one in functions(file)
    }
    assert {name: size for name, size in sizes.items() if size > LONGEST_FUNCTION} == {}
    assert statistics.median(sizes.values()) <= MEDIAN_FUNCTION


def test_assert_is_never_a_guard_where_decisions_are_made(sources: list[Path]) -> None:
    """`python -O` drops assertions."""
    for file in sources:
        if "/policy/" in str(file) or file.name in ("gate.py", "verify.py", "auth.py"):
            found = [n for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.Assert)]
            assert [f"{file}:{node.lineno}" for node in found] == []


def test_every_exception_to_a_rule_has_its_reason(sources: list[Path]) -> None:
    """``noqa`` and ``type: ignore`` name the rule and say why."""
    bare = [
        f"{file}:{number}"
        for file in sources
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if (found := _EXCEPTION.search(line)) and not found.group("why")
    ]
    assert bare == []


_EXCEPTION = re.compile(
    r"# (noqa: [A-Z0-9]+(?:, ?[A-Z0-9]+)*|type: ignore\[[a-z, -]+\]|noqa|type: ignore)"
    r"(?P<why>\s+(- |# )?\S+ \S+)?"
)


def test_every_test_says_what_it_proves(root: Path) -> None:
    """In its docstring."""
    for file in (root / "tests").rglob("test_*.py"):
        for one in functions(file):
            if one.name.startswith("test_") and one.col_offset in (0, 4):
                assert ast.get_docstring(one), f"{file}:{one.lineno} {one.name}"


def test_no_test_sleeps(root: Path) -> None:
    """Waiting for a condition is written as that; time is moved by `autojump_clock`."""
    calls = [
        f"{file}:{node.lineno}"
        for file in (root / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "time.sleep"
    ]
    assert calls == []
