"""The parts without I/O: what is asked of Podman, and how evidence is judged."""

from __future__ import annotations

import json

import pytest
from attrs import evolve

from aileron_core.backend import Capability, Limits, Mount, SandboxSpec, SandboxUser
from aileron_core.errors import AileronError
from aileron_podman import cgroup, create, machine, mounts, verify, watch
from aileron_podman.service import check_version, parse_connection

ROOTFUL = machine.Machine(
    rootful=True,
    runtime="runc",
    cgroups=machine.Cgroups(1, True, frozenset({"memory", "pids", "cpu"})),
    hard_files=20000,
    hard_processes=1000,
    uid_base=0x70000000,
)
ROOTLESS = evolve(ROOTFUL, rootful=False, cgroups=machine.Cgroups(2, False, frozenset({"memory"})))
SPEC = SandboxSpec(
    session="s1", image="img", argv=("claude", "-p", "x"), cwd="/w", env={"PATH": "/bin"}
)


# --- what is asked ---


def specgen(spec: SandboxSpec = SPEC, here: machine.Machine = ROOTFUL) -> dict:
    """The body of the creating call."""
    return create.to_specgen(spec, here, seccomp_path="/p.json", init_path="/usr/bin/catatonit")


def test_the_body_is_json_and_holds_the_whole_environment():
    """Nothing but the spec's environment, and no way for the host's or the image's."""
    body = specgen()
    assert json.loads(json.dumps(body)) == body
    assert body["env"] == {"PATH": "/bin"}
    assert (body["unsetenvall"], body["env_host"], body["httpproxy"]) == (True, False, False)


def test_privileges_are_none():
    """No capability, no new privileges, no network, no privileged mode, an own user namespace."""
    body = specgen()
    assert body["cap_drop"] == ["all"]
    assert "cap_add" not in body
    assert body["no_new_privileges"] is True
    assert body["privileged"] is False
    assert body["netns"] == {"nsmode": "none"}
    assert body["user"] == "1000:1000"
    assert body["idmappings"]["UIDMap"] == [
        {"container_id": 0, "host_id": 0x70000000, "size": 65536}
    ]


def test_a_plain_user_is_kept_as_the_agent():
    """Rootless, the person's own id is the agent's inside."""
    user = SandboxUser(uid=1234, gid=4321)
    body = specgen(evolve(SPEC, user=user), ROOTLESS)
    assert body["userns"] == {"nsmode": "keep-id", "value": "uid=1234,gid=4321"}
    assert "idmappings" not in body


def test_the_command_enters_its_directory():
    """Arguments are passed on untouched: the shell's program text is constant."""
    spec = evolve(SPEC, argv=("a b", "$(x)", "'"), cwd="/w; rm -rf /")
    shell, flag, program, *rest = create.command(spec)
    assert (shell, flag) == ("/bin/sh", "-c")
    assert rest == ["/w; rm -rf /", "a b", "$(x)", "'"]
    assert "rm" not in program.split()


def test_limits_are_lowered_to_the_machines():
    """No limit of a process exceeds what this machine may set."""
    assert create.process_limits(Limits(files=10**9), ROOTFUL) == {
        "nofile": 20000,
        "nproc": 1000,
        "core": 0,
    }
    assert create.process_limits(Limits(files=None), ROOTFUL)["nofile"] == 20000


def test_swap_is_limited_with_memory():
    """Memory and swap together are what was asked for; no limit asks for nothing."""
    limits = Limits(memory=100, cpus=1.5, pids=7)
    assert create.resource_limits(limits) == {
        "memory": {"limit": 100, "swap": 100},
        "pids": {"limit": 7},
        "cpu": {"quota": 150000, "period": 100000},
    }
    assert create.resource_limits(Limits(memory=None, cpus=None, pids=None)) == {}


def test_given_mounts_replace_the_usual_ones():
    """A spec's own /tmp is the only one; others are added before it."""
    own = Mount("/tmp/", "tmpfs", size=1)
    found = create.with_defaults(evolve(SPEC, mounts=(own,)))
    assert [mount.target for mount in found] == ["/dev/shm", "/tmp/"]


@pytest.mark.parametrize(
    ("target", "path", "covered"),
    [("/", "/a", True), ("/a", "/a", True), ("/a", "/ab", False), ("/a/", "/a/b", True)],
)
def test_covers(target, path, covered):
    """A mount covers itself and what is below it."""
    assert create.covers(target, path) is covered


IDS = mounts.Ids.of(1000000, SandboxUser())


def test_owner_is_shown_as_the_agent():
    """The on-disk owner is the agent's host id under the mount."""
    mount = Mount("/w", "bind", "/w", map_owner=True, owner=(1001, 1002))
    assert mounts.id_map(mount, IDS) == ("1001 1001000 1\n", "1002 1001000 1\n")
    assert mounts.id_map(evolve(mount, map_owner=False), IDS) is None


@pytest.mark.parametrize(("owner", "extra"), [(0, "1000000 0 1\n"), (7, "0 0 1\n")])
def test_overlays_also_map_the_kernels_root(owner, extra):
    """An overlay's working files have an owner on disk that is not the person."""
    mount = Mount("/w", "overlay", "/w", map_owner=True, owner=(owner, owner))
    assert mounts.id_map(mount, IDS)[0] == f"{owner} 1001000 1\n{extra}"


# --- what this machine can do ---


def test_hybrid_cgroups_need_runc(monkeypatch):
    """crun refuses hybrid cgroups, and as root needs CAP_SYS_RESOURCE."""
    monkeypatch.setattr(machine, "_which", lambda name: f"/usr/bin/{name}")
    choose = machine.choose_runtime
    assert choose("", hybrid=True, sys_resource=True) == "runc"
    assert choose("", hybrid=False, sys_resource=False) == "runc"
    assert choose("", hybrid=False, sys_resource=True) == "crun"


def test_no_runtime_is_an_error_with_the_mend(monkeypatch):
    """Without an OCI runtime: which was looked for, and exit status 69."""
    monkeypatch.setattr(machine, "_which", lambda name: None)
    with pytest.raises(AileronError) as caught:
        machine.choose_runtime("", hybrid=True, sys_resource=True)
    assert (caught.value.code, caught.value.exit_status) == ("podman-missing", 69)
    with pytest.raises(AileronError) as caught:
        machine.choose_runtime("no-such-runtime", hybrid=False, sys_resource=True)
    assert (caught.value.code, caught.value.exit_status) == ("podman-setting", 78)


def test_an_unused_range_is_chosen():
    """Ranges of users and subordinate ids are never shared."""
    first = machine.choose_base(0, [])
    taken = machine.taken_ranges([f"me:{first}:1\n# x\nodd\n", f"you:{first + 65536}:65536\n"])
    assert machine.choose_base(0, taken) == first + 2 * 65536
    assert machine.choose_base(900000, taken) == 900000


@pytest.mark.parametrize("base", [1, 1000, 65535, 100000])
def test_a_range_in_use_is_refused(base):
    """A configured range that is somebody's is a configuration error."""
    with pytest.raises(AileronError) as caught:
        machine.choose_base(base, [(100000, 65536)])
    assert caught.value.code == "podman-setting"


def files(root, texts):
    """Write files by their paths below ``root``."""
    for name, text in texts.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")


def test_cgroup_v2_gives_what_is_delegated(tmp_path):
    """Root has all controllers; a plain user those that systemd delegates."""
    delegated = tmp_path / "user.slice/user-5.slice/user@5.service/cgroup.controllers"
    delegated.parent.mkdir(parents=True)
    delegated.write_text("memory pids\n")
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    assert machine.find_cgroups(0, str(tmp_path)).controllers == {"cpu", "memory", "pids"}
    assert machine.find_cgroups(5, str(tmp_path)).controllers == {"memory", "pids"}
    assert machine.find_cgroups(6, str(tmp_path)).controllers == frozenset()


def test_cgroup_v1_gives_a_plain_user_nothing(tmp_path):
    """Podman silently ignores limits there, so they are not declared."""
    (tmp_path / "memory").mkdir()
    assert machine.find_cgroups(5, str(tmp_path)).controllers == frozenset()
    assert machine.find_cgroups(0, str(tmp_path)) == machine.Cgroups(
        1, False, frozenset({"memory"})
    )


def test_capabilities_follow_the_machine():
    """Late mounts need root; a limit needs its controller."""
    assert Capability.LATE_MOUNTS in machine.capabilities(ROOTFUL)
    rootless = machine.capabilities(ROOTLESS)
    assert Capability.LATE_MOUNTS not in rootless
    assert Capability.LIMIT_MEMORY in rootless
    assert Capability.LIMIT_PIDS not in rootless


@pytest.mark.parametrize("version", [(), (3, 4), (4, 2, 9)])
def test_old_podman_is_refused(version):
    """Below 4.3: an error with both versions, exit status 69."""
    with pytest.raises(AileronError) as caught:
        check_version(version)
    assert (caught.value.code, caught.value.exit_status) == ("podman-too-old", 69)


@pytest.mark.parametrize("version", [(4, 3, 1), (5, 4, 2), (6, 0)])
def test_newer_podman_is_taken(version):
    """From 4.3 on."""
    check_version(version)


def test_connections():
    """A path or a host and port."""
    assert str(parse_connection("unix:///run/x.sock")) == "unix:///run/x.sock"
    assert str(parse_connection("tcp://host:99")) == "tcp://host:99"


# --- what the kernel holds ---


def test_first_hierarchy_limits(tmp_path):
    """cgroup v1: each controller has its own tree; "no limit" is a huge number."""
    files(
        tmp_path,
        {
            "memory/c/memory.limit_in_bytes": "1000",
            "memory/c/memory.memsw.limit_in_bytes": "1500",
            "pids/c/pids.max": "max",
            "cpu/c/cpu.cfs_quota_us": "50000",
            "cpu/c/cpu.cfs_period_us": "100000",
        },
    )
    found = cgroup.limits("4:memory:/c\n3:pids:/c\n2:cpu,cpuacct:/c\n0::/\n", root=str(tmp_path))
    assert found == {"memory": 1000, "swap": 500, "pids": None, "cpus": 0.5}


def test_second_hierarchy_takes_the_lowest_above(tmp_path):
    """cgroup v2: a runtime may put processes one below where the limits are."""
    files(
        tmp_path,
        {
            "a/memory.max": "max",
            "a/pids.max": "500",
            "a/c/memory.max": "1000",
            "a/c/memory.swap.max": "0",
            "a/c/pids.max": "9",
            "a/c/cpu.max": "200000 100000",
            "a/c/container/pids.max": "max",
            "a/c/container/cpu.max": "max 100000",
        },
    )
    found = cgroup.limits("0::/a/c/container\n", root=str(tmp_path))
    assert found == {"memory": 1000, "swap": 0, "pids": 9, "cpus": 2.0}


def test_kills_for_lack_of_memory_are_counted_where_they_are_ours():
    """Only the container's own cgroup counts; a shared one says nothing about it."""
    first, second = "1:memory:/p/libpod-abc\n", "0::/m.slice/libpod-abc.scope/container\n"
    assert cgroup.oom_file(first, "abc") == "/sys/fs/cgroup/memory/p/libpod-abc/memory.oom_control"
    assert cgroup.oom_file(second, "abc").endswith("libpod-abc.scope/container/memory.events")
    assert cgroup.oom_file("0::/user.slice\n", "abc") is None
    assert cgroup.oom_kills("oom 3\noom_kill 2\n") == 2
    assert cgroup.oom_kills("") == 0


def test_lower_limits_than_asked_are_fine():
    """Rounding down to pages is no difference; higher or missing is."""
    asked = Limits(memory=10000, pids=10, cpus=1.0)
    held = {"memory": 8192, "swap": 0, "pids": 10, "cpus": 1.0}
    assert verify.cgroup_differences(held, asked) == []
    assert verify.cgroup_differences(held | {"pids": None}, asked)
    assert verify.cgroup_differences(held | {"memory": 10001}, asked)
    assert verify.cgroup_differences({}, Limits(memory=None, pids=None)) == []


# --- mounts ---

ROOT = "1 0 0:1 / / rw,relatime - overlay overlay rw\n"


def line(place: str, options: str = "rw,nosuid,nodev", kind: str = "ext4") -> str:
    """A line of mountinfo."""
    return f"2 1 0:2 / {place} {options} - {kind} src rw\n"


def test_what_was_asked_for_is_there():
    """Each mount with its options is found; escapes of odd names are understood."""
    asked = [Mount("/w dir", "bind", "/w", read_only=False), Mount("/t", "tmpfs")]
    text = ROOT + line("/w\\040dir") + line("/t", "ro,nosuid,nodev", "tmpfs")
    assert verify.mount_differences(text, asked) == []


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "nothing is mounted at /w"),
        (line("/w"), "not ro"),
        (line("/w", "ro,nosuid"), "not nodev"),
        (line("/w", "ro,nosuid,nodev") + line("/run/secrets"), "/run/secrets"),
        (line("/w", "ro,nosuid,nodev") + line("/dev/kvm"), "/dev/kvm"),
        (line("/w", "ro,nosuid,nodev") + line("/w", "rw,nosuid,nodev"), "not ro"),
        (line("/w", "ro,nosuid,nodev") + line("/wide"), "/wide"),
    ],
)
def test_other_mounts_are_differences(text, named):
    """Missing, weaker, covered and additional mounts are each named."""
    (found,) = verify.mount_differences(ROOT + text, [Mount("/w", "bind", "/w")])
    assert named in found


def test_what_lies_below_a_bind_is_part_of_it():
    """Mounts below what was bound came along, and are no surprise."""
    text = ROOT + line("/w", "ro,nosuid,nodev") + line("/w/sub/deep")
    assert verify.mount_differences(text, [Mount("/w", "bind", "/w")]) == []


# --- seccomp, ids, environment ---


def test_grouping_of_rules_does_not_matter():
    """A profile says the same however its rules are grouped and ordered."""
    one = {"syscalls": [{"names": ["a", "b"], "action": "X", "args": []}]}
    two = {"syscalls": [{"names": ["b"], "action": "X"}, {"names": ["a"], "action": "X"}]}
    assert verify.seccomp_rules(one) == verify.seccomp_rules(two)


@pytest.mark.parametrize("change", ["none", "more", "default", "architecture"])
def test_another_filter_is_a_difference(change):
    """A missing, wider or foreign filter is seen."""
    wanted = {
        "defaultAction": "E",
        "architectures": ["A"],
        "syscalls": [{"names": ["read"], "action": "ALLOW"}],
    }
    more = {"names": ["bpf"], "action": "ALLOW"}
    found = {
        "none": None,
        "more": wanted | {"syscalls": [*wanted["syscalls"], more]},
        "default": wanted | {"defaultAction": "ALLOW"},
        "architecture": wanted | {"architectures": ["A", "B"]},
    }[change]
    assert verify.seccomp_differences({"linux": {"seccomp": wanted}}, wanted) == []
    assert verify.seccomp_differences({"linux": {"seccomp": found}}, wanted)


def test_environment_values_are_never_told():
    """A difference names the variable and not what is in it."""
    found = verify.environment_differences(["TOKEN=secret1", "X=secret2"], {"TOKEN": "secret3"})
    assert len(found) == 2
    assert "secret" not in " ".join(found)


def test_maps_of_other_ids_are_differences():
    """Rootful: exactly the chosen range. Rootless: never the host's root."""
    assert verify.map_differences("uid", "0 1879048192 65536\n", 1000, ROOTFUL) == []
    assert verify.map_differences("uid", "0 0 4294967295\n", 1000, ROOTFUL)
    keep = "0 100000 1000\n1000 501 1\n1001 101000 64536\n"
    assert verify.map_differences("uid", keep, 1000, ROOTLESS) == []
    assert verify.map_differences("uid", "0 0 1\n", 1000, ROOTLESS)
    assert verify.map_differences("uid", "", 1000, ROOTLESS)


STATUS = (
    "Uid:\t1879049192\t1879049192\t1879049192\t1879049192\n"
    "Gid:\t1879049192\t1879049192\t1879049192\t1879049192\n"
    + "".join(f"Cap{name}:\t{'0' * 16}\n" for name in ("Inh", "Prm", "Eff", "Bnd", "Amb"))
    + "NoNewPrivs:\t1\nSeccomp:\t2\n"
)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("CapEff:\t0", "CapEff:\t1", "CapEff"),
        ("NoNewPrivs:\t1", "NoNewPrivs:\t0", "NoNewPrivs"),
        ("Uid:\t1879049192", "Uid:\t0", "Uid"),
        ("Gid:\t1879049192", "Gid:\t0", "Gid"),
    ],
)
def test_the_kernels_status_decides(old, new, named):
    """Capabilities, no-new-privileges and ids are those of the kernel's own record."""
    assert verify.status_differences(STATUS, SPEC, ROOTFUL) == []
    (found,) = verify.status_differences(STATUS.replace(old, new), SPEC, ROOTFUL)
    assert named in found


def test_an_unreadable_status_is_not_sealed():
    """No evidence is no seal."""
    assert verify.status_differences("", SPEC, ROOTFUL)
    assert verify.oci_differences({}, SPEC, ROOTFUL)
    assert verify.inspect_differences({}, SPEC)


def test_signals_that_would_be_lost():
    """A first process heeds what it catches, blocks or ignores; masks as in proc(5)."""
    status = "Name:\tx\nSigBlk:\t0000000000000002\nSigIgn:\t0\nSigCgt:\t0000000000004000\n"
    assert watch.heeds(status, 2)
    assert not watch.heeds(status.replace("x", "runc:[2:INIT]"), 2)
    assert watch.heeds(status, 15)
    assert not watch.heeds(status, 1)
    assert not watch.heeds("", 15)
