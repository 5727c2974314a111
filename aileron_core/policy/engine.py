"""The compiled policy: what the rules say about a request. Pure and immutable.

Every rule that matches counts and the strictest verdict wins (deny > ask > mediate > allow), so
that the order of rules, files and layers never matters. Where no rule matches, the default of the
request's kind holds; what has no default, or is not understood, is denied. A request costs a few
dictionary look-ups, however many rules there are (docs/policy.md).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from attrs import field, frozen

from aileron_core.policy.names import canonical_host, canonical_path, is_address
from aileron_core.policy.patterns import command_matches, path_matches, path_pattern
from aileron_core.policy.settings import ExecRule, NetworkRule, Rule, host_pattern
from aileron_core.records import Decision, Kind, Request, Verdict

WEB_PORTS = frozenset({80, 443})
"""Of a rule that names none."""
WEB_SCHEMES = frozenset({"http", "https"})
_STRICT = (Verdict.ASK, Verdict.DENY)
_SLASHES = re.compile(r"//+")


@frozen
class _Network:
    """A network rule, ready to be matched; it is kept under its host."""

    rule: NetworkRule
    host: str
    is_added: bool
    methods: frozenset[str]
    ports: frozenset[int]
    schemes: frozenset[str]
    path: tuple[str, ...]

    @classmethod
    def of(cls, rule: NetworkRule, is_added: bool) -> _Network:
        # What is left out means the usual where a rule allows, and everything where it does not.
        is_loose = rule.verdict in (Verdict.ALLOW, Verdict.MEDIATE)
        return cls(
            rule,
            host_pattern(rule.host),
            is_added,
            frozenset(rule.methods),
            frozenset(rule.ports) or (WEB_PORTS if is_loose else frozenset()),
            frozenset(rule.schemes) or (WEB_SCHEMES if is_loose else frozenset()),
            path_pattern(rule.path),
        )

    def matches(self, asked: _Asked) -> bool:
        return (
            (not self.ports or asked.port in self.ports)
            and (not self.schemes or asked.scheme in self.schemes)
            and (not self.methods or asked.method in self.methods)
            and path_matches(self.path, asked.path)
        )


@frozen
class _Program:
    """A rule about programs."""

    rule: ExecRule
    is_added: bool


@frozen
class _Asked:
    """A network request, understood."""

    scheme: str
    host: str
    port: int
    method: str
    path: str


@frozen
class Engine:
    """A policy; made by `compile_policy`."""

    name: str
    defaults: Mapping[Kind, Verdict]
    _exact: Mapping[str, tuple[_Network, ...]] = field(repr=False)
    """By host."""
    _below: Mapping[str, tuple[_Network, ...]] = field(repr=False)
    """``*.example.com``, by ``example.com``."""
    _all: tuple[_Network, ...] = field(repr=False)
    """``*``: any name; an address only where the rule asks or denies."""
    _exec: tuple[_Program, ...] = field(repr=False)

    @property
    def judges_programs(self) -> bool:
        """There are rules about programs, or their default is not allow."""
        return bool(self._exec) or self.defaults.get(Kind.EXEC) is not Verdict.ALLOW

    def decide(self, request: Request) -> Decision:
        """What the rules say; never raises, for what is not understood is denied."""
        judge = _JUDGES.get(request.kind, Engine._by_default)
        try:
            return judge(self, request)
        except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            return Decision(Verdict.DENY, self._source, f"the request is not understood: {error}")

    @property
    def _source(self) -> str:
        return f"policy:{self.name}"

    def _by_default(self, request: Request) -> Decision:
        verdict = self.defaults.get(request.kind, Verdict.DENY)
        reason = f"no rule speaks of it, and by default {request.kind.value} is {_PAST[verdict]}"
        return Decision(verdict, self._source, reason)

    # --- network ------------------------------------------------------------------------------

    def _network(self, request: Request) -> Decision:
        asked = _understood(request.subject)
        merged = _SLASHES.sub("/", asked.path)
        # Some servers take // for /, some do not: such a request must be right either way.
        paths = dict.fromkeys((asked.path, merged))  # in order: the choice among equals is the same
        return min((self._network_at(request, asked, path) for path in paths), key=_leniency)

    def _network_at(self, request: Request, asked: _Asked, path: str) -> Decision:
        at = _Asked(asked.scheme, asked.host, asked.port, asked.method, path)
        return self._decision(
            request, [one for one in self._candidates(at.host) if one.matches(at)]
        )

    def _candidates(self, host: str) -> Iterator[_Network]:
        yield from self._exact.get(host, ())
        if is_address(host):
            yield from (one for one in self._all if one.rule.verdict in _STRICT)
            return
        parent = host
        while "." in parent:
            parent = parent.partition(".")[2]
            yield from self._below.get(parent, ())
        yield from self._all

    # --- exec ---------------------------------------------------------------------------------

    def _program(self, request: Request) -> Decision:
        program, argv = request.subject["program"], request.subject["argv"]
        if not isinstance(program, str) or not program.startswith("/"):
            raise ValueError("the program is no absolute path")
        if not isinstance(argv, tuple) or not argv:
            raise ValueError("there are no arguments")
        return self._decision(
            request, [one for one in self._exec if command_matches(one.rule.command, program, argv)]
        )

    # --- both ---------------------------------------------------------------------------------

    def _decision(self, request: Request, found: Sequence[_Network | _Program]) -> Decision:
        """What the rules that match come to; those that were added can only make it stricter."""
        own = _strictest(one.rule for one in found if not one.is_added)
        base = self._by_default(request) if own is None else self._of(own)
        added = _strictest(one.rule for one in found if one.is_added)
        return base if added is None else min((base, self._of(added)), key=_leniency)

    def _of(self, rule: Rule) -> Decision:
        reason = rule.reason or f"the rule for {_name(rule)} says {rule.verdict.value}"
        origin = rule.origin or self._source
        return Decision(rule.verdict, origin, reason, credential=_credential(rule))


_PAST = {
    Verdict.ALLOW: "allowed",
    Verdict.MEDIATE: "mediated",
    Verdict.ASK: "asked about",
    Verdict.DENY: "denied",
}
_JUDGES: Mapping[Kind, Callable[[Engine, Request], Decision]] = {
    Kind.NETWORK: Engine._network,
    Kind.EXEC: Engine._program,
}


def _leniency(decision: Decision) -> int:
    return -decision.verdict.strictness


def _strictest(rules: Iterable[Rule]) -> Rule | None:
    """The strictest rule; among equals the choice does not depend on their order."""
    return min(rules, key=_rank, default=None)


def _rank(rule: Rule) -> tuple[int, str, str, str]:
    # Of two rules that allow, the one with a credential is taken.
    return (-rule.verdict.strictness, _credential(rule) or "~", rule.origin, rule.reason)


def _credential(rule: Rule) -> str | None:
    return rule.credential if isinstance(rule, NetworkRule) else None


def _name(rule: Rule) -> str:
    return rule.host if isinstance(rule, NetworkRule) else " ".join(rule.command)


def _understood(subject: Mapping[str, Any]) -> _Asked:
    """The request's subject, which must already be canonical: what is judged is what is dialled.

    Raises:
        ValueError: it is not.
    """
    host, path, method = subject["host"], subject["path"], subject["method"]
    scheme, port = subject["scheme"], subject["port"]
    if canonical_host(host) != host or canonical_path(path) != path:
        raise ValueError("host or path is not canonical")
    if not method.isascii() or not method.isupper():
        raise ValueError("the method is not in upper case")
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise ValueError("the port is no port")
    return _Asked(scheme, host, int(port), method, path)


def _grouped(
    rules: Iterable[tuple[str, _Network]],
) -> Mapping[str, tuple[_Network, ...]]:
    groups: dict[str, tuple[_Network, ...]] = {}
    for host, rule in rules:
        groups[host] = (*groups.get(host, ()), rule)
    return groups


def compile_rules(
    name: str,
    defaults: Mapping[Kind, Verdict],
    rules: Iterable[Rule] = (),
    added: Iterable[Rule] = (),
) -> Engine:
    """An engine of these rules, which were checked when they were made.

    Args:
        name: the policy's, for people.
        defaults: what holds for a kind of request that no rule speaks of; absent: deny.
        rules: those that make the policy.
        added: rules of somebody who is not trusted: they never make anything looser.
    """
    marked = [*((one, False) for one in rules), *((one, True) for one in added)]
    network = [_Network.of(one, new) for one, new in marked if isinstance(one, NetworkRule)]
    return Engine(
        name,
        dict(defaults),
        _grouped((one.host, one) for one in network if "*" not in one.host),
        _grouped((one.host[2:], one) for one in network if one.host.startswith("*.")),
        tuple(one for one in network if one.host == "*"),
        tuple(_Program(one, new) for one, new in marked if isinstance(one, ExecRule)),
    )
