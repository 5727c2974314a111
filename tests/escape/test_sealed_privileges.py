"""What the other promises stand on: the agent is nobody and stays nobody, in every tier."""

from __future__ import annotations

import os

import pytest
from real_aileron import explain

pytestmark = pytest.mark.container


def test_no_capability_in_any_set(inside):
    """Inheritable, permitted, effective, bounding and ambient: all zero."""
    said = inside.says("grep ^Cap /proc/self/status").split()
    assert said[1::2] == ["0000000000000000"] * 5, said


def test_not_root_and_filtered(inside):
    """uid and gid are not 0, no-new-privileges is on, a seccomp filter is loaded."""
    said = inside.says(
        "id -u; id -g; id -G; grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status | tr -d '\\t'"
    ).splitlines()
    assert said == ["1000", "1000", "1000", "NoNewPrivs:1", "Seccomp:2"]


def test_uid_0_of_the_sandbox_is_not_the_hosts(inside_tiny):
    """The user namespace maps no id of the sandbox to the host's root."""
    mapped = [line.split() for line in inside_tiny.says("cat /proc/self/uid_map").splitlines()]
    assert mapped != []
    # Of a plain user everything is mapped inside a namespace of the user's, where 0 is the user.
    assert os.getuid() != 0 or all(outside != "0" for _, outside, _ in mapped), mapped


def test_every_setuid_program_is_harmless(inside_host):
    """The host's own setuid programs run, if at all, without becoming anybody."""
    said = inside_host.says(
        "for p in $(find /usr/bin /usr/sbin -perm -4000 -type f 2>/dev/null); do\n"
        "  cp $p ./copied 2>/dev/null; $p -c 'id -u' </dev/null 2>/dev/null; done\n"
        "id -u"
    )
    assert said.split()[-1] == "1000"
    assert "0" not in said.split(), said


@pytest.mark.parametrize(
    "command",
    [
        "mount -t tmpfs none /tmp",
        "mount --bind /tmp /mnt",
        "umount /run/aileron",
        "unshare -U true",
        "unshare -m true",
        "chroot / true",
        "mknod disk b 254 0",
        "hostname escaped",
        "dmesg",
        "echo 1 > /proc/sys/kernel/panic",
        "echo b > /proc/sysrq-trigger",
        "cat /proc/kcore",
        "cat /proc/1/mem",
        "swapoff -a",
        "nice -n -10 true 2>&1 | grep -q denied && exit 1",
    ],
)
def test_what_a_nobody_cannot_do(inside_tiny, command):
    """Mounts, namespaces, devices, kernel files: each is refused."""
    done = inside_tiny(f"({command}) >/dev/null 2>&1 && echo did")
    assert "did" not in done.stdout, explain(done)


def test_ptrace_is_refused(inside_python):
    """No process can attach to another of the same user."""
    said = inside_python.python_says(
        "import ctypes, os, time\n"
        "child = os.fork()\n"
        "if not child: time.sleep(30); os._exit(0)\n"
        "print(ctypes.CDLL(None).ptrace(16, child, None, None))\n"
        "os.kill(child, 9)"
    )
    assert said == "-1"


def test_a_foreign_system_call_is_not_answered(inside_python):
    """x32 numbers, which a filter by number could mistake for others, get no answer."""
    if os.uname().machine != "x86_64":
        return
    done = inside_python.python(
        "import ctypes, os\n"
        "got = ctypes.CDLL(None).syscall(ctypes.c_long(0x40000000 | 39))\n"
        "print('answered' if got == os.getpid() else 'refused')"
    )
    assert "answered" not in done.stdout, explain(done)


@pytest.mark.parametrize(
    "call", ["bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "keyctl", "add_key",
             "init_module", "kexec_load", "open_by_handle_at", "quotactl", "acct", "setns"],
)  # fmt: skip
def test_dangerous_system_calls_are_refused(inside_host, call):
    """Kernel surface that no agent needs ends in EPERM or ENOSYS."""
    numbers = {
        "bpf": 321, "perf_event_open": 298, "userfaultfd": 323, "io_uring_setup": 425,
        "keyctl": 250, "add_key": 248, "init_module": 175, "kexec_load": 246,
        "open_by_handle_at": 304, "quotactl": 179, "acct": 163, "setns": 308,
    }  # fmt: skip
    if os.uname().machine != "x86_64":
        return
    said = inside_host.python_says(
        "import ctypes, errno\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        f"libc.syscall({numbers[call]}, 0, 0, 0, 0, 0)\n"
        "print(errno.errorcode.get(ctypes.get_errno(), 'done'))"
    )
    assert said in {"EPERM", "ENOSYS"}


def test_memory_is_limited(inside_tiny, kernel_cannot):
    """What fills more than it may is ended; where the kernel cannot, launch refuses."""
    script = "head -c 300000000 /dev/zero | tail -c 299000000 | wc -c"
    done = inside_tiny(script, "--memory", "64m")
    if "the limit on memory does not hold" in done.stderr and not done.stdout:
        kernel_cannot("limit the memory of a plain user's container")
    assert "299000000" not in done.stdout, explain(done)


def test_processes_are_limited(inside_tiny, kernel_cannot):
    """A fork bomb stops at the limit; where the kernel cannot do that, launch refuses."""
    script = "i=0; while [ $i -lt 200 ]; do sleep 30 & i=$((i+1)); done; echo all-started"
    done = inside_tiny(script, "--pids", "64")
    if "the limit on processes does not hold" in done.stderr and not done.stdout:
        kernel_cannot("limit the processes of a plain user's container")
    assert "all-started" not in done.stdout, explain(done)


def test_no_core_is_dumped(inside_tiny):
    """Memory never reaches a disk: core dumps are off and cannot be turned on."""
    assert inside_tiny.says("ulimit -c; ulimit -c unlimited 2>/dev/null; ulimit -c").split() == [
        "0",
        "0",
    ]
