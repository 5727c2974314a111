"""The edge of the command line: runs a command, turns every way to end into an exit status."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click

from aileron_core.cli.app import App
from aileron_core.cli.modes_group import aileron
from aileron_core.errors import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    INTERNAL,
    INTERRUPTED,
    AileronError,
    ErrorCode,
)

USAGE = ErrorCode("usage", EXIT_USAGE, "The command line is not understood.")
ABORTED = ErrorCode("aborted", EXIT_FAILED, "A question was not answered.")

_COMPLETE = "_AILERON_COMPLETE"
_EXIT_PIPE = 128 + signal.SIGPIPE


def run(arguments: Sequence[str], app: App | None = None) -> int:
    """Run ``aileron ARGUMENTS``; returns the exit status and raises nothing.

    Args:
        arguments: without the program's name.
        app: where to look and write; by default the process's own environment and streams.
    """
    made = App() if app is None else app
    return guard(made, arguments, lambda: _invoke(arguments, made))


def guard(app: App, arguments: Sequence[str], body: Callable[[], int]) -> int:
    """The status of ``body``, or that of the error it ends with, which is shown."""
    try:
        return body()
    except click.exceptions.NoArgsIsHelpError as error:
        app.out.say(error.format_message())
        return EXIT_USAGE
    except click.UsageError as error:
        _json_after_all(app, arguments)
        return _show(app, _usage(error))
    except BrokenPipeError:
        _silence()
        return _EXIT_PIPE
    except BaseException as error:  # noqa: BLE001 - the edge: everything ends as a status
        _json_after_all(app, arguments)
        return _end(app, error)


def _invoke(arguments: Sequence[str], app: App) -> int:
    """Not click's own ``main``: it hides a closed pipe and Ctrl-C behind statuses of its own."""
    instruction = os.environ.get(_COMPLETE)
    if instruction:
        from click.shell_completion import shell_complete

        return shell_complete(aileron, {"obj": app}, "aileron", _COMPLETE, instruction)
    try:
        with aileron.make_context("aileron", list(arguments), obj=app) as context:
            status = aileron.invoke(context)
    except click.exceptions.Exit as end:
        status = end.exit_code
    app.out.flush()
    return status if isinstance(status, int) else 0


def _end(app: App, error: BaseException) -> int:
    """Show what an exception (or a group of them) comes to."""
    found = list(_leaves(error))
    for leaf in found:
        if isinstance(leaf, SystemExit):
            return _exit_status(leaf)
    known = [leaf for leaf in found if isinstance(leaf, AileronError)]
    if known:
        return _show(app, known[0])
    if any(_is_interrupt(leaf) for leaf in found):
        return _interrupted(app)
    if isinstance(error, (click.Abort, EOFError)):
        return _show(app, ABORTED("ended without an answer"))
    if isinstance(error, click.ClickException):
        return _show(app, USAGE(error.format_message()))
    return _show(app, _internal(app, error))


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """The exceptions inside a group, however deep."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _is_interrupt(error: BaseException) -> bool:
    """Ctrl-C; at a prompt click makes it an Abort and hides the cause."""
    return isinstance(error, KeyboardInterrupt) or (
        isinstance(error, click.Abort) and isinstance(error.__context__, KeyboardInterrupt)
    )


def _interrupted(app: App) -> int:
    """People know that they pressed Ctrl-C; programs are told."""
    if app.json:
        app.out.error(INTERRUPTED("interrupted"))
    return EXIT_INTERRUPTED


def _exit_status(error: SystemExit) -> int:
    if error.code is None or isinstance(error.code, int):
        return error.code or 0
    return EXIT_FAILED


def _usage(error: click.UsageError) -> AileronError:
    context = error.ctx
    hints = [f"see {context.command_path} --help"] if context is not None else []
    return USAGE(error.format_message().strip(), hints=hints)


def _internal(app: App, error: BaseException) -> AileronError:
    """A fault of ours. Its text may hold anything, so it is shown only when asked for."""
    if app.verbose:
        import traceback

        app.out.trace("".join(traceback.format_exception(error)))
    return INTERNAL(
        f"{type(error).__name__} in {_place(error)}",
        hints=["run it again with -v for the details", "report it; this should not happen"],
    )


def _place(error: BaseException) -> str:
    """Where it was raised: ``module.py:12``."""
    at, trace = "an unknown place", error.__traceback__
    while trace is not None:
        at = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return at


def _show(app: App, error: AileronError) -> int:
    """Write an error with what plugins have to say about it; returns its status."""
    hooks = app.loaded_hooks
    if hooks is not None:
        error.with_hints(hooks.error_hints(error))
    try:
        app.out.error(error)
    except BrokenPipeError:
        _silence()
    return error.exit_status


def _json_after_all(app: App, arguments: Sequence[str]) -> None:
    """``--json`` counts even where parsing stopped before it."""
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    if "--json" in own:
        app.out.json = True


def _silence() -> None:
    """Nobody reads any more: Python's last flush must not complain (docs of `signal`, SIGPIPE)."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (BrokenPipeError, ValueError):
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
