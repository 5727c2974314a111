"""The one way to a decision: policy and deciders in parallel, the strictest wins, recorded first.

Whatever is missing, slow, broken or odd is a deny; nothing turns an ``ask`` into an ``allow``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeGuard

import structlog
import trio
from attrs import define, evolve, field, frozen

from aileron_core.daemon.context import Audit, Policy
from aileron_core.errors import AileronError
from aileron_core.records import Decision, NamedDecider, Request, Verdict

POLICY = "policy"
"""The decider's name of the policy itself."""

log = structlog.get_logger("aileron.gate")


Asker = Callable[[Request, Decision], Awaitable[Decision]]
"""Gets a person's answer to an ``ask``: a decision that is no ``ask``."""


def deny(rule: str, reason: str, decider: str = "gate") -> Decision:
    """A refusal by the gate itself or for a decider that did not answer properly."""
    return Decision(Verdict.DENY, rule, reason, decider)


_NO_SESSION = deny("gate", "there is no such session, or it has ended")


def _rank(decision: Decision) -> tuple[int, bool, str, str, str, str]:
    # The tail only makes the choice among equals independent of their order; the policy's own
    # decision comes first among them because it alone may name a credential.
    return (
        -decision.verdict.strictness,
        decision.decider != POLICY,
        decision.decider,
        decision.rule,
        decision.reason,
        decision.credential or "",
    )


def strictest(decisions: Iterable[Decision]) -> Decision:
    """The strictest of all (deny > ask > mediate > allow), whatever their order; none is a deny."""
    return min(decisions, key=_rank, default=deny("gate", "nothing decided"))


@frozen
class _Subject:
    """What the gate knows of one session."""

    policy: Policy
    deciders: tuple[NamedDecider, ...]


@define(eq=False)
class DecisionGate:
    """The `Gate` of the daemon; a session is admitted before its start, dismissed at its end."""

    _audit: Audit
    ask: Asker | None = None
    """Who gets a person's answer; set by what offers approvals."""
    _sessions: dict[str, _Subject] = field(factory=dict)

    def admit(self, session: str, policy: Policy, deciders: Sequence[NamedDecider] = ()) -> None:
        """From now on decide for this session; admitting again replaces policy and deciders."""
        self._sessions[session] = _Subject(policy, tuple(deciders))

    def dismiss(self, session: str) -> None:
        """From now on everything this session asks for is denied."""
        self._sessions.pop(session, None)

    async def decide(self, request: Request) -> Decision:
        """The strictest verdict of policy and deciders, recorded before it is returned.

        Raises nothing but cancellation: an unwritable audit log is a deny as well.
        """
        decision = await self._judge(request)
        if decision.verdict is Verdict.ASK:
            decision = await self._ask(request, decision)
        if request.session not in self._sessions:  # it may have ended while somebody was asked
            decision = _NO_SESSION
        return await self._record(request, decision)

    async def _judge(self, request: Request) -> Decision:
        subject = self._sessions.get(request.session)
        if subject is None:
            return _NO_SESSION
        decisions = [_policy_says(subject.policy, request)]
        async with trio.open_nursery() as nursery:
            for decider in subject.deciders:
                nursery.start_soon(_collect, decider, request, decisions)
        return strictest(decisions)

    async def _ask(self, request: Request, asked: Decision) -> Decision:
        if self.ask is None:
            return deny(asked.rule, f"nobody can be asked: {asked.reason}")
        try:
            answer = await self.ask(request, asked)
        except Exception as error:  # noqa: BLE001 - whatever breaks here must deny
            log.error("asking failed", session=request.session, error=repr(error))
            return deny(asked.rule, f"asking failed: {asked.reason}")
        if not _is_decision(answer) or answer.verdict is Verdict.ASK:
            return deny(asked.rule, f"nobody answered: {asked.reason}")
        return answer

    async def _record(self, request: Request, decision: Decision) -> Decision:
        data = {
            "kind": request.kind.value,
            "subject": dict(request.subject),
            "verdict": decision.verdict.value,
            "rule": decision.rule,
            "reason": decision.reason,
            "decider": decision.decider,
        }
        try:
            await self._audit.record("decision", request.session, data)
        except (AileronError, ValueError) as error:
            log.error("decision not recorded", session=request.session, error=str(error))
            return deny("gate", "the decision could not be recorded")
        return decision


def _policy_says(policy: Policy, request: Request) -> Decision:
    try:
        return evolve(policy.decide(request), decider=POLICY)
    except Exception as error:  # noqa: BLE001 - a fault in the policy must deny
        log.error("policy failed", session=request.session, error=repr(error))
        return deny(POLICY, "the policy failed", POLICY)


def _is_decision(said: Any) -> TypeGuard[Decision]:
    """Whether a plugin or a person's answer is one, whole enough to be compared and recorded."""
    return (
        isinstance(said, Decision)
        and isinstance(said.verdict, Verdict)
        and isinstance(said.rule, str)
        and isinstance(said.reason, str)
    )


async def _collect(decider: NamedDecider, request: Request, decisions: list[Decision]) -> None:
    """Add the decider's decision, or the deny that stands for its failure, to ``decisions``."""
    rule = f"plugin:{decider.name}"
    # Its own verdict only if it comes in time: a late one must not count as "not mine".
    outcome: Decision | None = deny(rule, "the decider took too long", decider.name)
    with trio.move_on_after(decider.timeout):
        outcome = await _consult(decider, request, rule)
    if outcome is not None:
        decisions.append(outcome)


async def _consult(decider: NamedDecider, request: Request, rule: str) -> Decision | None:
    try:
        said = await decider.decide(request)
    except Exception as error:  # noqa: BLE001 - a fault in a plugin must deny
        log.error("decider failed", decider=decider.name, error=repr(error))
        return deny(rule, "the decider failed", decider.name)
    if said is None:
        return None
    if not _is_decision(said):
        return deny(rule, "the decider gave no decision", decider.name)
    # Only the policy hands out credentials: a plugin can make things stricter, never more able.
    return evolve(said, decider=decider.name, credential=None)
