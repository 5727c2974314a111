"""Promise 1: from the sandbox nothing is reachable but the daemon's own listeners."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

pytestmark = pytest.mark.container


@contextmanager
def listening(family: int, address: object) -> Iterator[tuple[socket.socket, list[bool]]]:
    """A listener of the host's that remembers whether anybody came."""
    arrived: list[bool] = []
    with socket.socket(family) as listener:
        listener.bind(address)
        listener.listen()
        listener.settimeout(60)

        def accept() -> None:
            try:
                listener.accept()[0].close()
                arrived.append(True)
            except OSError:
                pass

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener, arrived
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def test_there_is_no_route(inside):
    """The routing tables are empty but for loopback, IPv4 and IPv6."""
    said = inside.says(
        "tail -n +2 /proc/net/route; cat /proc/net/ipv6_route 2>/dev/null | grep -v ' lo$'; true"
    )
    assert said == ""


def test_there_is_only_loopback(inside):
    """No interface but ``lo`` exists, so that no route could be made either."""
    said = inside.says("tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '")
    assert said == "lo"


CONNECT = """
import errno, socket
for family, kind, address in (
    (socket.AF_INET, socket.SOCK_STREAM, ("198.51.100.1", 9)),
    (socket.AF_INET, socket.SOCK_STREAM, ("198.51.100.1", 443)),
    (socket.AF_INET, socket.SOCK_DGRAM, ("198.51.100.1", 53)),
    (socket.AF_INET, socket.SOCK_DGRAM, ("198.51.100.1", 9)),
    (socket.AF_INET6, socket.SOCK_STREAM, ("2001:db8::1", 9)),
    (socket.AF_INET6, socket.SOCK_DGRAM, ("2001:db8::1", 9)),
):
    with socket.socket(family, kind) as s:
        s.settimeout(5)
        try:
            s.connect(address)
            print("connected", address)
        except OSError as error:
            print(errno.errorcode.get(error.errno, error))
"""


def test_no_address_is_reachable(inside_python):
    """TCP and UDP, IPv4 and IPv6: the kernel refuses at once, for want of a route."""
    said = inside_python.python_says(CONNECT).split()
    assert set(said) <= {"ENETUNREACH", "EADDRNOTAVAIL", "EAFNOSUPPORT", "EACCES"}, said


def test_no_name_resolves(inside_python):
    """There is no DNS: names that exist do not resolve either."""
    said = inside_python.python_says(
        "import socket\n"
        "try: print(socket.getaddrinfo('deb.debian.org', 443))\n"
        "except OSError as error: print('no')"
    )
    assert said == "no"


def test_the_hosts_loopback_is_another(inside_python):
    """A listener on the host's 127.0.0.1 cannot be reached; the sandbox has its own loopback."""
    with listening(socket.AF_INET, ("127.0.0.1", 0)) as (listener, arrived):
        port = listener.getsockname()[1]
        said = inside_python.python_says(
            "import socket\n"
            "for host in ('127.0.0.1', 'localhost', '0.0.0.0'):\n"
            f"    try: socket.create_connection((host, {port}), 5); print('reached')\n"
            "    except OSError: print('no')"
        )
    assert (said.split(), arrived) == (["no"] * 3, [])


def test_the_hosts_abstract_sockets_are_out_of_reach(inside_host):
    """Abstract Unix sockets belong to the network namespace, which is not the host's."""
    with listening(socket.AF_UNIX, "\0aileron-escape-test") as (_, arrived):
        said = inside_host.python_says(
            "import socket\n"
            "s = socket.socket(socket.AF_UNIX)\n"
            "try: s.connect('\\0aileron-escape-test'); print('reached')\n"
            "except OSError: print('no')"
        )
    assert (said, arrived) == ("no", [])


def test_no_socket_file_of_the_host_is_visible(inside):
    """No Unix socket lies anywhere in the sandbox's files: not Podman's, not the daemon's."""
    said = inside.says("find / /run /tmp /var -xdev -type s 2>/dev/null; true")
    assert said == ""


@pytest.mark.parametrize(
    ("name", "family", "kind", "protocol"),
    [
        ("vsock stream", 40, 1, 0),
        ("vsock datagram", 40, 2, 0),
        ("packet", 17, 3, 0x0300),
        ("packet datagram", 17, 2, 0x0300),
        ("raw ICMP", 2, 3, 1),
        ("raw IPv6", 10, 3, 58),
        ("kernel crypto", 38, 5, 0),
        ("netlink netfilter write", 16, 3, 12),
    ],
)
def test_sockets_that_namespaces_do_not_confine_cannot_be_made(
    inside_host, name, family, kind, protocol
):
    """``socket()`` itself fails; vsock above all, which no namespace confines. None connects."""
    if name.startswith("netlink"):
        script = (
            "import socket, struct\n"
            "s = socket.socket(16, 3, 12)\n"
            "s.send(struct.pack('=IHHII4s', 20, 0x0a00, 5, 1, 0, bytes(4)))\n"
            "print('errno', -struct.unpack_from('=i', s.recv(4096), 16)[0])"
        )
        said = inside_host.python(script).stdout.strip()
        assert said != "errno 0"
        return
    said = inside_host.python_says(
        "import socket\n"
        f"try: socket.socket({family}, {kind}, {protocol}); print('made')\n"
        "except OSError: print('no')"
    )
    assert said == "no"


def test_vsock_is_refused_by_the_filter_not_by_luck(inside_host):
    """The error is the filter's, whatever the kernel has: EPERM, EACCES or EAFNOSUPPORT."""
    said = inside_host.python_says(
        "import errno, socket\n"
        "try: socket.socket(40, 1); print('made')\n"
        "except OSError as error: print(errno.errorcode[error.errno])"
    )
    assert said in {"EPERM", "EACCES", "EAFNOSUPPORT"}


def test_an_interface_cannot_be_made(inside):
    """``ip link add`` fails where the program exists: there is no capability for it."""
    done = inside("ip link add escape type dummy 2>/dev/null && echo made; true")
    assert "made" not in done.stdout
