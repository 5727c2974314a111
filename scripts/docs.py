#!/usr/bin/env python3
"""Write the reference pages from the code: docs/{settings,hooks,errors,commands}.md.

``scripts/docs.py`` writes them; ``tests/rules`` compares them with what it would write.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import sys
import textwrap
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import attrs
import click

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = (
    "aileron_core",
    "aileron_launch",
    "aileron_podman",
    "aileron_proxy",
    "aileron_shell_intercept",
    "aileron_approvals",
    "aileron_connectors",
)
NOTE = "<!-- Written by scripts/docs.py from the code; tests/rules compares. -->\n"


# --- hooks --------------------------------------------------------------------------------------


def hooks_page() -> str:
    """A section a hook, grouped by the moment, with its example."""
    from aileron_core import hookspecs

    parts = ["# Hooks\n", NOTE, _block_doc(hookspecs.__doc__ or "")]
    moment = ""
    for found in re.finditer(
        r"^# --- (.+?) -+$|^def (aileron_\w+)", _source(hookspecs), re.MULTILINE
    ):
        if found.group(1):
            moment = found.group(1)
            parts.append(f"\n## {moment[0].upper()}{moment[1:]}\n")
        else:
            parts.append(_hook_section(getattr(hookspecs, found.group(2))))
    return "\n".join(parts)


def _source(module: types.ModuleType) -> str:
    return Path(str(module.__file__)).read_text()


def _hook_section(hook: Callable[..., Any]) -> str:
    signature = str(inspect.signature(hook)).replace("'", "")
    doc = inspect.cleandoc(hook.__doc__ or "")
    text, _, example = doc.partition("Example::\n")
    return (
        f"### `{hook.__name__}`\n\n"
        f"`{hook.__name__}{signature}`\n\n"
        f"{_block_doc(text)}\n"
        f"```python\n{textwrap.dedent(example).strip()}\n```\n"
    )


def examples() -> dict[str, str]:
    """The example of each hook, by the hook's name."""
    from aileron_core import hookspecs

    found = {}
    for name in vars(hookspecs):
        if name.startswith("aileron_"):
            doc = inspect.cleandoc(getattr(hookspecs, name).__doc__ or "")
            found[name] = textwrap.dedent(doc.partition("Example::\n")[2]).strip()
    return found


def _block_doc(text: str) -> str:
    """A docstring as Markdown: literal quotes, and `Args:` blocks as lists."""
    lines = []
    for line in inspect.cleandoc(text).splitlines():
        heading = re.fullmatch(r"(Args|Returns|Raises|Attributes):", line)
        if heading:
            lines.append(f"**{heading.group(1)}**\n")
        else:
            lines.append(line.removeprefix("    ").replace("``", "`"))
    return "\n".join(lines).strip() + "\n"


# --- settings -----------------------------------------------------------------------------------


def settings_page() -> str:
    """A table of keys for each configuration table."""
    from aileron_core.config import schema_of
    from aileron_core.plugins import load_hooks

    intro = """
Configuration is TOML, in layers: built in, `/etc/aileron/config.toml`,
`$XDG_CONFIG_HOME/aileron/config.toml`, the project's `.aileron.toml`, `--config FILE`, variables,
flags; each over the one before. A key `key` of a table `[some-table]` is the variable
`AILERON_SOME_TABLE_KEY`; lists are separated by commas there. `aileron config show` says what holds
and where each value comes from.

*Project* says what a project's own file may do before `aileron config trust`: nothing (`no`), make
it stricter (`stricter`), or set it (`yes`). A list marked *adds* is added to what lower layers say.
"""
    parts = ["# Settings\n", NOTE, intro]
    for name, cls in sorted(schema_of(load_hooks()).tables.items()):
        parts += _table_sections(f"[{name}]", cls)
    return "\n".join(parts)


def _table_sections(name: str, cls: type[Any]) -> list[str]:
    from aileron_core.config.convert import fields_of

    rows, below = [], []
    for key, field in fields_of(cls).items():
        inner = _attrs_inside(field.type)
        rows.append(
            f"| `{key}` | {_type_name(field.type)} | {_default(field)} "
            f"| {_project(field.setting)} | {_cell(field.setting.doc)} |"
        )
        if inner is not None:
            below += _table_sections(_below(name, key, field.type), inner)
    head = "| key | type | built in | project | what it does |\n|---|---|---|---|---|"
    text = "\n".join([head, *rows])
    return [f"## `{name}`\n\n{_summary(cls)}\n\n{text}\n", *below]


_PROJECT = {"never": "no", "tighten": "stricter", "free": "yes"}


def _project(setting: Any) -> str:
    return _PROJECT[setting.project] + (", adds" if setting.merge == "append" else "")


def _summary(cls: type[Any]) -> str:
    return _block_doc(cls.__doc__ or "").splitlines()[0]


def _below(name: str, key: str, kind: Any) -> str:
    inner = f"{name.strip('[]')}.{key}"
    origin = typing.get_origin(kind)
    if origin in (tuple, list):
        return f"[[{inner}]]"
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        return f"[{inner}.NAME]"
    return f"[{inner}]"


def _attrs_inside(kind: Any) -> type[Any] | None:
    """The attrs class of a nested table, a list of them or a mapping to them."""
    for one in (kind, *typing.get_args(kind)):
        if isinstance(one, type) and attrs.has(one):
            return one
    return None


def _type_name(kind: Any) -> str:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return ", ".join(f"`{one}`" for one in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type_name(one) for one in arguments if one is not types.NoneType)
    if origin in (tuple, list, frozenset):
        return f"list of {_type_name(arguments[0])}"
    if origin is not None:
        return f"table of {_type_name(arguments[1])}"
    if attrs.has(kind):
        return "table"
    if hasattr(kind, "__members__"):
        return ", ".join(f"`{one.value}`" for one in kind)
    return {"str": "text", "int": "number", "float": "number", "bool": "yes or no"}.get(
        kind.__name__, kind.__name__.lower()
    )


def _default(field: Any) -> str:
    value = field.default
    if isinstance(value, attrs.Factory):  # type: ignore[arg-type]  # attrs.Factory is a class
        value = value.factory()
    if value is attrs.NOTHING:
        return "required"
    if value is None or value in ((), {}, "") or attrs.has(type(value)):
        return ""
    if isinstance(value, (tuple, list)):
        return ", ".join(f"`{one}`" for one in value)
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


# --- errors -------------------------------------------------------------------------------------


def modules() -> Iterator[types.ModuleType]:
    """Every module of the tree, imported, but those that run something."""
    for package in PACKAGES:
        found = importlib.import_module(package)
        yield found
        for info in pkgutil.walk_packages(found.__path__, f"{package}."):
            if not info.name.endswith("__main__"):
                yield importlib.import_module(info.name)


def errors_page() -> str:
    """Every code, its exit status and its meaning."""
    from aileron_core.errors import ErrorCode

    list(modules())
    intro = """
Every failure has a stable code, shown in brackets at the end of the message and as `code` with
`--json` and in the API. The message says what happened, why, and what to do now; this page says
what the code means.
"""
    rows = [
        f"| `{code.name}` | {code.exit_status} | {_cell(code.summary)} |"
        for _, code in sorted(ErrorCode.registry.items())
        if code.__class__ is ErrorCode and not code.name.startswith("test-")
    ]
    head = "| code | exit status | meaning |\n|---|---|---|"
    return "\n".join(["# Errors\n", NOTE, intro, head, *rows, ""])


# --- commands -----------------------------------------------------------------------------------


def commands_page() -> str:
    """Every command with its usage and options."""
    from aileron_core.cli.app import App
    from aileron_core.cli.modes_group import aileron
    from aileron_core.plugins import load_hooks

    parts = ["# Commands\n", NOTE]
    context = click.Context(aileron, info_name="aileron", obj=App())
    parts.append("## Global options\n\nBefore the mode or after it.\n\n" + _options(context))
    for mode in load_hooks().modes():
        parts.append(f"## `aileron {mode.name}`\n\n{mode.summary}\n")
        parts += list(_command_parts(mode.load(), mode.name, context))
    return "\n".join(parts)


def commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """The command and all below it."""
    yield path, command
    if isinstance(command, click.Group):
        for name in sorted(command.commands):
            yield from commands(command.commands[name], f"{path} {name}")


def _command_parts(command: click.Command, name: str, parent: click.Context) -> Iterator[str]:
    for path, one in commands(command, name):
        if one.hidden:
            continue
        context = click.Context(one, info_name=path, parent=parent)
        usage = " ".join(one.collect_usage_pieces(context))
        title = "" if path == name else f"### `aileron {path}`\n\n"
        text = _help_text(one.help or "")
        yield f"{title}```\naileron {path} {usage}\n```\n\n{text}\n\n{_options(context)}"


def _help_text(text: str) -> str:
    return "\n".join("" if line == "\b" else line for line in inspect.cleandoc(text).splitlines())


def _options(context: click.Context) -> str:
    rows = []
    for param in context.command.params:
        if isinstance(param, click.Option) and not param.hidden:
            names = ", ".join(f"`{name}`" for name in (*param.opts, *param.secondary_opts))
            value = "" if param.is_flag or param.count else f" {param.make_metavar(context)}"
            rows.append(f"- {names}{value.replace('|', ' | ')}: {_cell(param.help or '')}")
    return "\n".join([*rows, ""]) if rows else ""


PAGES: dict[str, Callable[[], str]] = {
    "settings": settings_page,
    "hooks": hooks_page,
    "errors": errors_page,
    "commands": commands_page,
}


def render(page: str) -> str:
    """A page's text, as it should be in docs/."""
    return re.sub(r"\n{3,}", "\n\n", PAGES[page]()).strip() + "\n"


def main() -> int:
    """Write all pages; say which changed."""
    for page in PAGES:
        file = ROOT / "docs" / f"{page}.md"
        text = render(page)
        if not file.exists() or file.read_text() != text:
            file.write_text(text)
            print(f"wrote {file.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
