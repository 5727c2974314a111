"""The engine: every match counts, the strictest wins, and what is missing or odd is denied."""

from __future__ import annotations

import time
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from aileron_core.policy.engine import Engine, compile_rules
from aileron_core.policy.settings import ExecRule, NetworkRule
from aileron_core.records import Kind, Request, Verdict

ALLOW, MEDIATE, ASK, DENY = Verdict.ALLOW, Verdict.MEDIATE, Verdict.ASK, Verdict.DENY
DEFAULTS = dict.fromkeys(Kind, ASK)


def request(host: str = "api.example.com", **facts: str) -> Request:
    """A network request."""
    subject = {"scheme": "https", "host": host, "port": "443", "method": "GET", "path": "/a"}
    return Request(Kind.NETWORK, "s_1", {**subject, **facts})


def run(*argv: str, program: str = "/usr/bin/git") -> Request:
    """A request to start a program."""
    subject = {"program": program, "argv": argv, "cwd": "/work", "user": "agent"}
    return Request(Kind.EXEC, "s_1", subject)


def engine(*rules: Any, defaults: dict[Kind, Verdict] | None = None) -> Engine:
    """An engine of these rules; whatever they do not speak of is asked about."""
    return compile_rules("test", DEFAULTS if defaults is None else defaults, rules)


def verdict(policy: Engine, asked: Request) -> Verdict:
    """What the policy says."""
    return policy.decide(asked).verdict


def test_strictest_of_all_that_match() -> None:
    """An allow and a deny that both match deny, in whichever order they are written."""
    allow = NetworkRule("api.example.com", ALLOW)
    deny = NetworkRule("*.example.com", DENY, reason="not there", origin="/c.toml:7")
    for rules in ((allow, deny), (deny, allow)):
        found = engine(*rules).decide(request())
        assert (found.verdict, found.rule, found.reason) == (DENY, "/c.toml:7", "not there")
    assert verdict(engine(allow), request()) is ALLOW


def test_no_match_is_the_default_and_no_default_is_deny() -> None:
    """Silence is what the policy says of silence; when it says nothing, deny."""
    found = engine().decide(request())
    assert (found.verdict, found.rule) == (ASK, "policy:test")
    for kind in Kind:
        subject = request().subject if kind is Kind.NETWORK else run("git").subject
        assert verdict(engine(defaults={}), Request(kind, "s_1", subject)) is DENY


@pytest.mark.parametrize(
    ("host", "asked", "matches"),
    [
        ("example.com", "example.com", True),
        ("example.com", "www.example.com", False),
        ("Example.COM.", "example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "a.example.com", True),
        ("*.example.com", "a.b.example.com", True),
        ("*.example.com", "notexample.com", False),
        ("bücher.example", "xn--bcher-kva.example", True),
        ("*", "anything.example", True),
        ("*", "192.0.2.1", False),
        ("*", "::1", False),
        ("192.0.2.1", "192.0.2.1", True),
        ("[2001:db8:0::1]", "2001:db8::1", True),
    ],
)
def test_hosts_of_rules(host: str, asked: str, matches: bool) -> None:
    """A name is itself, ``*.`` its subdomains only, ``*`` allows names and never an address."""
    assert (verdict(engine(NetworkRule(host, ALLOW)), request(asked)) is ALLOW) is matches


def test_star_that_denies_covers_addresses() -> None:
    """What ``*`` forbids is forbidden for addresses as well."""
    assert verdict(engine(NetworkRule("*", DENY)), request("192.0.2.1")) is DENY


def test_methods_paths_ports_and_schemes_narrow() -> None:
    """A rule holds only where all of what it names holds."""
    rule = NetworkRule(
        "api.example.com",
        ALLOW,
        methods=("GET", "POST"),
        path="/repos/**",
        ports=(8443,),
        schemes=("https",),
    )
    fits = request(path="/repos/x", port="8443")
    assert verdict(engine(rule), fits) is ALLOW
    for change in ({"method": "PUT"}, {"path": "/x"}, {"port": "443"}, {"scheme": "http"}):
        assert verdict(engine(rule), request(**{**fits.subject, **change})) is ASK


def test_what_is_left_out_is_the_usual_for_allow_and_everything_for_deny() -> None:
    """An allow without ports is 80 and 443; a deny without ports is every port."""
    odd = request(port="22", scheme="ssh")
    assert verdict(engine(NetworkRule("api.example.com", ALLOW)), odd) is ASK
    assert verdict(engine(NetworkRule("api.example.com", DENY)), odd) is DENY
    assert verdict(engine(NetworkRule("api.example.com", ALLOW)), request(port="80")) is ALLOW


def test_double_slash_must_be_right_either_way() -> None:
    """``//`` hides nothing from a deny, and an allow must fit the merged path and the other."""
    closed = engine(NetworkRule("*", ALLOW), NetworkRule("*", DENY, path="/admin/**"))
    assert verdict(closed, request(path="//admin")) is DENY
    assert verdict(closed, request(path="/a//b")) is ALLOW
    narrow = engine(NetworkRule("*", ALLOW, path="/a/b"))
    assert verdict(narrow, request(path="/a/b")) is ALLOW
    assert verdict(narrow, request(path="/a//b")) is ASK


@pytest.mark.parametrize(
    "change",
    [
        {"host": "API.example.com"},
        {"host": "api.example.com."},
        {"host": "0x7f.1"},
        {"host": "a\0b"},
        {"path": "/a/../b"},
        {"path": "/%61"},
        {"path": "a"},
        {"method": "get"},
        {"method": ""},
        {"port": "0"},
        {"port": "65536"},
        {"port": "-1"},
        {"port": "٤٤٣"},
        {"port": 443},
        {"host": None},
        {"host": ("api.example.com",)},
    ],
)
def test_request_that_is_not_canonical_is_denied(change: dict[str, Any]) -> None:
    """What is judged must be what is dialled: anything not in its one form is denied."""
    found = engine(NetworkRule("*", ALLOW)).decide(request(**change))
    assert found.verdict is DENY
    assert found.reason.startswith("the request is not understood")


@pytest.mark.parametrize("missing", ["scheme", "host", "port", "method", "path"])
def test_request_with_a_part_missing_is_denied(missing: str) -> None:
    """No part of a request has a default."""
    subject = {key: value for key, value in request().subject.items() if key != missing}
    assert verdict(engine(NetworkRule("*", ALLOW)), Request(Kind.NETWORK, "s", subject)) is DENY


def test_credential_of_the_rule_that_allows() -> None:
    """An allowed request carries the credential of the rule; equal allows do not lose it."""
    with_one = NetworkRule("api.example.com", ALLOW, credential="github")
    without = NetworkRule("api.example.com", ALLOW, reason="a")
    for rules in ((with_one, without), (without, with_one)):
        assert engine(*rules).decide(request()).credential == "github"
    stricter = engine(with_one, NetworkRule("*", ASK))
    assert stricter.decide(request()).credential is None


def test_programs() -> None:
    """Rules about programs: by file, with the reason that a person reads; the rest by default."""
    policy = engine(
        ExecRule(("git", "push", "**"), ASK, reason="pushes leave this machine"),
        ExecRule(("git", "**"), ALLOW),
    )
    assert policy.decide(run("git", "push")).reason == "pushes leave this machine"
    assert verdict(policy, run("git", "push")) is ASK
    assert verdict(policy, run("git", "status")) is ALLOW
    assert policy.judges_programs
    assert not engine(defaults={Kind.EXEC: ALLOW}).judges_programs
    assert engine(defaults={}).judges_programs


@pytest.mark.parametrize(
    "subject",
    [
        {},
        {"program": "git", "argv": ("git",)},
        {"program": "/git", "argv": ()},
        {"program": "/git", "argv": "git push"},
        {"program": None, "argv": ("x",)},
    ],
)
def test_odd_programs_are_denied(subject: dict[str, Any]) -> None:
    """A program that is no resolved path, or whose arguments are no words, does not start."""
    policy = engine(ExecRule(("**",), ALLOW))
    assert verdict(policy, Request(Kind.EXEC, "s_1", subject)) is DENY


rules = st.builds(
    NetworkRule,
    host=st.sampled_from(["*", "*.example.com", "api.example.com", "other.example"]),
    verdict=st.sampled_from(Verdict),
    path=st.sampled_from(["/**", "/a", "/b/**"]),
)
requests = st.builds(
    request,
    host=st.sampled_from(["api.example.com", "www.example.com", "other.example", "192.0.2.1"]),
    path=st.sampled_from(["/a", "/b/c", "/", "//a"]),
)
defaults_ = st.dictionaries(st.sampled_from(Kind), st.sampled_from(Verdict))


@given(st.lists(rules), defaults_, requests, st.data())
def test_order_of_rules_never_matters(
    given_: list[NetworkRule], defaults: dict[Kind, Verdict], asked: Request, data: st.DataObject
) -> None:
    """The same rules in any order say the same."""
    other = data.draw(st.permutations(given_))
    first = compile_rules("x", defaults, given_).decide(asked)
    assert compile_rules("x", defaults, other).decide(asked) == first


@given(st.lists(rules), defaults_, st.lists(rules), requests)
def test_added_rules_never_loosen(
    own: list[NetworkRule],
    defaults: dict[Kind, Verdict],
    added: list[NetworkRule],
    asked: Request,
) -> None:
    """Whatever rules a stranger adds, nothing becomes looser than it was."""
    before = compile_rules("x", defaults, own).decide(asked)
    after = compile_rules("x", defaults, own, added).decide(asked)
    assert after.verdict.strictness >= before.verdict.strictness


@given(st.lists(rules), requests)
def test_strict_rules_always_count(given_: list[NetworkRule], asked: Request) -> None:
    """With one more rule that denies everything, everything is denied."""
    policy = engine(*given_, NetworkRule("*", DENY))
    assert verdict(policy, asked) is DENY


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=8) | st.tuples(st.text())))
def test_deciding_never_raises(subject: dict[str, Any]) -> None:
    """Rubbish is denied, never an exception."""
    policy = engine(NetworkRule("*", ALLOW), ExecRule(("**",), ALLOW))
    for kind in (Kind.NETWORK, Kind.EXEC):
        assert verdict(policy, Request(kind, "s_1", subject)) is DENY


def test_cost_does_not_grow_with_the_rules() -> None:
    """Ten thousand rules for other hosts make a decision hardly dearer than none."""

    def cost(policy: Engine) -> float:
        before = time.perf_counter()
        for _ in range(300):
            policy.decide(request())
        return time.perf_counter() - before

    few = engine(NetworkRule("api.example.com", ALLOW))
    many = engine(
        NetworkRule("api.example.com", ALLOW),
        *(NetworkRule(f"h{number}.example.net", ALLOW) for number in range(5000)),
        *(NetworkRule(f"*.d{number}.example.net", ALLOW) for number in range(5000)),
    )
    assert min(cost(many) for _ in range(5)) < 3 * min(cost(few) for _ in range(5))


@pytest.mark.parametrize(
    "change",
    [
        {"host": ""},
        {"host": "*.*.example.com"},
        {"host": "api.*.com"},
        {"host": "https://example.com"},
        {"path": "x"},
        {"methods": ("get",)},
        {"ports": (0,)},
        {"ports": (70000,)},
        {"verdict": DENY, "credential": "github"},
    ],
)
def test_odd_rules_are_refused_when_they_are_made(change: dict[str, Any]) -> None:
    """A rule that cannot mean what it says is an error where it is written."""
    with pytest.raises(ValueError, match=r"."):
        evolve(NetworkRule("example.com", ALLOW), **change)


def test_empty_command_is_refused() -> None:
    """A rule about no program at all is an error."""
    for command in ((), ("",), ("git", "")):
        with pytest.raises(ValueError, match="command"):
            ExecRule(command, DENY)
