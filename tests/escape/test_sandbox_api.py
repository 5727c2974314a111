"""Promise 5, the sandbox's API under attack from inside: it answers its own, and stays up."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.container

CLIENT = r"""
import os, socket, ssl, time
TOKEN = os.environ["AILERON_TOKEN"].encode()
TLS = ssl.create_default_context(cafile="/run/aileron/ca.pem")
def connect():
    return TLS.wrap_socket(socket.create_connection(("127.0.0.1", 7443), timeout=20),
                           server_hostname="127.0.0.1")
def ask(head, body=b"", target=b"/v1/session", method=b"GET"):
    with connect() as stream:
        stream.sendall(method + b" " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                       b"Authorization: Bearer " + TOKEN + b"\r\n" + head + b"\r\n" + body)
        answer = b""
        while data := stream.recv(65536):
            answer += data
    return int(answer.split()[1]), answer.count(b"\r\n\r\n")
"""


def test_clients_that_vanish_leave_their_place(inside_host):
    """A handshake and nothing more, hundreds of times, keeps nobody out."""
    source = """
for _ in range(300):
    try:
        connect().close()
    except OSError:
        time.sleep(0.05)
print(*ask(b""))
"""
    assert inside_host.python_says(CLIENT + source) == "200 1"


def test_a_body_has_one_length(inside_host):
    """Two lengths are refused: what follows the shorter one could be taken for a request."""
    source = """
both = b"Content-Length: 5\\r\\nTransfer-Encoding: chunked\\r\\n"
print(*ask(both, b"0\\r\\n\\r\\n", method=b"POST"))
"""
    assert inside_host.python_says(CLIENT + source) == "400 1"


def test_calls_of_the_host_do_not_exist(inside_host):
    """However the path is written."""
    source = """
for target in (b"/v1/sessions", b"//v1/sessions", b"/v1/%2e%2e/v1/shutdown", b"/v1/shutdown",
               b"/v1/session/../sessions", b"/v1/audit", b"/v1/session%00"):
    print(ask(b"", target=target)[0], ask(b"", target=target, method=b"POST")[0])
"""
    assert set(inside_host.python_says(CLIENT + source).splitlines()) == {"404 404"}
