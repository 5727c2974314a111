"""From settings to an engine: a policy of the package or of a file, with the rules added to it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import field, frozen

from aileron_core.config.convert import BadValue, Place, convert
from aileron_core.errors import EXIT_CONFIG, ErrorCode
from aileron_core.nearest import did_you_mean
from aileron_core.policy.engine import Engine, compile_rules
from aileron_core.policy.settings import STRICTNESS, ExecRule, NetworkRule, PolicySettings, Rule
from aileron_core.records import Kind, Verdict

if TYPE_CHECKING:
    from aileron_core.config import Config

POLICY_UNKNOWN = ErrorCode("policy-unknown", EXIT_CONFIG, "There is no policy of that name.")
POLICY_INVALID = ErrorCode("policy-invalid", EXIT_CONFIG, "A policy file is not understood.")

_BUILT_IN = Path(__file__).with_name("built_in")
_KEYS = {"summary", "defaults", "network", "exec"}
_KINDS: Mapping[str, type[Rule]] = {"network": NetworkRule, "exec": ExecRule}


@frozen
class PolicySource:
    """What a session's engine is compiled from; data, part of a launch's plan."""

    settings: PolicySettings = field(factory=PolicySettings)
    untrusted: tuple[str, ...] = ()
    """Files whose rules can only tighten: a project's own, before the person trusts it."""


@frozen
class PolicyFile:
    """A policy, read."""

    name: str
    summary: str
    defaults: Mapping[Kind, Verdict]
    rules: tuple[Rule, ...]


def policy_source(config: Config) -> PolicySource:
    """The policy that ``config`` asks for."""
    untrusted = (str(state.path) for state in config.files if not state.trusted)
    return PolicySource(config.table("policy", PolicySettings), tuple(untrusted))


def read_policy(use: str) -> PolicyFile:
    """The policy of the package with that name, or that in the file with that absolute path.

    Raises:
        AileronError: ``policy-unknown`` or ``policy-invalid``.
    """
    if use in STRICTNESS:
        return parse_policy(use, (_BUILT_IN / f"{use}.toml").read_text("utf-8"), f"policy:{use}")
    if not use.startswith("/"):
        hint = did_you_mean(use, list(STRICTNESS), what="policies")
        raise POLICY_UNKNOWN(f"there is no policy {use!r}", hints=[hint, "or give a file's path"])
    try:
        return parse_policy(Path(use).stem, Path(use).read_text("utf-8"), use)
    except (OSError, UnicodeDecodeError) as error:
        raise POLICY_INVALID(f"the policy file {use} cannot be read", why=str(error)) from error


def parse_policy(name: str, text: str, origin: str) -> PolicyFile:
    """A policy file's contents.

    Raises:
        AileronError: ``policy-invalid``.
    """
    try:
        data = tomllib.loads(text)
        if unknown := sorted(data.keys() - _KEYS):
            raise ValueError(f"{unknown[0]!r} is none of {', '.join(sorted(_KEYS))}")
        defaults = {Kind(kind): Verdict(word) for kind, word in data.get("defaults", {}).items()}
        place = Place(Path("/"), "/", lambda _: origin)
        rules = [
            convert(kind, table, (key, number), place)
            for key, kind in _KINDS.items()
            for number, table in enumerate(data.get(key, ()), 1)
        ]
        return PolicyFile(name, str(data.get("summary", "")), defaults, tuple(rules))
    except BadValue as bad:
        where = ".".join(map(str, bad.key))
        raise POLICY_INVALID(
            f"{where} of the policy in {origin}: {bad}", hints=[bad.hint] if bad.hint else []
        ) from bad
    except (ValueError, TypeError, AttributeError) as error:
        raise POLICY_INVALID(f"the policy in {origin} is not understood", why=str(error)) from error


def compile_policy(source: PolicySource) -> Engine:
    """The engine for a session.

    Raises:
        AileronError: ``policy-unknown`` or ``policy-invalid``.
    """
    base = read_policy(source.settings.use)
    mine: list[Rule] = [*source.settings.network, *source.settings.exec]
    added = [rule for rule in mine if _is_from(rule, source.untrusted)]
    own = [rule for rule in mine if not _is_from(rule, source.untrusted)]
    return compile_rules(base.name, base.defaults, [*base.rules, *own], added)


def _is_from(rule: Rule, files: Iterable[str]) -> bool:
    return any(rule.origin.startswith(f"{file}:") for file in files)
