"""``[policy]``: which built-in policy holds, and the rules that are added to it.

A project's own file may choose a stricter built-in policy and add rules that ask or deny; every
matching rule counts and the strictest verdict wins, so adding such a rule can only tighten.
"""

from __future__ import annotations

from attrs import field, frozen

from aileron_core.config.setting import setting
from aileron_core.policy.names import canonical_host
from aileron_core.policy.patterns import path_pattern
from aileron_core.records import Verdict

STRICTNESS: tuple[str, ...] = ("open", "developer", "locked")
"""The built-in policies, the loosest first."""


@frozen
class NetworkRule:
    """``[[policy.network]]``: what is to happen with requests to a host."""

    host: str = setting("", "A name, ``*.example.com`` (subdomains only), an address, or ``*``.")
    verdict: Verdict = setting(Verdict.DENY, "``allow``, ``mediate``, ``ask`` or ``deny``.")
    methods: tuple[str, ...] = setting((), "HTTP methods; none given: all of them.")
    path: str = setting("/**", "A pattern: ``*`` within a segment, ``**`` for any segments.")
    ports: tuple[int, ...] = setting(
        (), "Ports; none given: 80 and 443 where the rule allows, all where it asks or denies."
    )
    schemes: tuple[str, ...] = setting(
        (), "``https``, ``http``; none given: both where the rule allows, else all there are."
    )
    credential: str | None = setting(None, "The credential that an allowed request may carry.")
    reason: str = setting("", "What a person is told.")
    origin: str = field(default="", eq=False)

    def __attrs_post_init__(self) -> None:
        host_pattern(self.host)
        path_pattern(self.path)
        if not all(method.isascii() and method.isupper() for method in self.methods):
            raise ValueError("methods are written in upper case")
        if not all(0 < port < 1 << 16 for port in self.ports):
            raise ValueError("a port is a number from 1 to 65535")
        if self.credential is not None and self.verdict in (Verdict.ASK, Verdict.DENY):
            raise ValueError(f"a rule that says {self.verdict.value} gives no credential")


@frozen
class ExecRule:
    """``[[policy.exec]]``: what is to happen when a program starts."""

    command: tuple[str, ...] = setting((), "The arguments, ``*`` for one, ``**`` for any number.")
    verdict: Verdict = setting(Verdict.DENY, "``allow``, ``mediate``, ``ask`` or ``deny``.")
    reason: str = setting("", "What a person is told.")
    origin: str = field(default="", eq=False)

    def __attrs_post_init__(self) -> None:
        if not self.command or not all(self.command):
            raise ValueError("a command has at least one word, and none of them is empty")


Rule = NetworkRule | ExecRule


def host_pattern(text: str) -> str:
    """A rule's host in canonical form: a name or address, ``*.`` and a name, or ``*``.

    Raises:
        ValueError: it is none of these.
    """
    if text == "*":
        return text
    if text.startswith("*."):
        return "*." + canonical_host(text[2:], unicode=True)
    return canonical_host(text, unicode=True)


def is_stricter(now: str, wanted: str) -> bool:
    """The built-in policy ``wanted`` allows no more than ``now``; of files nothing is known."""
    return STRICTNESS.index(wanted) >= STRICTNESS.index(now)


def only_tighten(now: tuple[Rule, ...], added: tuple[Rule, ...]) -> bool:
    """None of the added rules allows anything."""
    return all(rule.verdict in (Verdict.ASK, Verdict.DENY) for rule in added)


@frozen
class PolicySettings:
    """``[policy]``."""

    use: str = setting(
        "developer",
        "The policy: ``locked``, ``developer``, ``open``, or the absolute path of a policy file.",
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
