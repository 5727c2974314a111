"""Policies by name and by file, with the rules of the user and of a project added."""

from __future__ import annotations

from pathlib import Path

import pytest

from aileron_core.config import load_config, schema_of
from aileron_core.errors import AileronError
from aileron_core.paths import Paths
from aileron_core.policy.load import (
    PolicySource,
    compile_policy,
    parse_policy,
    policy_source,
    read_policy,
)
from aileron_core.policy.settings import STRICTNESS, PolicySettings
from aileron_core.records import Kind, Request, Verdict
from aileron_core.testing import hooks_with


def ask(host: str, method: str = "GET", path: str = "/x", port: str = "443") -> Request:
    """A request over TLS."""
    subject = {"scheme": "https", "host": host, "port": port, "method": method, "path": path}
    return Request(Kind.NETWORK, "s_1", subject)


@pytest.mark.parametrize("name", STRICTNESS)
def test_built_in_policies_are_whole(name: str) -> None:
    """Each has a summary and says what holds for every kind of request."""
    policy = read_policy(name)
    assert policy.summary.endswith(".")
    assert set(policy.defaults) == set(Kind)
    assert all(rule.origin == f"policy:{name}" for rule in policy.rules)


def test_built_in_policies_only_allow() -> None:
    """A user's own rule can add to any of them: their rules never ask or deny."""
    for name in STRICTNESS:
        assert all(rule.verdict is Verdict.ALLOW for rule in read_policy(name).rules)


@pytest.mark.parametrize(
    ("use", "request_", "verdict"),
    [
        ("locked", ask("pypi.org"), Verdict.DENY),
        ("developer", ask("pypi.org"), Verdict.ALLOW),
        ("developer", ask("pypi.org", "POST"), Verdict.ASK),
        ("developer", ask("pypi.org", port="22"), Verdict.ASK),
        ("developer", ask("evil.example"), Verdict.ASK),
        ("developer", ask("github.com", "POST", "/a/b.git/git-upload-pack"), Verdict.ALLOW),
        ("developer", ask("github.com", "POST", "/a/b.git/git-receive-pack"), Verdict.ASK),
        ("developer", ask("192.0.2.1"), Verdict.ASK),
        ("open", ask("evil.example"), Verdict.ALLOW),
        ("open", Request(Kind.CREDENTIAL, "s_1", {"name": "x"}), Verdict.ASK),
        ("locked", Request(Kind.EXEC, "s", {"program": "/x", "argv": ("x",)}), Verdict.ALLOW),
    ],
)
def test_what_built_in_policies_say(use: str, request_: Request, verdict: Verdict) -> None:
    """Locked: nothing leaves. Developer: packages and sources. Open: every host."""
    engine = compile_policy(PolicySource(PolicySettings(use=use)))
    assert engine.decide(request_).verdict is verdict


def test_each_policy_is_stricter_than_the_one_before() -> None:
    """What the stricter one allows, the looser one allows too."""
    engines = [compile_policy(PolicySource(PolicySettings(use=name))) for name in STRICTNESS]
    for request_ in (ask("pypi.org"), ask("pypi.org", "POST"), ask("evil.example")):
        found = [engine.decide(request_).verdict.strictness for engine in engines]
        assert found == sorted(found)


def test_policy_of_a_file(tmp_path: Path) -> None:
    """An absolute path is a policy of one's own; kinds that it does not name are denied."""
    path = tmp_path / "mine.toml"
    path.write_text('[defaults]\nexec = "allow"\n[[network]]\nhost = "a.example"\nverdict = "ask"')
    policy = read_policy(str(path))
    assert (policy.name, policy.rules[0].origin) == ("mine", str(path))
    engine = compile_policy(PolicySource(PolicySettings(use=str(path))))
    assert engine.decide(ask("a.example")).verdict is Verdict.ASK
    assert engine.decide(ask("b.example")).verdict is Verdict.DENY


@pytest.mark.parametrize("use", ["develper", "", "../locked", "locked.toml", "LOCKED"])
def test_unknown_policy_names_the_choices(use: str) -> None:
    """A mistyped name is an error, and no name leads out of the package's directory."""
    with pytest.raises(AileronError) as caught:
        read_policy(use)
    assert caught.value.code == "policy-unknown"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("= 1", "not understood"),
        ("colour = 1", "not understood"),
        ("network = 1", "not understood"),
        ('[defaults]\nnetwrk = "allow"', "not understood"),
        ('[defaults]\nnetwork = "yes"', "not understood"),
        ('[[network]]\nhost = "0x7f.1"', "network.1"),
        ('[[network]]\nhost = "a.b"\nmethods = "GET"', "network.1.methods"),
        ('[[network]]\nhost = "a.b"\nverdict = "maybe"', "network.1.verdict"),
        ('[[network]]\nhst = "a.b"', "network.1.hst"),
        ('[[network]]\nhost = "a.b"\n[[network]]\nhost = "a.b"\npath = "x"', "network.2"),
        ("[[exec]]\ncommand = []", "exec.1"),
    ],
)
def test_odd_policy_files_say_where(text: str, part: str) -> None:
    """What is wrong is named; nothing of such a file holds."""
    with pytest.raises(AileronError) as caught:
        parse_policy("mine", text, "/mine.toml")
    assert caught.value.code == "policy-invalid"
    assert part in caught.value.message


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A path without a file, or of a directory, is an error that names it."""
    for path in (tmp_path / "absent.toml", tmp_path):
        with pytest.raises(AileronError) as caught:
            read_policy(str(path))
        assert caught.value.code == "policy-invalid"


def paths_in(root: Path) -> Paths:
    """Directories with no configuration of the system's."""
    made = Paths(*(root / name for name in ("run", "state", "config", "data", "cache")))
    made.config.mkdir()
    return Paths(made.runtime, made.state, made.config, made.data, made.cache, root / "none")


USER = '[policy]\nuse = "locked"\n[[policy.network]]\nhost = "a.example"\nverdict = "ask"\n'


def test_rules_of_the_configuration(tmp_path: Path) -> None:
    """The user's rules are added to the policy and carry the place where they are written."""
    paths = paths_in(tmp_path)
    paths.user_config.write_text(USER)
    source = policy_source(load_config(schema_of(hooks_with()), paths=paths))
    found = compile_policy(source).decide(ask("a.example"))
    assert (found.verdict, found.rule) == (Verdict.ASK, f"{paths.user_config}:3")
    assert source.untrusted == ()


def test_project_cannot_turn_a_deny_into_an_ask(tmp_path: Path) -> None:
    """An ask that a project adds counts only where it is stricter than what holds without it."""
    paths, project = paths_in(tmp_path), tmp_path / "project"
    project.mkdir()
    paths.user_config.write_text('[policy]\nuse = "locked"\n')
    (project / ".aileron.toml").write_text(
        '[[policy.network]]\nhost = "evil.example"\nverdict = "ask"\n'
    )
    config = load_config(schema_of(hooks_with()), paths=paths, project=project)
    engine = compile_policy(policy_source(config))
    assert engine.decide(ask("evil.example")).verdict is Verdict.DENY
    paths.user_config.write_text('[policy]\nuse = "open"\n')
    config = load_config(schema_of(hooks_with()), paths=paths, project=project)
    engine = compile_policy(policy_source(config))
    assert engine.decide(ask("evil.example")).verdict is Verdict.ASK


@pytest.mark.parametrize(
    "text",
    [
        '[policy]\nuse = "open"',
        '[policy]\nuse = "/tmp/mine.toml"',
        '[[policy.network]]\nhost = "evil.example"\nverdict = "allow"',
        '[[policy.network]]\nhost = "evil.example"\nverdict = "mediate"',
        '[[policy.exec]]\ncommand = ["curl", "**"]\nverdict = "allow"',
    ],
)
def test_project_cannot_loosen(tmp_path: Path, text: str) -> None:
    """A project's own file that allows something is refused with its line."""
    paths, project = paths_in(tmp_path), tmp_path / "project"
    project.mkdir()
    (project / ".aileron.toml").write_text(text)
    with pytest.raises(AileronError) as caught:
        load_config(schema_of(hooks_with()), paths=paths, project=project)
    assert caught.value.code == "config-untrusted"


def test_project_may_tighten(tmp_path: Path) -> None:
    """It may choose a stricter policy and add rules that deny."""
    paths, project = paths_in(tmp_path), tmp_path / "project"
    project.mkdir()
    (project / ".aileron.toml").write_text(
        '[policy]\nuse = "locked"\n[[policy.network]]\nhost = "*"\nverdict = "deny"\n'
    )
    config = load_config(schema_of(hooks_with()), paths=paths, project=project)
    engine = compile_policy(policy_source(config))
    assert engine.decide(ask("pypi.org")).verdict is Verdict.DENY
    assert engine.name == "locked"
