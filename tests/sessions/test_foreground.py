"""`aileron launch` in pipes: output, input, statuses and signals as `podman run` has them."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest


@pytest.mark.parametrize("status", [0, 1, 7, 64, 125, 126, 127, 255])
def test_the_agents_status_is_ours(shared_aileron, quiet, status):
    """Whatever the agent exits with is what launch exits with."""
    done = shared_aileron(*quiet, "--", "sh", "-c", f"exit {status}")
    assert (done.returncode, done.stderr) == (status, "")


@pytest.mark.parametrize("name", ["TERM", "KILL", "HUP", "SEGV"])
def test_an_agent_ended_by_a_signal(shared_aileron, quiet, name):
    """128 + the signal's number, as a shell reports it."""
    done = shared_aileron(*quiet, "--", "sh", "-c", f"kill -{name} $$; sleep 5")
    assert done.returncode == 128 + signal.Signals[f"SIG{name}"], done.stderr


def test_channels_stay_apart(shared_aileron, quiet):
    """Standard output and standard error arrive on their own descriptors."""
    done = shared_aileron(*quiet, "--", "sh", "-c", "echo out; echo err >&2")
    assert (done.stdout, done.stderr) == ("out\n", "err\n")


def test_pipes_are_exact(shared_aileron, quiet):
    """`launch -- cat < file | cmp - file`: five megabytes of every byte, and the end arrives."""
    data = os.urandom(5_000_000)
    done = subprocess.run(
        shared_aileron.argv(*quiet, "--", "cat"),
        input=data,
        capture_output=True,
        env=shared_aileron.env.variables,
        cwd=shared_aileron.env.workspace,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == data


def test_half_close(shared_aileron, quiet):
    """The end of input is passed on while output goes on."""
    done = shared_aileron(*quiet, "--", "sh", "-c", "wc -c; echo after", input="12345")
    assert done.stdout.split() == ["5", "after"]


def test_no_input_at_all(shared_aileron, quiet):
    """With standard input closed the agent reads an end."""
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", *shared_aileron.argv(*quiet, "--", "cat")],
        capture_output=True,
        env=shared_aileron.env.variables,
        cwd=shared_aileron.env.workspace,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, b"")


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP", "QUIT", "USR1", "USR2"])
def test_signals_reach_the_agent(shared_aileron, quiet, name):
    """Without a terminal a signal to launch is a signal to the agent, which decides."""
    script = f"trap 'echo got {name}; exit 33' {name}; echo ready; while :; do sleep 0.1; done"
    process = shared_aileron.start(*quiet, "--", "sh", "-c", script, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.Signals[f"SIG{name}"])
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, output) == (33, f"got {name}\n".encode())


def test_a_signal_passes_while_input_waits(shared_aileron, quiet, tmp_path):
    """An agent that reads none of a large input can still be interrupted."""
    big = tmp_path / "big"
    big.write_bytes(b"x" * 4_000_000)
    script = "trap 'exit 34' TERM; echo ready; while :; do sleep 0.1; done"
    with big.open("rb") as stdin:
        process = shared_aileron.start(
            *quiet, "--", "sh", "-c", script, stdin=stdin, stdout=subprocess.PIPE
        )
        assert process.stdout.readline() == b"ready\n"
        process.terminate()
        assert process.wait(timeout=60) == 34


def test_a_reader_that_leaves(shared_aileron, quiet, ended):
    """`launch -- yes | head`: launch ends as by SIGPIPE, and the agent is ended too."""
    process = shared_aileron.start(*quiet, "--name", "yes-man", "--", "yes", stdout=subprocess.PIPE)
    assert process.stdout.read(4) == b"y\ny\n"
    process.stdout.close()
    assert process.wait(timeout=60) == 128 + signal.SIGPIPE
    assert ended("yes-man")["reason"] == "the terminal was closed"


def test_slow_readers_get_everything(shared_aileron, quiet):
    """Output waits for its reader, also when the agent has ended meanwhile."""
    process = shared_aileron.start(
        *quiet, "--", "sh", "-c", "yes | head -c 3000000", stdout=subprocess.PIPE
    )
    first = process.stdout.read(1000)
    shared_aileron("sessions", "list")  # something that takes a while
    assert len(first) + len(process.stdout.read()) == 3_000_000
    assert process.wait(timeout=60) == 0


def test_the_time_limit(shared_aileron, quiet):
    """--timeout ends the agent with 124."""
    done = shared_aileron(*quiet, "--timeout", "1s", "--", "sleep", "60")
    assert done.returncode == 124, done.stderr


def test_out_of_memory(shared_aileron, quiet, ended, kernel_cannot):
    """An agent that outgrows its memory is ended by the kernel, and the record says so."""
    script = "x=a; while :; do x=$x$x; done"
    done = shared_aileron(*quiet, "--memory", "32m", "--name", "hungry", "--", "sh", "-c", script)
    if "does not hold" in done.stderr:
        kernel_cannot("no memory limit here")
    assert done.returncode == 137
    assert "out of memory" in ended("hungry")["reason"]


def test_an_agent_that_is_not_there(shared_aileron, quiet):
    """An unknown program is an error before anything runs, with a mend and no traceback."""
    done = shared_aileron(*quiet, "--", "no-such-agent")
    assert done.returncode == 66, done.stderr
    assert "agent-not-found" in done.stderr


def test_everything_after_the_agent_is_the_agents(shared_aileron, quiet):
    """Options after the agent's name are not ours."""
    done = shared_aileron(*quiet, "--", "echo", "--name", "-v", "--json", "--", "x")
    assert done.stdout == "--name -v --json -- x\n"


def test_the_environment_is_the_contracts(shared_aileron, quiet):
    """Nothing of the host's environment but what was asked for."""
    done = shared_aileron(
        *quiet, "--env", "MINE=1", "--env", "PASSED", "--", "env",
        env={"PASSED": "2", "HOST_SECRET": "canary"},
    )  # fmt: skip
    given = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert (given["MINE"], given["PASSED"]) == ("1", "2")
    assert "HOST_SECRET" not in given
    assert given["PATH"].startswith("/run/aileron/bin:")
    assert {"AILERON_API_URL", "AILERON_TOKEN", "AILERON_SESSION_ID"} <= given.keys()
    assert given["SSL_CERT_FILE"] == "/run/aileron/ca-bundle.pem"


def test_the_start_is_told_on_stderr(shared_aileron, tiny_image):
    """Without --quiet the summary says that there is no network and what is protected."""
    done = shared_aileron("launch", "--image", tiny_image, "--", "true")
    assert "no network" in done.stderr
    assert "never writable" in done.stderr
    assert done.stdout == ""
