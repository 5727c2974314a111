"""The shared fixtures themselves."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

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


SKIPPING = """
import pytest

def test_without_a_reason():
    pytest.skip("no container today")

def test_because_of_the_kernel(kernel_cannot):
    kernel_cannot("has no vsock")

@pytest.mark.xfail(strict=True)
def test_known_to_fail():
    assert False
"""


def run_pytest(tmp_path, ci):
    """The closing line of a run of `SKIPPING` under this folder's conftest."""
    (tmp_path / "test_skipping.py").write_text(SKIPPING)
    path = f"{TESTS}:{TESTS / 'support'}"
    environment = {**os.environ, "CI": ci, "PYTHONPATH": path}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "conftest", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "--rootdir", tmp_path, tmp_path], capture_output=True, text=True, env=environment
    )
    return done.stdout.strip().splitlines()[-1]


def test_a_skip_in_ci_is_a_failure(tmp_path):
    """Unless the kernel was tried and cannot do it; an expected failure stays one."""
    assert run_pytest(tmp_path, "true").startswith("1 failed, 1 skipped, 1 xfailed")


def test_a_skip_elsewhere_is_a_skip(tmp_path):
    """A person without Podman still gets an answer."""
    assert run_pytest(tmp_path, "").startswith("2 skipped, 1 xfailed")
