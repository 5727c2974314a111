"""Promise 5: nothing inside can approve, extend, list or read another session."""

from __future__ import annotations

import json
import secrets

import pytest
from real_aileron import explain, wait_until

pytestmark = pytest.mark.container

CALL = """
import json, os, ssl, sys, urllib.error, urllib.request
context = ssl.create_default_context(cafile="/run/aileron/ca.pem")
def call(method, path, token):
    headers = {{"Authorization": "Bearer " + token}} if token is not None else {{}}
    data = b"{{}}" if method != "GET" else None
    if data: headers["Content-Type"] = "application/json"
    url = os.environ["AILERON_API_URL"] + path
    request = urllib.request.Request(url, data=data, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, context=context, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
own = open("/run/aileron/token").read()
results = []
for method, path, token in json.loads({calls!r}):
    results.append(call(method, path, own if token == "own" else token))
print(json.dumps(results))
"""


def ask(inside, *calls):
    """``(status, body)`` of each ``(method, path, token)``, asked from inside."""
    return json.loads(inside.python_says(CALL.format(calls=json.dumps(calls))))


def test_the_api_answers_its_own_session(inside_host):
    """With its own token over verified TLS the agent sees its own session."""
    [[status, body]] = ask(inside_host, ("GET", "/v1/session", "own"))
    assert status == 200, body
    assert json.loads(body)["workspace"] == str(inside_host.workspace)


def test_without_the_token_there_is_no_answer(inside_host):
    """No token, a wrong one, an empty one, another scheme's: 401, and nothing is told."""
    calls = [("GET", "/v1/session", token) for token in (None, "", "x" * 43, "own x")]
    for status, body in ask(inside_host, *calls):
        assert status == 401, body
        assert str(inside_host.workspace) not in body


def test_another_sessions_token_is_refused(inside_host, tmp_path):
    """Session A's token, while A runs, opens nothing on B's listener: the socket is the session."""
    aileron = inside_host.aileron
    name = f"other-{secrets.token_hex(4)}"
    workspace = aileron.env.root / name
    workspace.mkdir()
    script = "cat /run/aileron/token; echo; sleep 300"
    aileron.ok("launch", "--image", "host", "--detach", "--name", name, "--", "sh", "-c", script,
               cwd=workspace)  # fmt: skip
    try:
        token = wait_until("token", lambda: aileron("sessions", "logs", name).stdout.strip())
        [[status, body]] = ask(inside_host, ("GET", "/v1/session", token))
    finally:
        aileron("sessions", "stop", name)
    assert status == 401, body


HOST_SIDE = (
    ("GET", "/v1/sessions"),
    ("POST", "/v1/sessions"),
    ("GET", "/v1/audit"),
    ("GET", "/v1/events"),
    ("GET", "/v1/plugins"),
    ("GET", "/v1/daemon"),
    ("POST", "/v1/daemon/stop"),
    ("GET", "/v1/approvals"),
    ("POST", "/v1/approvals/ap_1/decision"),
    ("GET", "/v1/credentials"),
)


def test_the_hosts_side_is_not_there(inside_host):
    """Not one call of the host's side exists on the sandbox's listener, token or not."""
    calls = [(method, path, "own") for method, path in HOST_SIDE]
    statuses = {path: status for (_, path), (status, _) in zip(HOST_SIDE, ask(inside_host, *calls),
                strict=True)}  # fmt: skip
    assert set(statuses.values()) <= {401, 403, 404, 405}, statuses


def test_a_path_cannot_climb_to_the_hosts_side(inside_host):
    """Encoded and doubled separators reach nothing else."""
    paths = (
        "//v1/sessions",
        "/v1/session/../sessions",
        "/v1/%2e%2e/v1/sessions",
        "/v1/session/%00",
    )
    for status, body in ask(inside_host, *(("GET", path, "own") for path in paths)):
        assert status in {400, 401, 403, 404}, body


def test_a_token_dies_with_its_session(inside_host):
    """After the end the token opens nothing in the next session."""
    token = inside_host.says("cat /run/aileron/token")
    [[status, body]] = ask(inside_host, ("GET", "/v1/session", token))
    assert status == 401, body


def test_the_daemon_survives_nonsense(inside_host):
    """Garbage on the listener costs the daemon nothing: the next session is served."""
    done = inside_host.python(
        "import os, socket\n"
        "for junk in (b'\\x00' * 4096, b'GET / HTTP/1.1\\r\\n' * 999, os.urandom(65536)):\n"
        "    s = socket.create_connection(('127.0.0.1', 7443), 5)\n"
        "    try: s.sendall(junk); s.settimeout(2); s.recv(100)\n"
        "    except OSError: pass\n"
        "    s.close()"
    )
    assert done.returncode == 0, explain(done)
    [[status, body]] = ask(inside_host, ("GET", "/v1/session", "own"))
    assert status == 200, body
