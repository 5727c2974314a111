"""`aileron launch` on a real pseudo-terminal."""

from __future__ import annotations

import signal

import pytest
from real_aileron import wait_until

LOOP = "echo ready; while :; do sleep 0.1; done"


def test_the_agent_has_a_terminal(shared_aileron, quiet, on_terminal):
    """Standard input, output and error are a terminal of the right size inside."""
    terminal = on_terminal(
        shared_aileron, *quiet, "--", "sh", "-c", "test -t 0 -a -t 1 -a -t 2 && stty size",
        rows=31, columns=97,
    )  # fmt: skip
    terminal.read_until(b"31 97")
    assert terminal.wait() == 0


def test_resizing(shared_aileron, quiet, on_terminal):
    """A change of the window's size arrives inside."""
    script = "trap 'stty size' WINCH; echo ready; while :; do sleep 0.1; done"
    terminal = on_terminal(shared_aileron, *quiet, "--", "sh", "-c", script)
    terminal.read_until(b"ready")
    terminal.resize(41, 111)
    terminal.read_until(b"41 111")
    terminal.type(b"\x03")
    assert terminal.wait() == 128 + signal.SIGINT


def test_ctrl_c_is_the_agents(shared_aileron, quiet, on_terminal):
    """Ctrl-C is a key: the agent's terminal makes a signal of it, inside."""
    script = "trap 'echo caught; exit 5' INT; " + LOOP
    terminal = on_terminal(shared_aileron, *quiet, "--", "sh", "-c", script)
    terminal.read_until(b"ready")
    terminal.type(b"\x03")
    terminal.read_until(b"caught")
    assert terminal.wait() == 5


def test_the_terminal_is_restored(shared_aileron, quiet, on_terminal):
    """Raw while the agent runs, as before afterwards."""
    import termios

    terminal = on_terminal(shared_aileron, *quiet, "--", "sh", "-c", "echo ready; read x")
    before = terminal.mode()
    terminal.read_until(b"ready")
    assert not terminal.mode()[3] & termios.ICANON
    terminal.type(b"\r")
    assert terminal.wait() == 0
    assert terminal.mode() == before


def test_typing_and_echo(shared_aileron, quiet, on_terminal):
    """An interactive shell works: what is typed is run."""
    terminal = on_terminal(shared_aileron, *quiet, "--", "sh")
    terminal.type(b"echo $((40 + 2)); exit 9\r")
    terminal.read_until(b"\n42\r\n")
    assert terminal.wait() == 9


def test_detach_and_attach(shared_aileron, quiet, on_terminal):
    """Ctrl-p ctrl-q leaves the session running; attach is its terminal again."""
    script = "echo ready; read x; echo got $x; exit 6"
    terminal = on_terminal(shared_aileron, *quiet, "--name", "left", "--", "sh", "-c", script)
    terminal.read_until(b"ready")
    terminal.type(b"\x10\x11")
    assert terminal.wait() == 0
    assert shared_aileron.json("sessions", "show", "left")["state"] == "running"
    again = on_terminal(shared_aileron, "sessions", "attach", "left")
    wait_until("attached", lambda: shared_aileron.json("sessions", "show", "left")["attached"] == 1)
    again.type(b"word\r")
    again.read_until(b"got word")
    assert again.wait() == 6


def test_a_closed_terminal_ends_the_session(shared_aileron, quiet, on_terminal, ended):
    """Closing the window ends the agent with SIGHUP, and everything goes."""
    terminal = on_terminal(shared_aileron, *quiet, "--name", "window", "--", "sh", "-c", LOOP)
    terminal.read_until(b"ready")
    terminal.hang_up()
    record = ended("window")
    assert (record["reason"], record["exit_status"]) == (
        "the terminal was closed",
        128 + signal.SIGHUP,
    )


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_to_launch_restores_the_terminal(shared_aileron, quiet, on_terminal, ended, name):
    """With a terminal a signal ends launch itself; the terminal is as before, the session ends."""
    session = f"sig-{name.lower()}"
    terminal = on_terminal(shared_aileron, *quiet, "--name", session, "--", "sh", "-c", LOOP)
    before = terminal.mode()
    terminal.read_until(b"ready")
    terminal.process.send_signal(signal.Signals[name])
    assert terminal.wait() == 128 + signal.Signals[name]
    assert terminal.mode() == before
    assert ended(session)["reason"] == "the terminal was closed"
