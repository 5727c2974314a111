"""The client: standard library, small to import, plain about a daemon that misbehaves."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aileron_core.client import Client
from aileron_core.daemon.spawn import daemon_environment
from aileron_core.errors import AileronError
from aileron_core.paths import Paths

Serve = Callable[[bytes], list[bytes]]


@pytest.fixture
def says(paths: Paths) -> Iterator[Serve]:
    """Call it with the bytes to answer; what was asked is in the list it returns."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(paths.socket))
    listener.listen()
    threads = []

    def serve(answer: bytes) -> list[bytes]:
        asked: list[bytes] = []

        def answer_one() -> None:
            connection, _ = listener.accept()
            with connection:
                asked.append(connection.recv(1 << 16))
                connection.sendall(answer)

        threads.append(threading.Thread(target=answer_one))
        threads[-1].start()
        return asked

    yield serve
    listener.close()
    for thread in threads:
        thread.join(timeout=10)


def ok(body: bytes, *headers: str) -> bytes:
    """An answer with a length."""
    lines = ["HTTP/1.1 200 OK", f"content-length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def chunked(*pieces: bytes) -> bytes:
    """An answer in chunks, whole."""
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%s\r\n" % (len(one), one) for one in pieces) + b"0\r\n\r\n"


def test_request_is_plain_http(paths: Paths, says: Serve) -> None:
    """Method, path, body and version are sent; the answer is decoded."""
    asked = says(ok(b'{"a": [1]}'))
    assert Client(paths).request("POST", "/v1/x", {"b": "ü"}) == {"a": [1]}
    head, _, body = asked[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/x HTTP/1.1\r\n")
    assert b"aileron-version: " in head
    assert json.loads(body) == {"b": "ü"}


def test_empty_answer_is_none(paths: Paths, says: Serve) -> None:
    """204 without a body, and 200 with an empty one."""
    says(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert Client(paths).request("DELETE", "/v1/x") is None
    says(ok(b""))
    assert Client(paths).request("GET", "/v1/x") is None


def test_chunks_are_joined(paths: Paths, says: Serve) -> None:
    """An answer in chunks is one answer."""
    says(chunked(b'{"a"', b": 1}"))
    assert Client(paths).request("GET", "/v1/x") == {"a": 1}


def test_error_object_is_raised(paths: Paths, says: Serve) -> None:
    """What the daemon reports comes out with code, why, hints and exit status."""
    error = {"code": "odd", "message": "m", "why": "w", "hints": ["h"], "exit_status": 66}
    body = json.dumps({"error": error}).encode()
    says(ok(body).replace(b"200 OK", b"404 Not Found"))
    with pytest.raises(AileronError) as caught:
        Client(paths).request("GET", "/v1/x")
    found = caught.value
    assert (found.code, found.message, found.why, found.hints) == ("odd", "m", "w", ("h",))
    assert found.exit_status == 66


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno end",
        ok(b'{"a": 1}')[:-3],
        chunked(b'{"a": 1}')[:-9],
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n",
        b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 2\r\n\r\nno",
    ],
)
def test_nonsense_is_a_lost_daemon(paths: Paths, says: Serve, answer: bytes) -> None:
    """Whatever is answered that is no answer, the person learns that the daemon is at fault."""
    says(answer)
    with pytest.raises(AileronError) as caught:
        Client(paths, start=False).request("GET", "/v1/x")
    assert caught.value.code == "daemon-lost"
    assert caught.value.exit_status == 69


def test_silent_daemon_is_given_up(paths: Paths) -> None:
    """A daemon that takes the connection and says nothing is lost after the timeout."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(paths.socket))
        listener.listen()
        with pytest.raises(AileronError) as caught:
            Client(paths).request("GET", "/v1/x", timeout=0.05)
    assert caught.value.code == "daemon-lost"
    assert "in time" in caught.value.why


def test_no_daemon_is_absent(paths: Paths) -> None:
    """Without a daemon, and told not to start one: absent, with the mend."""
    client = Client(paths, start=False)
    assert not client.is_running()
    with pytest.raises(AileronError) as caught:
        client.request("GET", "/v1/x")
    assert (caught.value.code, caught.value.exit_status) == ("daemon-absent", 69)
    assert caught.value.hints == ("aileron daemon start",)


def test_stream_of_lines(paths: Paths, says: Serve) -> None:
    """Objects come one by one, however the chunks fall, also a last one without newline."""
    says(chunked(b'{"n": 1}\n{"n"', b': 2}\n\n{"n": 3}'))
    assert list(Client(paths).stream("GET", "/v1/x")) == [{"n": 1}, {"n": 2}, {"n": 3}]


def test_stream_of_events(paths: Paths, says: Serve) -> None:
    """Of server-sent events the data comes out; comments, ids and names do not."""
    says(chunked(b': hello\n\nid: 1\nevent: a\ndata: {"n": 1}\n\n', b": still here\n\n"))
    assert list(Client(paths).stream("GET", "/v1/events")) == [{"n": 1}]


def test_error_in_a_stream_ends_it(paths: Paths, says: Serve) -> None:
    """An error object among the lines is raised; what came before it has come."""
    says(chunked(b'{"n": 1}\n{"error": {"code": "odd", "message": "m"}}\n{"n": 2}\n'))
    seen: list[Any] = []
    with pytest.raises(AileronError) as caught:
        seen.extend(Client(paths).stream("GET", "/v1/x"))
    assert caught.value.code == "odd"


def test_error_instead_of_a_stream(paths: Paths, says: Serve) -> None:
    """A refused stream is an error like any other."""
    body = json.dumps({"error": {"code": "odd", "message": "m"}}).encode()
    says(ok(body).replace(b"200 OK", b"400 Bad Request"))
    with pytest.raises(AileronError, match="m"):
        next(iter(Client(paths).stream("GET", "/v1/x")))


def test_refused_early_still_says_why(paths: Paths) -> None:
    """A daemon that answers and closes before the body is sent is understood."""
    body = json.dumps({"error": {"code": "body-too-large", "message": "too large"}}).encode()
    answer = ok(body).replace(b"200 OK", b"413 Too Large")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(paths.socket))
        listener.listen()

        def refuse() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(100)
                connection.sendall(answer)

        thread = threading.Thread(target=refuse)
        thread.start()
        with pytest.raises(AileronError) as caught:
            Client(paths).request("POST", "/v1/x", {"x": "y" * (4 << 20)})
        thread.join(timeout=10)
    assert caught.value.code == "body-too-large"


def test_import_is_small() -> None:
    """The client imports nothing of the frameworks, nor ``http.client`` with its email parser."""
    code = "import sys, aileron_core.client; print(*sorted(sys.modules))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={})
    loaded = set(done.stdout.split())
    assert not loaded & {"http.client", "email", "trio", "quart", "hypercorn", "sqlite3", "asyncio"}


def test_environment_of_the_daemon_is_chosen() -> None:
    """Directories, languages and proxies go along; secrets and Aileron's own variables do not."""
    given = {
        "PATH": "/bin",
        "XDG_RUNTIME_DIR": "/run",
        "LC_ALL": "C",
        "HTTPS_PROXY": "http://p",
        "GH_TOKEN": "x",
        "OPENAI_API_KEY": "x",
        "AILERON_LAUNCH_IMAGE": "x",
        "LD_PRELOAD": "x",
    }
    kept = {"PATH", "XDG_RUNTIME_DIR", "LC_ALL", "HTTPS_PROXY"}
    assert daemon_environment(given).keys() == kept
