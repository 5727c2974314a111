"""The program's last moment."""

from __future__ import annotations

import os
import subprocess
import sys


def test_what_does_not_arrive_is_no_success() -> None:
    """Output that is held until the end and then finds no room makes the exit status 1."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "aileron_core", "--version"],
            stdout=full,
            stderr=subprocess.PIPE,
            env=environ,
        )
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_reader_that_is_gone_is_no_failure() -> None:
    """Nobody is told that the other end of a pipe has closed early."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as pipe:
        done = subprocess.run(
            [sys.executable, "-m", "aileron_core", "--version"],
            stdout=pipe,
            stderr=subprocess.PIPE,
            env=environ,
        )
    assert (done.returncode, done.stderr) == (0, b"")
