"""Fixtures for all tests: the real command line in its own directories, images, no skip in CI."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Iterator
from typing import Any

import pytest
import real_aileron
from real_aileron import Aileron, AileronEnv, Leftovers

KERNEL = "kernel: "
"""Start of the only reason for a skip that CI accepts: the fixture `kernel_cannot` writes it."""


def pytest_configure() -> None:
    """Let Ctrl-C end what tests start, also where the suite runs in a script's background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def aileron() -> Iterator[Aileron]:
    """The real command line with a daemon of its own; nothing may be left when the test ends."""
    with real_aileron.running() as runner:
        yield runner


@pytest.fixture
def aileron_env(aileron: Aileron) -> AileronEnv:
    """Directories and environment of this test's `aileron`."""
    return aileron.env


@pytest.fixture(scope="module")
def shared_aileron() -> Iterator[Aileron]:
    """One daemon for a whole module, for tests that only launch; nothing may be left at its end."""
    with real_aileron.running() as runner:
        yield runner


@pytest.fixture
def leftovers(aileron: Aileron) -> Any:
    """Call it: what sessions of this test's `aileron` left while its daemon may still run."""

    def now() -> Leftovers:
        return real_aileron.look(aileron.env, daemon=True)

    return now


@pytest.fixture(scope="session")
def tiny_image() -> str:
    """Reference of an image with nothing but busybox in it (labelled ``io.aileron.test=1``)."""
    import tiny_image as builder

    return builder.tiny_image()


@pytest.fixture(scope="session")
def base_image() -> str:
    """What ``launch --image`` gets for the base tier; built now when ``make setup`` did not."""
    with real_aileron.running() as runner:
        runner.ok("sandbox", "build", "--image", "base", timeout=900)
    return "base"


@pytest.fixture
def kernel_cannot() -> Any:
    """Call it with what this kernel lacks, after *trying* it: skips, in CI too."""

    def skip(what: str) -> None:
        pytest.skip(KERNEL + what)

    return skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Quick tests first: rules, core, the plugins' own; then what needs real containers."""
    order = ("tests/rules/", "tests/core/")

    def place(item: pytest.Item) -> tuple[bool, int]:
        folder = next((i for i, f in enumerate(order) if item.nodeid.startswith(f)), len(order))
        return item.get_closest_marker("container") is not None, folder

    items.sort(key=place)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a test that was skipped has failed, unless the kernel was tried and cannot do it."""
    report = yield
    if os.environ.get("CI") == "true" and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not reason.removeprefix("Skipped: ").startswith(KERNEL):
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid} was skipped in CI: {reason}"
    return report
