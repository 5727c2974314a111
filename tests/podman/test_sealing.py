"""What a program inside can reach and do: next to nothing, and it is what Podman really made."""

from __future__ import annotations

import json
import platform
import socket

import pytest
import trio

from aileron_core.backend import Capability, Limits, ListenerSpec, Mount, SandboxUser
from aileron_core.errors import AileronError
from aileron_core.records import SeccompRule
from aileron_core.seccomp import build_profile
from aileron_podman import cgroup, create, creation

pytestmark = pytest.mark.container


async def test_only_the_daemons_listeners_are_reachable(world):
    """A program inside connects to a listener of ours; there is no interface but lo, no route."""
    sandbox = await world.create(
        "nc 127.0.0.1 3128 </dev/null; cat /proc/net/route; ls /sys/class/net"
    )
    specs = [ListenerSpec("proxy", port=3128), ListenerSpec("dns", port=53, kind="udp")]
    made = await world.backend.listen(sandbox, specs)
    assert {"proxy", "dns"} == set(made)
    assert made["proxy"].getsockname() == ("127.0.0.1", 3128)
    assert not made["proxy"].getblocking()
    stream = await world.backend.open(sandbox)
    with trio.fail_after(10):
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(made["proxy"]))
        async with listener, await listener.accept() as connection:
            await connection.send_all(b"from the daemon\n")
    seen = b""
    while (found := await stream.receive()) is not None:
        seen += found[1]
    lines = seen.decode().splitlines()
    assert lines[0] == "from the daemon"
    assert lines[-1] == "lo"
    assert [line.split()[0] for line in lines[1:-1]] == ["Iface"]
    made["dns"].close()
    await stream.aclose()
    await world.backend.remove(sandbox)


async def test_a_datagram_reaches_its_listener(world):
    """A UDP listener receives from inside: names are asked of the daemon."""
    sandbox = await world.create("nslookup name.example 127.0.0.1 2>&1")
    made = await world.backend.listen(sandbox, [ListenerSpec("dns", port=53, kind="udp")])
    stream = await world.backend.open(sandbox)
    with trio.fail_after(10), trio.socket.from_stdlib_socket(made["dns"]) as udp:
        data, sender = await udp.recvfrom(512)
    assert b"name\x07example" in data
    assert sender[0] == "127.0.0.1"
    await stream.aclose()
    await world.backend.remove(sandbox)


async def test_the_hosts_loopback_is_another_one(world):
    """A service on the host's loopback cannot be reached from inside."""
    with socket.socket() as host:
        host.bind(("127.0.0.1", 0))
        host.listen()
        ran = await world.run(f"nc -w 2 127.0.0.1 {host.getsockname()[1]} </dev/null; echo $?")
    assert ran.text == "1"


async def test_two_listeners_of_one_port_are_refused(world):
    """A clash is an error, and no socket of the call stays open."""
    sandbox = await world.create()
    with pytest.raises(AileronError) as caught:
        await world.backend.listen(
            sandbox, [ListenerSpec("a", port=8080), ListenerSpec("b", port=8080)]
        )
    assert caught.value.code == "listener-failed"
    again = await world.backend.listen(sandbox, [ListenerSpec("a", port=8080)])
    again["a"].close()
    await world.backend.remove(sandbox)


async def test_environment_is_the_specs_alone(world, monkeypatch):
    """Neither the host's, a proxy's nor the image's variables appear."""
    monkeypatch.setenv("HTTPS_PROXY", "http://secret@proxy")
    monkeypatch.setenv("CANARY", "host")
    ran = await world.run("env", env={"PATH": "/bin", "ONE": "a b\nc"}, cwd="/")
    names = {line.split("=")[0] for line in ran.out.decode().splitlines() if "=" in line}
    assert {"PATH", "ONE", "HOSTNAME", "HOME", "SHLVL", "PWD"} >= names
    assert b"ONE=a b\nc\n" in ran.out
    assert b"PATH=/bin\n" in ran.out


async def test_the_agent_is_nobody_in_particular(world):
    """Not root inside, not root outside, no capability, no way to get one, a name of its own."""
    user = SandboxUser(uid=1234, gid=2345, name="worker", home="/home/worker")
    script = "id -u; id -g; id -un; pwd; echo ~; grep -E '^(CapBnd|CapEff|NoNew)' /proc/self/status"
    ran = await world.run(script, user=user, env={"PATH": "/bin", "HOME": "/home/worker"})
    assert ran.text.split() == [
        *("1234", "2345", "worker", str(world.workspace), "/home/worker"),
        *("CapEff:", "0" * 16, "CapBnd:", "0" * 16, "NoNewPrivs:", "1"),
    ]


async def test_what_the_kernel_tells_everybody_is_hidden(world):
    """Kernel memory, keys and the host's firmware are masked; settings are read-only."""
    script = (
        "cat /proc/keys /proc/timer_list; ls /sys/firmware; wc -c < /proc/kcore;"
        " echo 1 > /proc/sys/kernel/panic; echo $?; ls /dev"
    )
    ran = await world.run(script)
    lines = ran.text.splitlines()
    assert "1" in lines
    assert not {"kmsg", "mem", "vda", "vsock", "fuse", "kvm"} & set(lines)
    assert b"Read-only file system" in ran.err or b"Permission denied" in ran.err


PROBE = r"""
import ctypes, errno, json, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *args):
    result = libc.syscall(number, *args)
    return 0 if result >= 0 else ctypes.get_errno()
def family(number, kind=socket.SOCK_STREAM, protocol=0):
    try: socket.socket(number, kind, protocol).close(); return 0
    except OSError as error: return error.errno
print(json.dumps({
  "vsock": family(40), "packet": family(17, socket.SOCK_RAW),
  "alg": family(38, socket.SOCK_SEQPACKET),
  "bluetooth": family(31), "unix": family(1), "inet": family(2), "inet6": family(10),
  "route": family(16, socket.SOCK_RAW, 0), "audit": family(16, socket.SOCK_RAW, 9),
  "raw": family(2, socket.SOCK_RAW, 1), "ping": family(2, socket.SOCK_DGRAM, 1),
  "ptrace": call(101, 0, 0, 0, 0), "keyctl": call(250, 0, 0, 0, 0),
  "add_key": call(248, 0, 0, 0, 0, 0),
  "bpf": call(321, 0, 0, 0), "perf": call(298, 0, 0, -1, -1, 0), "userfaultfd": call(323, 0),
  "io_uring": call(425, 1, 0), "clone3": call(435, 0, 0), "mount": call(165, 0, 0, 0, 0, 0),
  "open_tree": call(428, -100, b"/", 0), "fsopen": call(430, b"tmpfs", 0),
  "unshare_user": call(272, 0x10000000), "unshare_net": call(272, 0x40000000),
  "unshare_files": call(272, 0x400), "clone_user": call(56, 0x10000000 | 17, 0, 0, 0, 0),
  "process_vm_writev": call(311, os.getpid(), 0, 0, 0, 0, 0), "pidfd_getfd": call(438, 0, 0, 0),
  "setns": call(308, -1, 0), "personality": call(135, 0x0040000), "kexec": call(246, 0, 0, 0, 0),
}))
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="kernel: numbers of x86-64")
async def test_system_calls_are_those_of_the_profile(world):
    """Every family and call that the profile refuses is refused for real, with the right error."""
    script = world.root / "probe.py"
    script.write_text(PROBE)
    binds = (Mount(path, "bind", path) for path in ("/usr", "/lib", "/lib64"))
    mounts = (*binds, Mount("/probe.py", "bind", str(script)))
    ran = await world.run("", argv=("/usr/bin/python3", "-S", "/probe.py"), mounts=mounts, cwd="/")
    assert ran.err == b""
    found = json.loads(ran.out)
    refused = {name for name, number in found.items() if number == 1}
    assert {
        *("ptrace", "keyctl", "add_key", "bpf", "perf", "userfaultfd", "mount", "open_tree"),
        *("fsopen", "process_vm_writev", "pidfd_getfd", "setns", "kexec", "raw"),
    } <= refused
    assert {97} == {found[name] for name in ("vsock", "packet", "alg", "bluetooth")}
    assert {0} == {found[name] for name in ("unix", "inet", "inet6", "route", "unshare_files")}
    missing = ("io_uring", "clone3", "unshare_user", "unshare_net", "clone_user", "personality")
    assert {38} == {found[name] for name in missing}
    assert found["audit"] == 93
    foreign = "import ctypes; ctypes.CDLL(None).syscall(0x40000000 + 39)"
    program = ("/usr/bin/python3", "-S", "-c", foreign)
    ran = await world.run("", argv=program, mounts=mounts, cwd="/")
    assert ran.exit.status == 128 + 31  # SIGSYS: calls by another ABI end the process


async def test_contributed_rules_hold(world):
    """A plugin's stricter rule is in force in the sandbox."""
    rule = SeccompRule(("mkdir", "mkdirat"), "errno", errno=13)
    profile = build_profile([rule], machine=platform.machine())
    ran = await world.run("mkdir d; echo $?", seccomp=profile)
    assert ran.text == "1"
    assert b"Permission denied" in ran.err
    assert not (world.workspace / "d").exists()


FILES = [
    {"type": "nofile", "soft": 9999, "hard": 9999},
    {"type": "nproc", "soft": 999, "hard": 999},
]
ETC = {"type": "bind", "source": "/etc", "destination": "/hostetc", "options": ["ro"]}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"cap_drop": []}, "CapBnd"),
        ({"cap_drop": [], "cap_add": ["CAP_NET_RAW"]}, "capabilities"),
        ({"no_new_privileges": False}, "no-new-privileges"),
        ({"user": "0:0"}, "user"),
        ({"netns": {"nsmode": "host"}}, "network"),
        ({"seccomp_profile_path": "unconfined"}, "seccomp"),
        ({"env": {"PATH": "/bin", "EXTRA": "1"}}, "EXTRA"),
        ({"privileged": True}, "privileged"),
        ({"r_limits": FILES}, "nofile"),
        ({"resource_limits": {"memory": {"limit": 1 << 30}}}, "pids"),
        ({"pidns": {"nsmode": "host"}, "init": False}, "pid namespace"),
        ({"mounts": [ETC]}, "/hostetc"),
        ({"devices": [{"path": "/dev/kmsg"}]}, "/dev/kmsg"),
        ({"unmask": ["ALL"]}, "masked"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)  # fmt: skip
async def test_a_container_that_is_not_as_asked_is_refused(
    world, monkeypatch, kernel_cannot, change, named
):
    """Whatever makes a container less confined than asked is seen, named, and removed."""
    if named == "pids" and Capability.LIMIT_PIDS not in world.backend.capabilities:
        kernel_cannot("limit processes of this user's containers")
    honest = create.to_specgen

    def changed(*args, **kwargs):
        return honest(*args, **kwargs) | change

    monkeypatch.setattr(creation, "to_specgen", changed)
    with pytest.raises(AileronError) as caught:
        await world.create()
    assert caught.value.code == "sandbox-not-sealed", caught.value.why
    assert named in caught.value.why
    assert caught.value.exit_status == 77
    assert await world.left() == []


async def test_a_limit_that_cannot_hold_is_refused(world):
    """Without the capability for a limit, asking for it is an error before anything is made."""
    world.backend.capabilities = frozenset()
    with pytest.raises(AileronError) as caught:
        await world.create(limits=Limits(memory=1 << 28, pids=None))
    assert caught.value.code == "limit-unsupported"
    assert await world.left() == []


async def test_no_limits_are_fine_without_capabilities(world):
    """A sandbox without limits of the cgroup runs where there are none."""
    world.backend.capabilities = frozenset()
    ran = await world.run("echo ok", limits=Limits(memory=None, pids=None))
    assert ran.text == "ok"


async def test_limits_are_in_the_kernel(world, kernel_cannot):
    """CPU, memory and process limits are where the kernel keeps them."""
    if Capability.LIMIT_MEMORY not in world.backend.capabilities:
        kernel_cannot("limit memory for this user's containers")
    sandbox = await world.create(limits=Limits(memory=1 << 28, cpus=0.5, pids=33))
    held = cgroup.limits(cgroup.read(f"/proc/{sandbox.pid}/cgroup"))
    await world.backend.remove(sandbox)
    assert held == {"memory": 1 << 28, "swap": 0, "pids": 33, "cpus": 0.5}
