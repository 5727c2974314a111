"""The thin command line of `launch`: what it sends, what it refuses, how it is interrupted."""

from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aileron_core.cli.app import App
from aileron_core.client import Client
from aileron_core.errors import AileronError
from aileron_core.paths import find_paths
from aileron_core.testing import hooks_with
from aileron_launch.commands import launch
from aileron_launch.terminal import DetachKeys, Outcome, Sink, attach, fill_standard_descriptors


@pytest.fixture
def app(tmp_path):
    """An app in directories of its own, without a daemon."""
    environ = {
        "PATH": "/usr/bin",
        "HOME": str(tmp_path),
        "TERM": "xterm",
        "GIVEN": "value",
        "AILERON_LAUNCH_IMAGE": "x",
        "XDG_RUNTIME_DIR": str(tmp_path / "r"),
    }
    made = App(paths=find_paths(environ), environ=environ, cwd=tmp_path)
    made.__dict__["hooks"] = hooks_with()
    return made


def request_of(app, *arguments):
    """The request that a command line makes."""
    found = []

    def keep(ctx):
        args, options = ctx.params.pop("args"), ctx.params
        found.append(launch.make_request(app, args, options))

    context = launch.command.make_context("launch", list(arguments), obj=app)
    keep(context)
    return found[0]


def test_a_bare_launch(app):
    """No agent: a shell; the workspace is where the person is."""
    request = request_of(app)
    assert (request["agent"], request["args"], request["flags"]) == (None, [], {})
    assert request["cwd"] == str(app.cwd)
    assert (request["uid"], request["gid"]) == (os.getuid(), os.getgid())
    assert json.loads(json.dumps(request)) == request


@pytest.mark.parametrize(
    ("arguments", "agent", "args"),
    [
        (["claude"], "claude", []),
        (["claude", "--resume", "-v"], "claude", ["--resume", "-v"]),
        (["--", "cat"], "cat", []),
        (["sh", "-c", "exit 3"], "sh", ["-c", "exit 3"]),
        (["--", "--odd"], "--odd", []),
        (["git", "--", "x"], "git", ["--", "x"]),
        (["--name", "n", "claude", "--name", "m"], "claude", ["--name", "m"]),
    ],
)
def test_what_is_the_agents(app, arguments, agent, args):
    """Everything after the agent is the agent's, whatever it looks like."""
    request = request_of(app, *arguments)
    assert (request["agent"], request["args"]) == (agent, args)


def test_options_are_settings(app):
    """Options become the highest layer of configuration, by dotted names."""
    request = request_of(
        app, "--image", "i:1", "--memory", "2g", "--cpus", "1.5", "--pids", "10",
        "--timeout", "5m", "--workspace", "ro", "--build", "never", "--policy", "locked",
        "--sandbox", "other", "claude",
    )  # fmt: skip
    assert request["flags"] == {
        "launch.image": "i:1", "launch.memory": "2g", "launch.cpus": 1.5, "launch.pids": 10,
        "launch.timeout": "5m", "launch.workspace": "ro", "launch.build": "never",
        "policy.use": "locked", "launch.backend": "other",
    }  # fmt: skip


def test_variables(app):
    """NAME=VALUE is sent as given, NAME is looked up here, AILERON_… goes along, nothing else."""
    request = request_of(app, "--env", "A=b=c", "--env", "GIVEN", "--env", "ABSENT", "x")
    assert request["env"] == {"A": "b=c"}
    assert request["environment"] == {"AILERON_LAUNCH_IMAGE": "x", "GIVEN": "value"}


@pytest.mark.parametrize("word", ["off", "host"])
def test_no_sandbox_is_refused(app, word):
    """Running without a sandbox is not what this version does, and it says so."""
    with pytest.raises(AileronError) as caught:
        request_of(app, "--sandbox", word, "claude")
    assert (caught.value.code, caught.value.exit_status) == ("option-unusable", 2)


@pytest.mark.parametrize("name", ["proxy", "shell-intercept"])
def test_enforcing_plugins(app, name):
    """off waives the plugin for this launch; on is refused where it is not there."""
    assert name in request_of(app, f"--{name}", "off", "x")["waive"]
    assert name not in request_of(app, "x")["waive"]
    with pytest.raises(AileronError) as caught:
        request_of(app, f"--{name}", "on", "x")
    assert caught.value.code == "option-unusable"


@pytest.mark.parametrize("arguments", [["--build", "maybe"], ["--cpus", "many"], ["--nonsense"]])
def test_wrong_options_are_usage_errors(app, arguments):
    """click says which."""
    with pytest.raises(click.UsageError):
        request_of(app, *arguments, "claude")


# --- being interrupted ----------------------------------------------------------------------------


class Scripted(Client):
    """A client whose calls are noted and answered by a script."""

    def __init__(self, answers):
        self.answers = answers
        self.calls = []

    def stream(self, method, path, body=None, *, timeout=None):
        """Give the scripted answers; an exception is raised."""
        for answer in self.answers:
            if isinstance(answer, BaseException):
                raise answer
            if callable(answer):
                answer()
                continue
            yield answer

    def request(self, method, path, body=None, *, timeout=60.0):
        """Note a call."""
        self.calls.append((method, path))


def make(app, monkeypatch, answers):
    """Have the scripted daemon make a session."""
    client = Scripted(answers)
    monkeypatch.setattr(app, "client", lambda: client, raising=False)
    monkeypatch.setattr(launch, "Client", lambda *args, **more: client)
    return client, lambda: launch.make_session(app, {"cwd": "/"})


def test_making_a_session(app, monkeypatch):
    """The last line is the session."""
    _, do = make(app, monkeypatch, [{"id": "s_1"}, {"progress": "x"}, {"session": {"id": "s_1"}}])
    assert do() == {"id": "s_1"}


def test_a_daemon_that_ends_meanwhile(app, monkeypatch):
    """A stream without an answer is a lost daemon."""
    _, do = make(app, monkeypatch, [{"id": "s_1"}])
    with pytest.raises(AileronError) as caught:
        do()
    assert caught.value.exit_status == 69


def test_the_first_ctrl_c_asks_the_daemon(app, monkeypatch):
    """It stops the session through another call, and the launch ends as interrupted."""
    from aileron_core.sessions.outcome import SESSION_ABORTED

    def press():
        signal.raise_signal(signal.SIGINT)

    client, do = make(
        app, monkeypatch, [{"id": "s_1"}, {"progress": "x"}, press, SESSION_ABORTED("x")]
    )
    with pytest.raises(KeyboardInterrupt):
        do()
    assert client.calls == [("POST", "/v1/sessions/s_1/stop")]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_leaves(app, monkeypatch):
    """It does not wait for anything."""

    def press_twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    _, do = make(app, monkeypatch, [{"id": "s_1"}, {"progress": "x"}, press_twice])
    with pytest.raises(KeyboardInterrupt):
        do()


# --- the terminal's parts -------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=5), max_size=10))
def test_keys_pass_unless_they_detach(pieces):
    """However typing is cut into pieces: all passes, but ctrl-p ctrl-q detaches."""
    typed = b"".join(pieces)
    keys, passed, is_detached = DetachKeys(), b"", False
    for piece in pieces:
        if not is_detached:
            more, is_detached = keys.feed(piece)
            passed += more
    assert is_detached == (b"\x10\x11" in typed)
    held = b"\x10" if typed.endswith(b"\x10") and not is_detached else b""
    expected = typed.partition(b"\x10\x11")[0] if is_detached else typed
    assert passed + held == expected


def test_held_keys_come_when_another_follows():
    """Ctrl-p alone is the agent's, as soon as it is clear that it was alone."""
    keys = DetachKeys()
    assert keys.feed(b"\x10") == (b"", False)
    assert keys.feed(b"x") == (b"\x10x", False)
    assert keys.feed(b"\x10\x10") == (b"\x10", False)
    assert keys.feed(b"\x11") == (b"", True)


def test_a_sink_whose_reader_left():
    """It is broken, and holds nothing."""
    reader, writer = os.pipe()
    os.close(reader)
    sink = Sink(writer)
    sink.add(b"x")
    sink.flush()
    assert (sink.is_broken, sink.size) == (True, 0)
    sink.add(b"y")
    assert sink.size == 0
    os.close(writer)


def test_standard_descriptors_are_there(tmp_path):
    """After filling, 0 to 2 are open whatever was closed before."""
    fill_standard_descriptors()
    for fd in (0, 1, 2):
        os.fstat(fd)


def test_attaching_without_a_daemon(tmp_path):
    """69, and what to do."""
    with pytest.raises(AileronError) as caught:
        attach(tmp_path / "no.sock", {}, notice=print, has_terminal=False, has_stdin=False)
    assert (caught.value.code, caught.value.exit_status) == ("daemon-absent", 69)


def test_a_console_that_closes(tmp_path):
    """A daemon that dies while the session runs: 69, and signals are as before."""
    path = Path(tmp_path / "c.sock")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    listener.settimeout(10)
    before = signal.getsignal(signal.SIGTERM)
    pid = os.fork()
    if pid == 0:
        connection, _ = listener.accept()
        connection.recv(1000)
        os._exit(0)
    listener.close()
    with pytest.raises(AileronError) as caught:
        attach(path, {"mode": "run"}, notice=print, has_terminal=False, has_stdin=False)
    os.waitpid(pid, 0)
    assert (caught.value.code, caught.value.exit_status) == ("daemon-lost", 69)
    assert signal.getsignal(signal.SIGTERM) is before


def test_outcomes_are_data():
    """An outcome says how it ended and whether the person left."""
    assert Outcome(3) == Outcome(3, "", False)
