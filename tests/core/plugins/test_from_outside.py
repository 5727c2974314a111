"""A plugin from outside the tree: 9 lines of Python, 2 of TOML, one line to switch it off."""

from __future__ import annotations

import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from aileron_core.plugins import load_hooks
from aileron_core.plugins.scan import scan
from aileron_core.testing import Runner, session_for

Install = Callable[..., Path]

PYTHON = """\
import click
from aileron_core.backend import Mount
from aileron_core.hookspecs import hookimpl
from aileron_core.records import Contribution, Mode, Service

async def serve(*, task_status):
    import trio; task_status.started(); await trio.sleep_forever()

aileron_modes = hookimpl(lambda: [Mode("hello", "say hello", lambda: click.Command("hello", callback=lambda: click.echo("hello")))])
aileron_contributions = hookimpl(lambda session: Contribution(mounts=(Mount("/mnt/reference", source="/srv"),)))
aileron_services = hookimpl(lambda session: [Service("idle", serve)])
"""  # noqa: E501 - it shall be 9 lines
TOML = """\
[project.entry-points."aileron.plugins"]
hello = "hello_from_outside"
"""


@pytest.fixture
def site(install: Install) -> Path:
    """The directory where the distribution is installed."""
    points = tomllib.loads(TOML)["project"]["entry-points"]["aileron.plugins"]
    return install("hello-dist", points, hello_from_outside=PYTHON)


def lines(text: str) -> int:
    """Lines that say something."""
    return len([line for line in text.splitlines() if line.strip()])


async def test_nine_lines_add_a_mode_a_mount_and_a_service(site: Path) -> None:
    """What the plugin gives is what the core gets."""
    assert (lines(PYTHON), lines(TOML)) == (9, 2)
    points = [point for point in scan(None) if point.name == "hello"]
    hooks, session = load_hooks(entry_points=points), session_for()
    assert hooks.modes_of("hello") == ["hello"]
    assert [c.mounts[0].target for _, c in hooks.contributions(session)] == ["/mnt/reference"]
    (service,) = hooks.services(session)
    async with trio.open_nursery() as nursery:
        await nursery.start(service.serve)
        nursery.cancel_scope.cancel()


def aileron(runner: Runner, site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, with the distribution installed."""
    return subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "aileron_core", *arguments],
        env={**runner.environment, "PYTHONPATH": str(site)},
        cwd=runner.root,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_its_mode_is_there_until_it_is_switched_off(site: Path, tmp_path: Path) -> None:
    """Then its module is not imported, and asking for its mode names plugin, file and line."""
    runner = Runner(tmp_path)
    assert aileron(runner, site, "hello").stdout == "hello\n"
    assert "say hello" in aileron(runner, site, "--help").stdout

    aileron(runner, site, "plugins", "disable", "hello")
    off = aileron(runner, site, "hello")
    assert off.returncode == 2
    assert f"the plugin 'hello' is disabled in {runner.paths.user_config}:2" in off.stderr
    for command in (["--help"], ["hello"], ["plugins", "list"]):
        done = aileron(runner, site, *command)
        assert "hello_from_outside" not in done.stderr
        assert "say hello" not in done.stdout


def test_a_flag_switches_it_off_for_one_command(site: Path, tmp_path: Path) -> None:
    """`--disable` before the mode or after it."""
    off = aileron(Runner(tmp_path), site, "--disable", "hello", "hello")
    assert "disabled by --disable" in off.stderr
    assert "hello_from_outside" not in off.stderr


def test_ctrl_c_ends_a_command_with_130(install: Install, tmp_path: Path) -> None:
    """In a process of its own, while it waits inside trio; nothing is printed."""
    source = PYTHON.replace(
        'callback=lambda: click.echo("hello")',
        'callback=lambda: __import__("trio").run(hang)',
    ).replace(
        "async def serve",
        "async def hang():\n    import trio; click.echo('ready'); await trio.sleep_forever()\n\n"
        "async def serve",
    )
    site = install("hang-dist", {"hello": "hello_that_hangs"}, hello_that_hangs=source)
    with subprocess.Popen(
        [sys.executable, "-m", "aileron_core", "hello"],
        env={**Runner(tmp_path).environment, "PYTHONPATH": str(site)},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        running.send_signal(signal.SIGINT)
        _, stderr = running.communicate(timeout=30)
    assert (running.returncode, stderr) == (130, "")


def test_two_plugins_of_one_name_stop_every_command_but_the_cores_own(
    site: Path, install: Install, tmp_path: Path
) -> None:
    """Status 78 with both distributions; `config` and `plugins disable` still work."""
    other = install("rival-dist", {"hello": "hello_from_outside"})
    runner, both = Runner(tmp_path), Path(f"{site}:{other}")
    clash = aileron(runner, both, "hello", "--json")
    assert clash.returncode == 78
    assert "hello-dist" in clash.stderr
    assert "rival-dist" in clash.stderr
    assert aileron(runner, both, "config", "path").returncode == 0
    assert aileron(runner, both, "plugins", "disable", "hello").returncode == 0
    assert "[mode-disabled]" in aileron(runner, both, "hello").stderr
