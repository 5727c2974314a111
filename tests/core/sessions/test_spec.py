"""From plan and contributions to the spec: order, environment, conflicts."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from aileron_core.backend import ListenerSpec, Mount
from aileron_core.errors import AileronError
from aileron_core.records import Contribution
from aileron_core.sessions import spec as specs
from aileron_core.sessions.plan import LaunchPlan, WorkspacePlan

PLAN = LaunchPlan(
    session="s_1",
    name="n",
    agent="claude",
    image="i:1",
    tier="byo",
    backend="podman",
    argv=("claude",),
    cwd="/w",
    workspace=WorkspacePlan(Path("/w"), "rw", (1000, 1000), (".git/hooks/", ".mcp.json")),
)
INPUTS = specs.SpecInputs(
    contributions=(),
    inside="/run/a/inside",
    owner="/state",
    host_user=(0, 0),
    seccomp={"defaultAction": "x"},
    token="t0ken",
    image_env={"PATH": "/image/bin", "FROM_IMAGE": "1"},
)


def given_by(*contributions, plan=PLAN, **changes):
    """The spec with these contributions of plugins p0, p1, …"""
    pairs = tuple((f"p{number}", one) for number, one in enumerate(contributions))
    return specs.compose(plan, evolve(INPUTS, contributions=pairs, **changes))


def test_labels_name_session_and_owner():
    """By these a later daemon finds what was left."""
    assert given_by().labels == {"io.aileron.session": "s_1", "io.aileron.owner": "/state"}


def test_the_environment_is_the_contracts():
    """Exactly what docs/contract.md lists, the image's own, and nothing of the host's."""
    env = given_by().env
    assert env["AILERON_API_URL"] == "https://127.0.0.1:7443"
    assert env["AILERON_TOKEN"] == "t0ken"
    assert env["AILERON_SANDBOX_RUNTIME"] == "podman"
    assert env["PATH"] == "/run/aileron/bin:/image/bin"
    assert env["FROM_IMAGE"] == "1"
    assert {env[name] for name in specs.BUNDLE_VARIABLES} == {"/run/aileron/ca-bundle.pem"}
    assert {env[name] for name in specs.EXTRA_VARIABLES} == {"/run/aileron/ca.pem"}
    assert not [name for name in env if "PROXY" in name.upper()]


def test_a_persons_variables_win_over_convenience():
    """--env may replace PATH and certificates; the shims stay first."""
    env = given_by(plan=evolve(PLAN, env={"PATH": "/mine", "PIP_CERT": "/c"})).env
    assert (env["PATH"], env["PIP_CERT"]) == ("/run/aileron/bin:/mine", "/c")


@pytest.mark.parametrize("name", ["AILERON_TOKEN", "AILERON_SESSION_ID", "AILERON_API_URL"])
def test_nobody_replaces_what_identifies_the_session(name):
    """Neither --env nor a plugin gives a variable of ours."""
    for attempt in (
        lambda: given_by(plan=evolve(PLAN, env={name: "x"})),
        lambda: given_by(Contribution(environment={name: "x"})),
    ):
        with pytest.raises(AileronError, match=name) as caught:
            attempt()
        assert caught.value.code == "contribution-conflict"


@pytest.mark.parametrize(
    "one",
    [
        Contribution(environment={"X": "1"}),
        Contribution(mounts=(Mount("/m", source="/s"),)),
        Contribution(mounts=(Mount("/m/../m/", source="/s"),)),
    ],
)
def test_two_plugins_that_want_the_same(one):
    """The error names both."""
    other = evolve(one, mounts=tuple(evolve(mount, target="/m") for mount in one.mounts))
    first = evolve(one, mounts=tuple(evolve(mount, target="/m") for mount in one.mounts))
    with pytest.raises(AileronError) as caught:
        given_by(first, other)
    assert "p0" in caught.value.why
    assert "p1" in caught.value.why


def test_listeners_clash_by_name_and_port():
    """One port of one address is one plugin's; the API's port is nobody else's."""
    taken = ListenerSpec("other", "127.0.0.1", 7443)
    for one in (taken, ListenerSpec("api", "127.0.0.1", 1)):
        with pytest.raises(AileronError):
            specs.listeners([("p", Contribution(listeners=(one,)))])
    free = ListenerSpec("dns", "127.0.0.1", 7443, "udp")
    assert specs.listeners([("p", Contribution(listeners=(free,)))])[1] == free


def test_mounts_are_in_order():
    """What lies below first, then the workspace, then what lies in it, then what protects it."""
    plan = evolve(PLAN, mounts=(Mount("/w/data", source="/d"), Mount("/opt", source="/o")))
    targets = [mount.target for mount in given_by(plan=plan).mounts]
    assert targets == [
        "/tmp", "/opt", "/w", "/w/data", "/run/aileron", "/etc/aileron/tools.txt",
        "/w/.git", "/w/.mcp.json", "/w/.git/hooks",
    ]  # fmt: skip


def test_a_workspace_in_tmp_is_not_hidden():
    """The /tmp in memory is mounted before a workspace that lies in it."""
    workspace = evolve(PLAN.workspace, path=Path("/tmp/w"))
    targets = [mount.target for mount in given_by(plan=evolve(PLAN, workspace=workspace)).mounts]
    assert targets.index("/tmp") < targets.index("/tmp/w")


def test_the_way_to_a_protected_path_cannot_be_renamed():
    """The directory above is a mount of its own, writable; the path itself is read-only."""
    found = {mount.target: mount for mount in given_by().mounts if mount.kind == "self"}
    assert not found["/w/.git"].read_only
    assert found["/w/.git/hooks"].read_only


def test_a_read_only_workspace_needs_no_protection():
    """Nothing in it can be written anyway."""
    workspace = evolve(PLAN.workspace, mode="ro")
    spec = given_by(plan=evolve(PLAN, workspace=workspace))
    assert [mount for mount in spec.mounts if mount.kind == "self"] == []
    (mount,) = [mount for mount in spec.mounts if mount.target == "/w"]
    assert mount.read_only


def test_an_overlay_keeps_its_changes_aside():
    """Upper and work directories are those of the session."""
    workspace = evolve(PLAN.workspace, mode="overlay")
    spec = given_by(plan=evolve(PLAN, workspace=workspace), upper="/u", work="/k")
    (mount,) = [mount for mount in spec.mounts if mount.target == "/w"]
    assert (mount.kind, mount.source, mount.upper, mount.work) == ("overlay", "/w", "/u", "/k")


NAMES = st.text("abcgit.-_", min_size=1, max_size=5).filter(lambda name: name not in (".", ".."))
PATHS = st.lists(st.lists(NAMES, min_size=1, max_size=4).map("/".join), max_size=8)


@given(PATHS)
def test_every_protected_path_is_covered(paths):
    """Each is read-only itself or under one that is, and all its parents are pinned or covered."""
    mounts = specs.protection("/w", paths)
    kept = {mount.target for mount in mounts if mount.read_only}
    pinned = {mount.target for mount in mounts}
    assert len(pinned) == len(mounts)
    for text in paths:
        path = PurePosixPath("/w", text)
        chain = [str(path), *(str(parent) for parent in path.parents)]
        assert kept.intersection(chain)
        inside = [one for one in chain if one.startswith("/w/")]
        covered = next(index for index, one in enumerate(inside) if one in kept)
        assert pinned.issuperset(inside[covered:])


@given(PATHS)
def test_parents_are_mounted_before_children(paths):
    """A mount is never hidden by a later one above it."""
    targets = [PurePosixPath(mount.target) for mount in specs.protection("/w", paths)]
    for index, target in enumerate(targets):
        assert not any(later in target.parents for later in targets[index + 1 :])


@pytest.mark.parametrize("path", ["/etc", "../x", "a/../../x", ".", ""])
def test_protected_paths_lie_inside(path):
    """A path that leads out of the workspace, or is all of it, is refused."""
    with pytest.raises(AileronError):
        specs.outermost([path])


def test_rules_about_programs_are_enforced_or_refused():
    """Without something that enforces them, only an explicit choice runs without them."""
    with pytest.raises(AileronError) as caught:
        specs.require_enforced(True, PLAN, [])
    assert caught.value.code == "exec-unenforced"
    specs.require_enforced(False, PLAN, [])
    specs.require_enforced(True, evolve(PLAN, waived=frozenset({"shell-intercept"})), [])
    specs.require_enforced(True, PLAN, [("p", Contribution(protects=("exec",)))])
