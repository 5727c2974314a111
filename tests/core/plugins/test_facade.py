"""The facade: typed, flat, sorted; clashes and failures name their plugins."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from aileron_core.backend import ListenerSpec, Mount
from aileron_core.errors import INTERNAL, AileronError
from aileron_core.hookspecs import hookimpl
from aileron_core.records import (
    ApprovalChannel,
    BackendFactory,
    Check,
    Contribution,
    HelperFile,
    Hint,
    Mode,
    NamedDecider,
    Route,
    SecretSource,
    Service,
)
from aileron_core.testing import hooks_with, session_for


def plugin(**hooks: Any) -> object:
    """A plugin whose hooks return (or raise, or call) what is given."""

    def implementation(name: str, given: Any) -> Any:
        def answer() -> Any:
            if isinstance(given, Exception):
                raise given
            return given() if callable(given) and not isinstance(given, type) else given

        def plain() -> Any:
            return answer()

        def with_session(session: Any) -> Any:
            return answer()

        def with_error(error: Any) -> Any:
            return answer()

        made = {"contributions": with_session, "services": with_session, "deciders": with_session,
                "observers": with_session, "error_hints": with_error}.get(name, plain)  # fmt: skip
        made.__name__ = f"aileron_{name}"
        return hookimpl(made)

    class Plugin:
        pass

    made = Plugin()
    for name, given in hooks.items():
        setattr(made, f"aileron_{name}", implementation(name, given))
    return made


def mode(name: str) -> Mode:
    """A mode that does nothing."""
    return Mode(name, "", lambda: None)  # type: ignore[arg-type, return-value]  # never loaded


async def nothing(*args: Any, **kwargs: Any) -> Any:
    """Any async callable."""


NAMED: list[tuple[str, Any]] = [
    ("modes", lambda name: mode(name)),
    ("backends", lambda name: BackendFactory(name, "", nothing)),
    ("checks", lambda name: Check(name, "", nothing)),
    ("routes", lambda name: Route(name, "host", lambda daemon: None)),
    ("secret_sources", lambda name: SecretSource(name, nothing)),
    ("approval_channels", lambda name: ApprovalChannel(name, nothing)),
]


@pytest.mark.parametrize(("hook", "make"), NAMED)
def test_what_plugins_give_is_flat_and_sorted(hook: str, make: Any) -> None:
    """The order of registration has no meaning."""
    one, two, three = make("a"), make("b"), make("c")
    hooks = hooks_with(z=plugin(**{hook: [three, one]}), y=plugin(**{hook: iter([two])}))
    assert getattr(hooks, hook)() == [one, two, three]


@pytest.mark.parametrize(("hook", "make"), NAMED)
def test_one_name_given_twice_is_an_error_naming_both_plugins(hook: str, make: Any) -> None:
    """Neither wins."""
    hooks = hooks_with(left=plugin(**{hook: [make("a")]}), right=plugin(**{hook: [make("a")]}))
    with pytest.raises(AileronError) as caught:
        getattr(hooks, hook)()
    assert caught.value.code == "plugin-conflict"
    assert "'left'" in caught.value.why
    assert "'right'" in caught.value.why


@pytest.mark.parametrize(
    "given",
    [ValueError("no"), "text", 3, mode("single"), [None], {"a": 1}],
    ids=["raises", "text", "number", "one record", "list of None", "dict"],
)
def test_a_plugin_that_answers_nonsense_at_start_is_set_aside(given: Any) -> None:
    """The others' answers stand, and the plugin is listed as broken with the hook's name."""
    hooks = hooks_with(bad=plugin(modes=given), good=plugin(modes=[mode("a")]))
    assert [one.name for one in hooks.modes()] == ["a"]
    (fact,) = hooks.broken
    assert (fact.name, fact.broken.split()[0]) == ("bad", "aileron_modes")


def test_a_coroutine_is_no_answer() -> None:
    """A plain function that returns a coroutine slips past the check of `async def`."""
    hooks = hooks_with(bad=plugin(modes=lambda: nothing()))
    assert hooks.modes() == []
    assert "return records instead" in hooks.broken[0].broken


def test_none_means_nothing() -> None:
    """A hook may have nothing to say."""
    hooks = hooks_with(a=plugin(modes=None, contributions=None, services=None, observers=None))
    session = session_for()
    assert hooks.modes() == hooks.services(session) == hooks.observers(session) == []
    assert hooks.contributions(session) == []
    assert hooks.broken == ()


def test_settings_are_tables_by_plugin() -> None:
    """The table has the plugin's name; what is no attrs class breaks the plugin."""
    hooks = hooks_with(one=plugin(settings=lambda: Mode), two=plugin(settings=lambda: int))
    assert hooks.settings() == {"one": Mode}
    assert [fact.name for fact in hooks.broken] == ["two"]


@pytest.mark.parametrize("hook", ["contributions", "services", "deciders"])
def test_a_plugin_that_fails_for_a_session_is_an_error(hook: str) -> None:
    """A session must not run with less than was asked for."""
    hooks = hooks_with(bad=plugin(**{hook: ValueError("no")}))
    with pytest.raises(AileronError) as caught:
        getattr(hooks, hook)(session_for())
    assert caught.value.code == "plugin-failed"
    assert "'bad'" in caught.value.message


def test_an_error_that_a_plugin_raises_knowingly_is_kept() -> None:
    """A plugin may refuse a session with its own code and mend."""
    own = INTERNAL("refused")
    hooks = hooks_with(strict=plugin(contributions=own))
    with pytest.raises(AileronError) as caught:
        hooks.contributions(session_for())
    assert caught.value is own


def test_a_plugin_that_a_session_leaves_out_is_not_asked() -> None:
    """`--disable` for one launch, in a daemon that has the plugin."""
    hooks = hooks_with(out=plugin(services=ValueError("asked")), other=plugin(services=[]))
    session = session_for(disabled=frozenset({"out"}))
    assert hooks.services(session) == []
    assert hooks.is_on("out")
    assert not hooks.is_on("out", session)


@pytest.mark.parametrize(
    ("what", "given"),
    [
        ("mount target", {"mounts": (Mount("/m"),)}),
        ("variable", {"environment": {"A": "1"}}),
        ("helper", {"helpers": (HelperFile("bin/x", b""),)}),
        ("listener", {"listeners": (ListenerSpec("proxy"),)}),
    ],
)
def test_two_contributions_of_one_name_are_refused(what: str, given: Any) -> None:
    """Which of the two held would otherwise be chance."""
    contribution = Contribution(**given)
    hooks = hooks_with(a=plugin(contributions=contribution), b=plugin(contributions=contribution))
    with pytest.raises(AileronError) as caught:
        hooks.contributions(session_for())
    assert what in caught.value.message


def test_contributions_come_with_their_plugin() -> None:
    """Sorted by the plugin's name, for a summary that says who adds what."""
    hooks = hooks_with(
        b=plugin(contributions=Contribution(environment={"B": "1"})),
        a=plugin(contributions=Contribution(environment={"A": "1"})),
    )
    assert [name for name, _ in hooks.contributions(session_for())] == ["a", "b"]


def test_services_come_after_those_they_name() -> None:
    """Names of services that are not there do not count."""
    hooks = hooks_with(
        x=plugin(services=[Service("a", nothing, after=("z", "absent"))]),
        y=plugin(services=[Service("z", nothing), Service("b", nothing)]),
    )
    assert [one.name for one in hooks.services(session_for())] == ["b", "z", "a"]


def test_services_that_wait_for_each_other_are_an_error() -> None:
    """Starting them in any order would break what one of them relies on."""
    circle = [Service("a", nothing, after=("b",)), Service("b", nothing, after=("a",))]
    with pytest.raises(AileronError) as caught:
        hooks_with(x=plugin(services=circle)).services(session_for())
    assert caught.value.code == "plugin-conflict"


def test_deciders_are_sorted_by_name() -> None:
    """They all have their say; the order is for the record."""
    hooks = hooks_with(x=plugin(deciders=[NamedDecider("b", nothing), NamedDecider("a", nothing)]))
    assert [one.name for one in hooks.deciders(session_for())] == ["a", "b"]


def test_an_observer_that_fails_is_left_out() -> None:
    """Watching cannot veto."""

    def observe(event: object) -> None:
        """See nothing."""

    hooks = hooks_with(a=plugin(observers=lambda: [observe]), b=plugin(observers=ValueError("no")))
    assert hooks.observers(session_for()) == [("a", observe)]


def test_hints_are_those_for_the_errors_code() -> None:
    """A plugin that fails while it helps changes nothing."""
    hooks = hooks_with(
        a=plugin(error_hints=[Hint("do this", "internal"), Hint("not this", "other")]),
        b=plugin(error_hints=ValueError("no")),
    )
    assert hooks.error_hints(INTERNAL("x")) == ["do this"]


def test_sessions_listeners_reach_services() -> None:
    """The hook gets the session itself."""

    class Plugin:
        @hookimpl
        def aileron_services(self, session: Any) -> list[Service]:
            """Name the service by the listener."""
            return [Service(name, nothing) for name in session.listeners]

    with socket.socket() as one:
        session = session_for(listeners={"proxy": one})
        assert [s.name for s in hooks_with(Plugin()).services(session)] == ["proxy"]


def test_a_backend_of_a_plugin_that_is_off_is_refused() -> None:
    """Switched off after the process loaded it counts as well: exit status 69, and the mend."""
    hooks = hooks_with(ours=plugin(backends=[BackendFactory("podman", "", nothing)]))
    hooks.require_backend("podman", ["another"])
    hooks.require_backend("unknown", [])
    with pytest.raises(AileronError) as caught:
        hooks.require_backend("podman", ["ours"])
    assert (caught.value.code, caught.value.exit_status) == ("backend-disabled", 69)
    assert caught.value.hints[0] == "aileron plugins enable ours"
