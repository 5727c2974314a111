"""The profile: what it allows and refuses, and that contributions only make it stricter."""

from __future__ import annotations

import errno
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aileron_core.errors import AileronError
from aileron_core.records import SeccompRule
from aileron_core.seccomp import build_profile

ALLOW, ERRNO = "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"
NEW_NAMESPACES = (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)


def compare(operator: str, actual: int, argument: dict) -> bool:
    """A condition of the OCI runtime specification."""
    value, second = argument["value"], argument["valueTwo"]
    return {
        "SCMP_CMP_EQ": actual == value,
        "SCMP_CMP_NE": actual != value,
        "SCMP_CMP_GT": actual > value,
        "SCMP_CMP_MASKED_EQ": actual & value == second,
    }[operator]


def answers(profile: dict, name: str, *arguments: int) -> set[tuple[str, int | None]]:
    """What the rules say about one call; the default where none does."""
    found = {
        (rule["action"], rule.get("errnoRet"))
        for rule in profile["syscalls"]
        if name in rule["names"]
        and all(compare(a["op"], arguments[a["index"]], a) for a in rule.get("args", ()))
    }
    return found or {(profile["defaultAction"], profile["defaultErrnoRet"])}


@pytest.fixture(params=["x86_64", "aarch64"])
def profile(request):
    """The base profile of each kind of machine."""
    return build_profile(machine=request.param)


def test_it_is_data_for_a_file(profile):
    """The profile can be written as JSON, and refuses what it does not know."""
    assert json.loads(json.dumps(profile)) == profile
    assert (profile["defaultAction"], profile["defaultErrnoRet"]) == (ERRNO, errno.ENOSYS)


def test_only_the_machines_own_architecture_is_known(profile):
    """One architecture: calls by the ABI of another have no rule."""
    assert len(profile["architectures"]) == 1


@pytest.mark.parametrize("family", range(64))
def test_socket_families(profile, family):
    """Unix and internet sockets are allowed; every other family is said to be unsupported."""
    allowed = family in (1, 2, 10, 16)
    expected = (ALLOW, None) if allowed else (ERRNO, errno.EAFNOSUPPORT)
    assert answers(profile, "socket", family, 1, 0) == {expected}


@pytest.mark.parametrize("protocol", range(1, 24))
def test_netlink_is_for_routes_only(profile, protocol):
    """Audit, netfilter and generic netlink are refused."""
    assert answers(profile, "socket", 16, 3, protocol) == {(ERRNO, errno.EPROTONOSUPPORT)}


def test_a_family_with_high_bits_is_not_mistaken(profile):
    """An argument whose upper half is garbage matches no allowing rule."""
    assert (ALLOW, None) not in answers(profile, "socket", (1 << 32) | 2, 1, 0)


@pytest.mark.parametrize("flag", NEW_NAMESPACES)
@pytest.mark.parametrize("name", ["clone", "unshare"])
def test_no_new_namespaces(profile, name, flag):
    """No flag of a namespace is allowed, alone or among others."""
    for flags in (flag, flag | 0x11, flag | 0x100):
        assert (ALLOW, None) not in answers(profile, name, flags)


def test_threads_and_processes_are_allowed(profile):
    """What C libraries and runtimes use to make threads and processes works."""
    assert answers(profile, "clone", 0x3D0F00) == {(ALLOW, None)}
    assert answers(profile, "clone", 0x1200011) == {(ALLOW, None)}
    assert answers(profile, "unshare", 0x400) == {(ALLOW, None)}
    assert answers(profile, "clone3") == {(ERRNO, errno.ENOSYS)}


def test_no_new_time_namespace(profile):
    """unshare(CLONE_NEWTIME) is refused; clone has another meaning for that bit."""
    assert (ALLOW, None) not in answers(profile, "unshare", 0x80)


@pytest.mark.parametrize(
    "name",
    [
        "ptrace",
        "process_vm_readv",
        "process_vm_writev",
        "pidfd_getfd",
        "keyctl",
        "add_key",
        "request_key",
        "mount",
        "umount2",
        "open_tree",
        "move_mount",
        "fsopen",
        "mount_setattr",
        "setns",
        "bpf",
        "perf_event_open",
        "userfaultfd",
        "reboot",
    ],
)
def test_what_is_refused_on_purpose_says_so(profile, name):
    """Refused calls answer EPERM, so that programs name the reason."""
    assert answers(profile, name) == {(ERRNO, errno.EPERM)}


@pytest.mark.parametrize("name", ["io_uring_setup", "io_uring_enter", "io_uring_register", "afs"])
def test_what_is_not_listed_does_not_exist(profile, name):
    """Anything unknown answers ENOSYS."""
    assert answers(profile, name) == {(ERRNO, errno.ENOSYS)}


@pytest.mark.parametrize(
    "name", ["read", "write", "openat", "execve", "execveat", "futex", "mmap", "prctl", "ioctl"]
)
def test_what_programs_live_on_is_allowed(profile, name):
    """The everyday calls are there."""
    assert answers(profile, name) == {(ALLOW, None)}


@pytest.mark.parametrize(("value", "allowed"), [(0, True), (8, True), (0x40000, False)])
def test_personality(profile, value, allowed):
    """Randomisation of addresses cannot be switched off."""
    assert ((ALLOW, None) in answers(profile, "personality", value)) is allowed


def test_an_unknown_machine_is_an_error():
    """Without a table of its calls nothing is sealed."""
    with pytest.raises(AileronError) as caught:
        build_profile(machine="mips")
    assert (caught.value.code, caught.value.exit_status) == ("machine-unsupported", 71)


def test_notify_asks_about_what_was_allowed():
    """A supervised call becomes a question, and no allowing rule for it stays."""
    rule = SeccompRule(("execve", "execveat"), "notify")
    profile = build_profile([rule], machine="x86_64")
    assert answers(profile, "execve") == {("SCMP_ACT_NOTIFY", None)}
    assert answers(profile, "read") == {(ALLOW, None)}


def test_notify_never_loosens():
    """What was refused stays refused, also for calls that were allowed in part."""
    rule = SeccompRule(("ptrace", "socket", "io_uring_setup"), "notify")
    profile = build_profile([rule], machine="x86_64")
    assert answers(profile, "ptrace") == {(ERRNO, errno.EPERM)}
    assert answers(profile, "io_uring_setup") == {(ERRNO, errno.ENOSYS)}
    assert answers(profile, "socket", 40, 1, 0) == {(ERRNO, errno.EAFNOSUPPORT)}
    assert answers(profile, "socket", 2, 1, 0) == {("SCMP_ACT_NOTIFY", None)}


def test_the_strictest_contribution_wins_in_any_order():
    """kill over errno over notify."""
    rules = [
        SeccompRule(("mkdir",), "notify"),
        SeccompRule(("mkdir",), "kill"),
        SeccompRule(("mkdir",), "errno", errno=13),
    ]
    for order in (rules, rules[::-1], rules[1:] + rules[:1]):
        profile = build_profile(order, machine="x86_64")
        assert answers(profile, "mkdir") == {("SCMP_ACT_KILL_PROCESS", None)}


NAMES = sorted({n for r in build_profile(machine="x86_64")["syscalls"] for n in r["names"]})
RULES = st.lists(
    st.builds(
        SeccompRule,
        syscalls=st.lists(st.sampled_from(NAMES), min_size=1, max_size=4).map(tuple),
        action=st.sampled_from(["errno", "kill", "notify"]),
        errno=st.integers(1, 40),
    ),
    max_size=6,
)


@given(rules=RULES)
def test_no_contribution_allows_more(rules):
    """For any rules, every allowing rule of the result was in the base profile already."""

    def allowing(profile):
        return {
            (name, json.dumps(rule.get("args")))
            for rule in profile["syscalls"]
            if rule["action"] == ALLOW
            for name in rule["names"]
        }

    base = allowing(build_profile(machine="x86_64"))
    assert allowing(build_profile(rules, machine="x86_64")) <= base
    named = {name for rule in rules for name in rule.syscalls}
    assert not named & {n for n, _ in allowing(build_profile(rules, machine="x86_64"))}
