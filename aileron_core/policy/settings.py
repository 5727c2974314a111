"""``[policy]``: which built-in policy holds, and the rules that are added to it.

A project's own file may choose a stricter built-in policy and add rules that ask or deny; every
matching rule counts and the strictest verdict wins, so adding such a rule can only tighten.
"""

from __future__ import annotations

from typing import Literal

from attrs import field, frozen

from aileron_core.config.setting import setting
from aileron_core.records import Verdict

BuiltIn = Literal["locked", "developer", "open"]
STRICTNESS: tuple[str, ...] = ("open", "developer", "locked")
"""The built-in policies, the loosest first."""


@frozen
class NetworkRule:
    """``[[policy.network]]``: what is to happen with requests to a host."""

    host: str = setting("", "A name, ``*.example.com`` (subdomains only), an address, or ``*``.")
    verdict: Verdict = setting(Verdict.DENY, "``allow``, ``mediate``, ``ask`` or ``deny``.")
    methods: tuple[str, ...] = setting((), "HTTP methods; none given: all of them.")
    path: str = setting("/**", "A pattern: ``*`` within a segment, ``**`` for any segments.")
    ports: tuple[int, ...] = setting((), "Ports; none given: 80 and 443.")
    schemes: tuple[str, ...] = setting((), "``https``, ``http``; none given: both.")
    credential: str | None = setting(None, "The credential that an allowed request may carry.")
    reason: str = setting("", "What a person is told.")
    origin: str = field(default="", eq=False)


@frozen
class ExecRule:
    """``[[policy.exec]]``: what is to happen when a program starts."""

    command: tuple[str, ...] = setting((), "The arguments, ``*`` for one, ``**`` for any number.")
    verdict: Verdict = setting(Verdict.DENY, "``allow``, ``mediate``, ``ask`` or ``deny``.")
    reason: str = setting("", "What a person is told.")
    origin: str = field(default="", eq=False)


Rule = NetworkRule | ExecRule


def is_stricter(now: str, wanted: str) -> bool:
    """The built-in policy ``wanted`` allows no more than ``now``."""
    return STRICTNESS.index(wanted) >= STRICTNESS.index(now)


def only_tighten(now: tuple[Rule, ...], added: tuple[Rule, ...]) -> bool:
    """None of the added rules allows anything."""
    return all(rule.verdict in (Verdict.ASK, Verdict.DENY) for rule in added)


@frozen
class PolicySettings:
    """``[policy]``."""

    use: BuiltIn = setting(
        "developer",
        "The built-in policy: ``locked``, ``developer`` or ``open``.",
        project="tighten",
        tighter=is_stricter,
    )
    network: tuple[NetworkRule, ...] = setting(
        (),
        "Rules for hosts, added to those of the built-in policy.",
        project="tighten",
        tighter=only_tighten,
        merge="append",
    )
    exec: tuple[ExecRule, ...] = setting(
        (),
        "Rules for programs, added to those of the built-in policy.",
        project="tighten",
        tighter=only_tighten,
        merge="append",
    )
