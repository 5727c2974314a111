"""The edge: every way to end is an exit status and a message with a mend."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from aileron_core import __version__
from aileron_core.cli.app import App
from aileron_core.errors import EXIT_INTERRUPTED, EXIT_USAGE, INTERNAL, ErrorCode
from aileron_core.hookspecs import hookimpl
from aileron_core.records import Hint, Mode
from aileron_core.testing import Runner, hooks_with

DENIED = ErrorCode("test-denied", 77, "In tests only.")


def raising(error: BaseException) -> Callable[[], None]:
    """A command's body."""

    def body() -> None:
        raise error

    return body


class Modes:
    """A plugin with one mode, ``try``."""

    def __init__(self, command: click.Command) -> None:
        self.command = command

    @hookimpl
    def aileron_modes(self) -> list[Mode]:
        """The mode."""
        return [Mode("try", "try it", lambda: self.command)]

    @hookimpl
    def aileron_error_hints(self, error: Any) -> list[Hint]:
        """More about one code."""
        return [Hint("ask nicely", "test-denied")]


@pytest.fixture
def trying(tmp_path: Path) -> Callable[..., Any]:
    """Runs ``aileron try`` with a body or a command."""

    def trying(body: Any, *arguments: str, before: tuple[str, ...] = ()) -> Any:
        command = body if isinstance(body, click.Command) else click.Command("try", callback=body)
        return Runner(tmp_path, hooks=hooks_with(Modes(command)))(*before, "try", *arguments)

    return trying


# --- how commands end ---------------------------------------------------------------------------


@pytest.mark.parametrize(("returned", "status"), [(None, 0), (0, 0), (3, 3), ("text", 0)])
def test_what_a_command_returns_is_its_status(trying: Any, returned: Any, status: int) -> None:
    """None is success; what is no number is not a status."""
    assert trying(lambda: returned).status == status


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (DENIED("no"), 77),
        (KeyboardInterrupt(), EXIT_INTERRUPTED),
        (SystemExit(5), 5),
        (SystemExit(None), 0),
        (SystemExit("text"), 1),
        (click.exceptions.Exit(4), 4),
        (click.Abort(), 1),
        (click.UsageError("what?"), EXIT_USAGE),
        (click.ClickException("no"), EXIT_USAGE),
        (ValueError("x"), INTERNAL.exit_status),
        (BaseExceptionGroup("g", [ValueError("x"), DENIED("no")]), 77),
        (BaseExceptionGroup("g", [BaseExceptionGroup("h", [KeyboardInterrupt()])]), 130),
        (ExceptionGroup("g", [ValueError("x")]), INTERNAL.exit_status),
    ],
    ids=repr,
)
def test_every_exception_has_a_status(trying: Any, error: BaseException, status: int) -> None:
    """Groups from trio's nurseries as well."""
    assert trying(raising(error)).status == status


def test_an_error_says_what_why_and_what_to_do(trying: Any) -> None:
    """A plugin's hints come after the error's own."""
    error = DENIED("it is denied", why="a rule says so", hints=["ask"])
    assert trying(raising(error)).stderr == (
        "aileron: it is denied. a rule says so.\n  ask\n  ask nicely [test-denied]\n"
    )


def test_an_error_is_an_object_with_json(trying: Any) -> None:
    """On stderr, whether the flag comes before the mode or after."""
    error = {"code": "test-denied", "message": "no", "why": "", "hints": ["ask nicely"]}
    assert trying(raising(DENIED("no")), "--json").error == error
    assert trying(raising(DENIED("no")), before=("--json",)).error == error


def test_a_usage_error_is_an_object_with_json_too(trying: Any) -> None:
    """Even where parsing stops before the flag."""
    result = trying(lambda: None, "--jsn", "--json")
    assert result.status == EXIT_USAGE
    assert result.error["code"] == "usage"
    assert result.error["hints"] == ["see aileron try --help"]


def test_a_fault_of_ours_shows_no_values(trying: Any) -> None:
    """The text of an exception may hold a secret; `-v` shows the traceback."""

    def body() -> None:
        raise ValueError("s3cret")

    quiet = trying(body)
    assert "s3cret" not in quiet.stderr
    assert "ValueError in test_main.py:" in quiet.stderr
    assert "s3cret" in trying(body, "-v").stderr


def test_ctrl_c_says_nothing_but_to_programs(trying: Any) -> None:
    """People know what they pressed."""
    assert trying(raising(KeyboardInterrupt())).stderr.strip() == ""
    assert trying(raising(KeyboardInterrupt()), "--json").error["code"] == "interrupted"


# --- global options -----------------------------------------------------------------------------


def test_global_options_stand_before_the_mode_or_after(trying: Any) -> None:
    """Nested commands have them too."""
    seen: list[tuple[Any, ...]] = []
    group = click.Group("try")

    @group.command()
    @click.pass_obj
    def inner(app: Any) -> None:
        """Look."""
        seen.append((app.json, app.quiet, app.verbose, app.disable))

    trying(group, "inner", "--json", "--quiet", "-vv")
    trying(group, "inner", before=("--json", "--quiet", "-vv"))
    trying(group, "inner", "--json", "-v", "--disable", "x", before=("--quiet", "-vv"))
    assert seen == [(True, True, 2, ())] * 2 + [(True, True, 2, ("x",))]


def test_a_commands_own_option_of_that_name_is_its_own(trying: Any) -> None:
    """`--config` of a mode may mean something else."""
    seen: list[Any] = []

    @click.command()
    @click.option("--config")
    def own(config: str) -> None:
        seen.append(config)

    trying(own, "--config", "x")
    assert seen == ["x"]


def test_what_follows_two_dashes_is_not_ours(trying: Any) -> None:
    """An agent's own flags reach it."""
    seen: list[Any] = []

    @click.command(context_settings={"allow_interspersed_args": False})
    @click.argument("words", nargs=-1, type=click.UNPROCESSED)
    @click.pass_obj
    def launch(app: Any, words: tuple[str, ...]) -> None:
        seen.append((app.json, words))

    trying(launch, "agent", "--json", "-v")
    trying(launch, "--", "--json")
    assert seen == [(False, ("agent", "--json", "-v")), (False, ("--json",))]


# --- modes --------------------------------------------------------------------------------------


def test_an_unknown_mode_is_an_error_with_the_nearest(aileron: Runner) -> None:
    """As for every other name."""
    result = aileron("plugin", "list", "--json")
    assert result.status == EXIT_USAGE
    assert result.error["code"] == "mode-unknown"
    assert result.error["hints"] == ["did you mean 'plugins'?"]


def test_no_mode_shows_the_help(aileron: Runner) -> None:
    """On stderr, with the status of a usage error."""
    result = aileron()
    assert result.status == EXIT_USAGE
    assert "Modes:" in result.stderr


def test_help_needs_no_configuration(aileron: Runner) -> None:
    """With a file that cannot be read, the core's modes and the error are shown."""
    aileron.write_config("[[[")
    result = aileron("--help")
    assert result.status == 0
    assert "config " in result.stdout
    assert "[config-syntax]" in result.stderr


def test_a_hostile_project_keeps_nobody_from_other_commands(aileron: Runner) -> None:
    """Its file counts only where it is asked for."""
    (aileron.root / ".aileron.toml").write_text("[[[")
    assert aileron("plugins", "list").status == 0
    assert aileron("config", "show", "--json").error["code"] == "config-syntax"


def test_a_mode_that_cannot_be_imported_is_named(tmp_path: Path) -> None:
    """Its plugin is there, its command is not."""

    class Plugin:
        @hookimpl
        def aileron_modes(self) -> list[Mode]:
            """A mode without a command."""

            def load() -> click.Command:
                raise ModuleNotFoundError("no module 'x'")

            return [Mode("hollow", "", load)]

    result = Runner(tmp_path, hooks=hooks_with(Plugin()))("hollow", "--json")
    assert result.error["code"] == "plugin-broken"


def test_version_is_also_an_object(aileron: Runner) -> None:
    """With `--json` before it."""
    assert aileron("--json", "--version").json == {"version": __version__}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed_for_each_shell(aileron: Runner, shell: str) -> None:
    """With a line that says where it goes."""
    result = aileron("completion", shell)
    assert result.status == 0
    assert result.stdout.startswith("# ")
    assert "_AILERON_COMPLETE" in result.stdout


# --- the real process ---------------------------------------------------------------------------


def process(runner: Runner, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run the real thing."""
    given = {"env": runner.environment, "cwd": runner.root, "timeout": 60, **more}
    return subprocess.run(
        [sys.executable, "-m", "aileron_core", *arguments],
        capture_output="stdout" not in given,
        text=True,
        check=False,
        **given,
    )


def test_the_version_is_printed_without_importing_click(aileron: Runner) -> None:
    """It is what editors and scripts ask most."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "aileron_core", "--version"],
        capture_output=True, text=True, check=True, env=aileron.environment,
    )  # fmt: skip
    assert done.stdout == f"aileron {__version__}\n"
    assert "click" not in done.stderr
    assert "attr" not in done.stderr


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("aileron pl", ["plugins"]),
        ("aileron plugins di", ["disable"]),
        ("aileron plugins disable co", ["connectors"]),
        ("aileron config show plugins", ["plugins.disable"]),
        ("aileron nothing x", []),
    ],
)
def test_the_shell_completes(aileron: Runner, words: str, completed: list[str]) -> None:
    """Modes, commands, names of plugins, keys; nothing, without a word, where nothing fits."""
    environ = {
        **aileron.environment,
        "_AILERON_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }
    done = process(aileron, env=environ)
    assert (done.stdout.split(), done.stderr) == ([f"plain,{name}" for name in completed], "")


def test_ctrl_c_at_a_prompt_is_ctrl_c(trying: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of input there is a question without an answer."""

    def ask(error: BaseException) -> Any:
        monkeypatch.setattr("builtins.input", lambda *_: raising(error)())
        monkeypatch.setattr("click.termui.visible_prompt_func", lambda *_: raising(error)())
        return trying(lambda: click.prompt("name")).status

    assert (ask(KeyboardInterrupt()), ask(EOFError())) == (EXIT_INTERRUPTED, 1)


def test_a_closed_pipe_is_no_error(aileron: Runner) -> None:
    """`aileron … | head -1` ends as a program that SIGPIPE ended, without a word."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = process(aileron, "completion", "bash", stdout=write, stderr=subprocess.PIPE)
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


def test_the_help_is_remembered_until_something_changes(aileron: Runner) -> None:
    """The second time click is not imported; a change of configuration is seen at once."""

    def help_text() -> tuple[str, bool]:
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "aileron_core", "--help"],
            capture_output=True, text=True, check=True, env=aileron.environment, cwd=aileron.root,
        )  # fmt: skip
        return done.stdout, "click" in done.stderr

    aileron.write_config("[plugins]\ndisable = ['launch']\n")
    first, imported = help_text()
    assert imported
    assert help_text() == (first, False)
    aileron.write_config("[plugins]\ndisable = ['launch', 'connectors']\n")
    assert help_text()[1]


def test_a_current_directory_that_was_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no path that exists, or that ``PWD`` claims: never what somebody put in its place."""
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    monkeypatch.setenv("PWD", str(tmp_path))
    (tmp_path / "gone").rmdir()
    assert not App().cwd.exists()
