"""Loading: what is found, what is left out, what is wrong with it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from aileron_core.errors import AileronError
from aileron_core.plugins import Hooks, load_hooks
from aileron_core.plugins.facts import EntryPoint, PluginFact
from aileron_core.plugins.scan import scan
from aileron_core.testing import hooks_with

Install = Callable[..., Path]

MODE = """
from aileron_core.hookspecs import hookimpl
from aileron_core.records import Mode

@hookimpl
def aileron_modes():
    return [Mode("hello", "say hello", lambda: None)]
"""


def load(disabled: Iterable[str] = ()) -> Hooks:
    """Load the core's own plugin and what the test installed."""
    points = [point for point in scan(None) if point.distribution != "aileron-runtime"]
    return load_hooks(disabled, entry_points=points)


def fact(hooks: Hooks, name: str) -> PluginFact:
    """The fact about one plugin."""
    return next(one for one in hooks.plugins if one.name == name)


def test_an_installed_plugin_is_found(install: Install) -> None:
    """A distribution with an entry point adds its modes; nothing else has to be done."""
    install("hello-dist", {"hello": "hello_plugin"}, hello_plugin=MODE)
    hooks = load()
    assert "hello" in [mode.name for mode in hooks.modes()]
    assert fact(hooks, "hello").distribution == "hello-dist"


def test_a_disabled_plugin_is_not_imported(install: Install) -> None:
    """Off means that not even the module runs."""
    install("quiet", {"quiet": "quiet_plugin"}, quiet_plugin="raise SystemExit('it was imported')")
    hooks = load({"quiet": "in /etc/x.toml:3"})
    assert "quiet_plugin" not in sys.modules
    assert not fact(hooks, "quiet").enabled
    assert fact(hooks, "quiet").why == "disabled in /etc/x.toml:3"
    assert hooks.broken == ()
    assert not hooks.is_on("quiet")


def test_two_plugins_of_one_name_are_refused_naming_both_distributions(install: Install) -> None:
    """pluggy would keep one in silence; which one would depend on sys.path."""
    install("first", {"same": "same_one"}, same_one="")
    install("second", {"same": "same_two"}, same_two="")
    with pytest.raises(AileronError) as caught:
        load()
    assert caught.value.code == "plugin-clash"
    assert "first" in caught.value.why
    assert "second" in caught.value.why


def test_two_plugins_of_one_name_that_are_off_harm_nobody(install: Install) -> None:
    """Leaving the name out is a way to go on until one is uninstalled."""
    install("first", {"same": "same_one"}, same_one="")
    install("second", {"same": "same_two"}, same_two="")
    assert not load(["same"]).is_on("same")


def test_a_plugin_called_core_is_refused() -> None:
    """Nobody replaces the core's own plugin."""
    with pytest.raises(AileronError) as caught:
        load_hooks(entry_points=[EntryPoint("core", "os", "impostor", "1")])
    assert caught.value.code == "plugin-clash"


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("import nothing_of_this_name", "ModuleNotFoundError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("1 +", "SyntaxError"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_named_and_survived(
    install: Install, source: str, why: str
) -> None:
    """The others work, and the fact says what is wrong."""
    install("bad", {"bad": "bad_plugin"}, bad_plugin=source)
    hooks = load()
    assert why in fact(hooks, "bad").broken
    assert [one.name for one in hooks.broken] == ["bad"]
    assert "config" in [mode.name for mode in hooks.modes()]


def test_a_broken_plugin_is_never_dropped_in_silence(install: Install) -> None:
    """It may be the one that enforces: `require_whole` refuses, and says how to leave it out."""
    install("bad", {"bad": "bad_plugin"}, bad_plugin="import nothing_of_this_name")
    hooks = load()
    with pytest.raises(AileronError) as caught:
        hooks.require_whole()
    assert caught.value.code == "plugin-broken"
    assert "--disable bad" in caught.value.hints[0]
    hooks.require_whole(disabled=["bad"])


def test_a_plugin_that_is_on_again_is_missed(install: Install) -> None:
    """A daemon that started without it must not run sessions as if it were there."""
    install("quiet", {"quiet": "quiet_plugin"}, quiet_plugin="")
    hooks = load({"quiet": "in /x.toml:1"})
    hooks.require_current(["quiet"])
    with pytest.raises(AileronError) as caught:
        hooks.require_current([])
    assert caught.value.code == "plugin-stale"
    assert "disabled in /x.toml:1" in caught.value.why


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("async def aileron_modes(): pass", "return a record instead"),
        ("async def aileron_modes(): yield", "return a record instead"),
        ("def aileron_mode(): pass", "did you mean 'aileron_modes'"),
        ("def aileron_modes(what): pass", "what"),
    ],
)
def test_a_hook_that_cannot_work_breaks_the_plugin_when_it_is_loaded(
    install: Install, source: str, why: str
) -> None:
    """Async hooks, mistyped names and wrong arguments are found before anything is asked."""
    marked = f"from aileron_core.hookspecs import hookimpl\n@hookimpl\n{source}\n"
    install("bad", {"bad": "bad_plugin"}, bad_plugin=marked)
    assert why in fact(load(), "bad").broken


def test_a_wrapper_is_refused(install: Install) -> None:
    """A wrapper could drop what others contribute: a decider, say."""
    source = (
        "from aileron_core.hookspecs import hookimpl\n"
        "@hookimpl(wrapper=True)\n"
        "def aileron_modes():\n    yield\n    return []\n"
    )
    install("bad", {"bad": "bad_plugin"}, bad_plugin=source)
    assert "wrapper" in fact(load(), "bad").broken


def test_a_forgotten_marker_is_found(install: Install) -> None:
    """A function with a hook's name that is not marked would otherwise do nothing, silently."""
    install("bad", {"bad": "bad_plugin"}, bad_plugin="def aileron_modes():\n    return []\n")
    assert "not marked with @hookimpl" in fact(load(), "bad").broken


def test_an_unknown_name_in_the_disable_list_is_an_error_with_the_nearest() -> None:
    """A mistyped name must not leave the plugin on."""
    points = [EntryPoint("shell-intercept", "os", "d", "1")]
    with pytest.raises(AileronError) as caught:
        load_hooks({"shell_intercpt": "in /x.toml:1"}, entry_points=points)
    assert caught.value.code == "plugin-unknown"
    assert caught.value.why == "in /x.toml:1"
    assert caught.value.hints == ("did you mean 'shell-intercept'?",)


def test_the_core_cannot_be_disabled() -> None:
    """Its modes are what mends everything else."""
    with pytest.raises(AileronError) as caught:
        load_hooks(["core"], entry_points=[])
    assert caught.value.code == "plugin-essential"


def test_an_entry_point_may_name_an_object(install: Install) -> None:
    """``module:object``, as entry points have it."""
    source = MODE.replace("@hookimpl\ndef", "class P:\n  @hookimpl\n  def").replace(
        "aileron_modes():\n    ", "aileron_modes(self):\n     "
    )
    install("objects", {"objects": "object_plugin:plugin"}, object_plugin=source + "\nplugin = P()")
    hooks = load()
    assert hooks.broken == ()
    assert hooks.modes_of("objects") == ["hello"]
    assert hooks.implemented("objects") == ["aileron_modes"]


def test_plugins_in_a_test_are_checked_at_once() -> None:
    """`hooks_with` raises where a real load would set the plugin aside."""

    class Bad:
        def aileron_modes(self) -> list[object]:
            """Not marked."""
            return []

    with pytest.raises(AileronError) as caught:
        hooks_with(Bad())
    assert caught.value.code == "plugin-broken"
