"""The shared fixtures themselves."""

import subprocess

import pytest

RUN = ("podman", "run", "--rm", "--network=none", "--label=io.aileron.test=1")
RUN += ("--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024")


@pytest.mark.container
def test_the_tiny_image_runs_a_shell(tiny_image):
    """It is there without a registry, and its shell runs."""
    done = subprocess.run(
        [*RUN, tiny_image, "sh", "-c", "echo hello | wc -c"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "6"), done.stderr
