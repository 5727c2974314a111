"""The gate: nothing is allowed that not all allow, whatever happens, and all is on record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import trio
from attrs import define, evolve, field
from hypothesis import given
from hypothesis import strategies as st

from aileron_core.daemon.audit import AUDIT_UNWRITABLE
from aileron_core.daemon.gate import DecisionGate, deny, strictest
from aileron_core.records import Decision, Event, Kind, NamedDecider, Request, Verdict

REQUEST = Request(Kind.NETWORK, "s_1", {"host": "example.com", "port": "443"})
ALLOW = Decision(Verdict.ALLOW, "rule", "because")

decisions = st.builds(
    Decision,
    verdict=st.sampled_from(Verdict),
    rule=st.sampled_from(["a", "b"]),
    reason=st.sampled_from(["x", "y"]),
    decider=st.sampled_from(["policy", "p1", "p2"]),
    credential=st.none() | st.just("github"),
)


@given(st.lists(decisions))
def test_strictest_never_looser_than_any(given_: list[Decision]) -> None:
    """The result is as strict as the strictest; of nothing it is a deny."""
    wanted = max((one.verdict.strictness for one in given_), default=Verdict.DENY.strictness)
    assert strictest(given_).verdict.strictness == wanted


@given(st.lists(decisions, min_size=1), st.data())
def test_order_never_matters(given_: list[Decision], data: st.DataObject) -> None:
    """Any order of the same decisions gives the same decision, to the letter."""
    assert strictest(data.draw(st.permutations(given_))) == strictest(given_)


@given(st.lists(decisions, min_size=1), decisions)
def test_one_more_decision_never_loosens(given_: list[Decision], more: Decision) -> None:
    """Adding a decider can only make the result stricter."""
    before = strictest(given_).verdict.strictness
    assert strictest([*given_, more]).verdict.strictness >= before


@define(eq=False)
class Notes:
    """A record that keeps what is written, and can be full."""

    events: list[Event] = field(factory=list)
    is_full: bool = False

    async def record(self, type: str, session: str | None, data: Mapping[str, Any]) -> Event:  # noqa: A002 - the protocol's name
        """Keep it."""
        await trio.lowlevel.checkpoint()
        if self.is_full:
            raise AUDIT_UNWRITABLE("full")
        self.events.append(Event(type, session, data, 0.0))
        return self.events[-1]


@define
class Says:
    """A policy that always says the same."""

    decision: Any

    def decide(self, request: Request) -> Decision:
        """The same; an exception is raised."""
        if isinstance(self.decision, Exception):
            raise self.decision
        return self.decision  # type: ignore[no-any-return]  # wrong types are what is tested


def decider(result: Any, name: str = "d", timeout: float = 5.0) -> NamedDecider:
    """A decider that returns, raises, or sleeps."""

    async def decide(request: Request) -> Decision | None:
        if isinstance(result, Exception):
            raise result
        if isinstance(result, float):
            await trio.sleep(result)
            return None
        return result  # type: ignore[no-any-return]  # wrong types are what is tested

    return NamedDecider(name, decide, timeout)


def gate_of(*deciders: NamedDecider, policy: Any = ALLOW) -> tuple[DecisionGate, Notes]:
    """A gate that knows session ``s_1``, and its record."""
    notes = Notes()
    gate = DecisionGate(notes)  # type: ignore[arg-type]  # the part of a record that it needs
    gate.admit("s_1", Says(policy), deciders)
    return gate, notes


async def test_policy_decides_alone() -> None:
    """With no decider the policy's decision holds, credential and all, and is on record."""
    gate, notes = gate_of(policy=evolve(ALLOW, credential="github"))
    found = await gate.decide(REQUEST)
    assert found == Decision(Verdict.ALLOW, "rule", "because", "policy", "github")
    (event,) = notes.events
    assert (event.type, event.session) == ("decision", "s_1")
    assert event.data == {
        "kind": "network",
        "subject": {"host": "example.com", "port": "443"},
        "verdict": "allow",
        "rule": "rule",
        "reason": "because",
        "decider": "policy",
    }


@pytest.mark.parametrize(
    ("result", "verdict", "reason"),
    [
        (None, Verdict.ALLOW, "because"),
        (Decision(Verdict.MEDIATE, "r", "m"), Verdict.MEDIATE, "m"),
        (Decision(Verdict.DENY, "r", "no"), Verdict.DENY, "no"),
        (RuntimeError("secret detail"), Verdict.DENY, "the decider failed"),
        (ExceptionGroup("g", [ValueError()]), Verdict.DENY, "the decider failed"),
        ("allow", Verdict.DENY, "the decider gave no decision"),
        (True, Verdict.DENY, "the decider gave no decision"),
        (Decision("allow", "r", "a"), Verdict.DENY, "the decider gave no decision"),  # type: ignore[arg-type]
    ],
)
async def test_decider_can_only_make_it_stricter(
    result: Any, verdict: Verdict, reason: str
) -> None:
    """None passes; a verdict counts when stricter; a fault or nonsense is a deny."""
    gate, _ = gate_of(decider(result))
    found = await gate.decide(REQUEST)
    assert (found.verdict, found.reason) == (verdict, reason)


async def test_slow_decider_denies(autojump_clock: trio.testing.MockClock) -> None:
    """A decider that takes longer than its own timeout counts as deny, however it would end."""
    gate, _ = gate_of(decider(10.0, timeout=2.0), decider(1.0, "quick", timeout=2.0))
    before = trio.current_time()
    found = await gate.decide(REQUEST)
    assert (found.verdict, found.reason) == (Verdict.DENY, "the decider took too long")
    assert trio.current_time() - before == pytest.approx(2.0)


async def test_deciders_run_at_the_same_time(autojump_clock: trio.testing.MockClock) -> None:
    """Ten deciders of a second each take a second."""
    gate, _ = gate_of(*(decider(1.0, f"d{n}") for n in range(10)))
    before = trio.current_time()
    assert (await gate.decide(REQUEST)).verdict is Verdict.ALLOW
    assert trio.current_time() - before == pytest.approx(1.0)


async def test_plugin_cannot_hand_out_a_credential() -> None:
    """A credential that a plugin's decision names is dropped."""
    gate, _ = gate_of(decider(Decision(Verdict.MEDIATE, "r", "m", credential="github")))
    assert (await gate.decide(REQUEST)).credential is None


@pytest.mark.parametrize("policy", [RuntimeError("x"), None, "allow"])
async def test_broken_policy_denies(policy: Any) -> None:
    """A policy that raises or answers nonsense is a deny."""
    gate, _ = gate_of(policy=policy)
    assert (await gate.decide(REQUEST)).verdict is Verdict.DENY


async def test_unknown_and_dismissed_sessions_are_denied() -> None:
    """Who was never admitted, or whose session is over, gets nothing."""
    gate, notes = gate_of()
    stranger = evolve(REQUEST, session="s_2")
    assert (await gate.decide(stranger)).reason == "there is no such session, or it has ended"
    gate.dismiss("s_1")
    gate.dismiss("s_1")
    assert (await gate.decide(REQUEST)).verdict is Verdict.DENY
    assert len(notes.events) == 2


ASK = Decision(Verdict.ASK, "rule", "pushes leave this machine")


async def test_ask_with_nobody_to_ask_denies() -> None:
    """An ask never becomes an allow because nobody is there."""
    gate, notes = gate_of(policy=ASK)
    found = await gate.decide(REQUEST)
    assert found == deny("rule", "nobody can be asked: pushes leave this machine")
    assert notes.events[0].data["verdict"] == "deny"


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (ALLOW, Verdict.ALLOW),
        (Decision(Verdict.DENY, "r", "no"), Verdict.DENY),
        (ASK, Verdict.DENY),
        (None, Verdict.DENY),
        (Decision("allow", "r", "no verdict, but a word"), Verdict.DENY),  # type: ignore[arg-type]
        (RuntimeError(), Verdict.DENY),
    ],
)
async def test_answer_of_a_person(answer: Any, verdict: Verdict) -> None:
    """A person's answer counts; no answer, another ask or a fault is a deny."""
    gate, _ = gate_of(policy=ASK)

    async def ask(request: Request, asked: Decision) -> Decision:
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]  # wrong types are what is tested

    gate.ask = ask
    assert (await gate.decide(REQUEST)).verdict is verdict


async def test_answer_after_the_session_denies() -> None:
    """What a person allows when the session has ended meanwhile is not allowed any more."""
    gate, notes = gate_of(policy=ASK)

    async def ask(request: Request, asked: Decision) -> Decision:
        await trio.lowlevel.checkpoint()
        gate.dismiss(request.session)
        return ALLOW

    gate.ask = ask
    assert (await gate.decide(REQUEST)).verdict is Verdict.DENY
    assert notes.events[0].data["verdict"] == "deny"


async def test_unwritable_record_denies() -> None:
    """What cannot be recorded is not allowed."""
    gate, notes = gate_of()
    notes.is_full = True
    assert await gate.decide(REQUEST) == deny("gate", "the decision could not be recorded")
