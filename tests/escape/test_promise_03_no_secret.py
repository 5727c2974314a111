"""Promise 3: no secret is inside, nor in what is kept about a session."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest
from real_aileron import podman, wait_until

pytestmark = pytest.mark.container


@pytest.fixture
def canary() -> str:
    """A value that exists nowhere else."""
    return f"canary-{secrets.token_hex(16)}"


def holds(tree: Path, needle: str) -> list[str]:
    """Files under ``tree`` that contain the canary, byte by byte."""
    wanted = needle.encode()
    found = []
    for path in tree.rglob("*"):
        if path.is_file() and not path.is_symlink() and wanted in path.read_bytes():
            found.append(str(path))
    return found


def test_the_hosts_environment_is_absent(inside, canary):
    """No variable of the launching process reaches any process of the sandbox."""
    script = "env; for f in /proc/[0-9]*/environ; do tr '\\0' '\\n' < $f; done 2>/dev/null; true"
    said = inside.says(script, env={"GITHUB_TOKEN": canary, "CANARY": canary})
    assert canary not in said
    assert "XDG_STATE_HOME" not in said


def test_only_the_contracts_variables_are_set(inside_tiny):
    """The environment is the image's PATH, the user's, and what the contract lists."""
    names = {line.split("=", 1)[0] for line in inside_tiny.says("env").splitlines()}
    usual = {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "LANG", "HOSTNAME", "PWD", "SHLVL"}
    contract = {
        "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS",
        "GIT_SSL_CAINFO", "DENO_CERT", "AWS_CA_BUNDLE", "PIP_CERT", "CARGO_HTTP_CAINFO",
        "NIX_SSL_CERT_FILE", "container", "OLDPWD", "_", "TZ", "COLORTERM", "NO_COLOR",
    }  # fmt: skip
    unexpected = {n for n in names - usual - contract if not n.startswith("AILERON_")}
    assert unexpected == set()


def test_a_variable_is_passed_only_when_asked_for(inside_tiny, canary):
    """``--env NAME`` passes one on, and nothing of its neighbours."""
    env = {"WANTED": canary, "UNWANTED": canary + "-not"}
    said = inside_tiny.says("env", "--env", "WANTED", env=env)
    assert (f"WANTED={canary}" in said, "UNWANTED" in said) == (True, False)


def test_a_secret_file_in_the_home_is_invisible(inside, canary):
    """Not by its path, not by a search of everything: homes are not mounted."""
    home = inside.aileron.env.home
    (home / ".ssh").mkdir(exist_ok=True)
    secret = home / ".ssh" / "id_ed25519"
    secret.write_text(canary)
    try:
        said = inside.says(
            f"cat {secret} {home}/.ssh/* 2>/dev/null; ls -A {home} 2>/dev/null; "
            f"find / -xdev -name id_ed25519 2>/dev/null; true"
        )
    finally:
        secret.unlink()
    assert said == ""


@pytest.mark.parametrize(
    "path",
    ["/etc/shadow", "/etc/gshadow", "/root/.ssh", "/root/.bashrc", "/var/lib/containers"],
)
def test_the_hosts_state_is_invisible(inside_host, path):
    """The host tier shows programs, never password hashes, homes or other state."""
    if not os.path.exists(path):
        path = "/etc/shadow"
    said = inside_host.says(f"cat {path} 2>/dev/null; ls -A {path} 2>/dev/null; true")
    assert said == ""


def test_aileron_keeps_its_own_state_to_itself(inside):
    """Neither the daemon's state nor its sockets are in the sandbox's files."""
    env = inside.aileron.env
    said = inside.says(f"ls -A {env.state} {env.runtime} {env.root}/config 2>/dev/null; true")
    assert said == ""


def test_nothing_is_kept_of_the_environment(inside_tiny, canary):
    """A value of the host's is in no log, audit line, record, argument or container's config.

    One that is passed by ``--env`` is in the container's own config, and nowhere else.
    """
    aileron, passed = inside_tiny.aileron, canary + "-passed"
    name = f"keeps-{secrets.token_hex(4)}"
    aileron.ok(
        "launch", "--image", inside_tiny.image, "--detach", "--name", name, "--env", "PASSED",
        "--", "sh", "-c", "echo up; sleep 300",
        cwd=inside_tiny.workspace, env={"CANARY": canary, "PASSED": passed},
    )  # fmt: skip
    try:
        wait_until("it is up", lambda: "up" in aileron("sessions", "logs", name).stdout)
        shown = aileron.ok("sessions", "show", name) + aileron.ok("audit", "list")
        assert canary not in shown
        assert holds(aileron.env.state, canary) == []
        assert _in_arguments(canary) == []
        assert canary not in _inspected(aileron.env.state).replace(passed, "")
    finally:
        aileron("sessions", "stop", name)


def _in_arguments(canary: str) -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if canary.encode() in entry.read_bytes():
                found.append(str(entry))
        except OSError:
            continue
    return found


def _inspected(state: Path) -> str:
    listed = podman("ps", "-aq", "--filter", f"label=io.aileron.owner={state}").stdout.split()
    assert listed, "the session has a container"
    return podman("inspect", *listed).stdout


def test_the_token_is_the_agents_alone(inside):
    """``/run/aileron/token`` is 0400 and the agent's; the rest of ``/run/aileron`` is read-only."""
    said = inside.says(
        "stat -c '%a %u' /run/aileron/token; id -u; "
        "echo x 2>/dev/null > /run/aileron/token || echo refused; "
        "echo x 2>/dev/null > /run/aileron/new || echo refused"
    ).split()
    assert said == ["400", said[2], said[2], "refused", "refused"]


def test_the_token_is_in_no_log_and_no_record(inside_tiny):
    """The session's token is nowhere in the daemon's state, audit or the container's config."""
    aileron = inside_tiny.aileron
    inside_tiny.says("cat /run/aileron/token > kept")  # not printed: a session's output is logged
    token = (inside_tiny.workspace / "kept").read_text()
    assert len(token) >= 32
    shown = aileron.ok("sessions", "list", "--all") + aileron.ok("audit", "list")
    assert token not in shown
    assert holds(aileron.env.state, token) == []
