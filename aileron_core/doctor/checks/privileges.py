"""The agent is nobody, stays nobody, and speaks only the native system calls."""

from __future__ import annotations

import platform

from aileron_core.doctor.checks.verdicts import judge
from aileron_core.doctor.probe import CannotTry, Probe
from aileron_core.records import Check, CheckResult

MEND = "do not use this machine for agents yet: is the OCI runtime current? (podman info)"

_STATUS = """
[ "$(id -u)" -ne 0 ] || echo "did run as root"
[ "$(id -g)" -ne 0 ] || echo "did run in root's group"
while read -r key value rest
do
  case $key in
    Cap*) [ "$value" = 0000000000000000 ] || echo "did have capabilities: $key $value" ;;
    NoNewPrivs:) [ "$value" = 1 ] || echo "did run without no-new-privileges" ;;
    Seccomp:) [ "$value" = 2 ] || echo "did run without a seccomp filter" ;;
  esac
done < /proc/self/status
mount -t tmpfs none /mnt 2>/dev/null && echo "did mount a file system"
chroot / true 2>/dev/null && echo "did change its root"
for program in $(find /bin /usr/bin /usr/sbin /sbin -perm -4000 -type f 2>/dev/null)
do
  case $program in
    */su) as_root=$("$program" -c 'id -u' root </dev/null 2>/dev/null) ;;
    */sudo) as_root=$("$program" -n id -u 2>/dev/null) ;;
    *) as_root= ;;
  esac
  [ "$as_root" != 0 ] || echo "did become root by $program"
done
echo tried
"""

_SETUID = """
import os
for name, act in (
    ("setuid(0)", lambda: os.setuid(0)),
    ("setgid(0)", lambda: os.setgid(0)),
    ("setgroups", lambda: os.setgroups([0])),
):
    try:
        act()
        print("did succeed with", name)
    except OSError:
        pass
print("tried")
"""

_NAMESPACES = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
for name, flag in (("user", 0x10000000), ("mount", 0x20000), ("network", 0x40000000),
                   ("pid", 0x20000000), ("user and mount", 0x10020000)):
    child = os.fork()
    if not child:
        os._exit(1 if libc.unshare(flag) else 0)
    if os.waitpid(child, 0)[1] == 0:
        print("did make a new", name, "namespace")
print("tried")
"""

_PTRACE = """
import ctypes, os, signal
libc = ctypes.CDLL(None, use_errno=True)
r, w = os.pipe()
child = os.fork()
if not child:
    os.close(w)
    os.read(r, 1)
    os._exit(0)
try:
    if libc.ptrace(16, child, None, None) == 0:
        os.waitpid(child, 0)
        libc.ptrace(17, child, None, None)
        print("did attach to another process")
    class iovec(ctypes.Structure):
        _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]
    secret = ctypes.create_string_buffer(b"secret")
    copy = ctypes.create_string_buffer(8)
    here, there = iovec(ctypes.addressof(copy), 6), iovec(ctypes.addressof(secret), 6)
    if libc.process_vm_readv(child, ctypes.byref(here), 1, ctypes.byref(there), 1, 0) == 6:
        print("did read another process's memory")
    if libc.process_vm_writev(child, ctypes.byref(here), 1, ctypes.byref(there), 1, 0) == 6:
        print("did write another process's memory")
finally:
    os.close(w)
    os.waitpid(child, 0)
print("tried")
"""

# x32 is asked for with bit 30 of the number; i386 with int 0x80 (getpid is 39 and 20).
_FOREIGN = """
import ctypes, mmap, os
libc = ctypes.CDLL(None, use_errno=True)
def succeeds(act):
    child = os.fork()
    if not child:
        os._exit(0 if act() == os.getpid() else 1)
    return os.waitpid(child, 0)[1] == 0
if succeeds(lambda: libc.syscall(ctypes.c_long(0x40000000 | 39))):
    print("did make an x32 system call")
code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(bytes.fromhex("53" "b814000000" "cd80" "5b" "c3"))
address = ctypes.addressof(ctypes.c_char.from_buffer(code))
if succeeds(ctypes.CFUNCTYPE(ctypes.c_int)(address)):
    print("did make a 32-bit system call")
print("tried")
"""


async def _nobody(probe: Probe) -> CheckResult:
    """Looks at what the agent has and tries to use what it must not have."""
    return judge(await probe.sh(_STATUS), "not root, no capability, filtered", MEND)


async def _stays_nobody(probe: Probe) -> CheckResult:
    """Tries to become root by system call."""
    return judge(await probe.python(_SETUID), "it cannot become root", MEND)


async def _namespaces(probe: Probe) -> CheckResult:
    """Tries to make namespaces, in which it would be root again."""
    return judge(await probe.python(_NAMESPACES), "no new namespace can be made", MEND)


async def _ptrace(probe: Probe) -> CheckResult:
    """Tries to take over another process of the same user."""
    return judge(await probe.python(_PTRACE), "no process can touch another's memory", MEND)


async def _foreign(probe: Probe) -> CheckResult:
    """Makes system calls of other architectures, whose numbers a filter could mistake."""
    if platform.machine() != "x86_64":
        raise CannotTry(f"{platform.machine()} has no foreign system calls that doctor knows")
    return judge(await probe.python(_FOREIGN), "only native system calls are answered", MEND)


CHECKS = (
    Check("foreign-syscalls", "system calls of other architectures are refused", _foreign),
    Check("new-namespaces", "no new user or mount namespace", _namespaces),
    Check("no-root", "the agent is not root and cannot become root", _stays_nobody),
    Check("privileges", "no capability, no setuid program, a seccomp filter", _nobody),
    Check("ptrace", "no process can be traced or its memory written", _ptrace),
)
