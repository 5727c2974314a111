"""``python -m aileron_core.daemon``: the daemon's process, started by `spawn.ensure_daemon`."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from contextlib import suppress

import structlog
import trio

from aileron_core.daemon.log import write_log_to
from aileron_core.daemon.main import run_daemon
from aileron_core.daemon.problems import error_body
from aileron_core.errors import EXIT_SOFTWARE, INTERNAL, AileronError
from aileron_core.paths import find_paths, make_private


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]


def _as_aileron_error(error: BaseException) -> AileronError:
    for leaf in _leaves(error):
        if isinstance(leaf, AileronError):
            return leaf
    return INTERNAL(f"the daemon failed: {error!r}", hints=["aileron daemon logs"])


class _Ready:
    """Tells whoever started the daemon how that went, once, over the pipe it gave.

    After a failure the pipe is closed by the end of the process only, so that nobody goes on while
    this process still holds something.
    """

    def __init__(self, fd: int | None) -> None:
        self._fd = fd

    def serves(self) -> None:
        """The daemon serves."""
        fd = self._say({})
        if fd is not None:
            os.close(fd)

    def failed(self, error: AileronError) -> None:
        """The daemon ends; what it says after it has served goes nowhere."""
        self._say(error_body(error))

    def _say(self, answer: object) -> int | None:
        fd, self._fd = self._fd, None
        if fd is not None:
            with suppress(BrokenPipeError):  # whoever started us may be gone
                os.write(fd, json.dumps(answer).encode())
        return fd


def main() -> int:
    """Run until told to stop; the exit status."""
    parser = argparse.ArgumentParser(prog="aileron-daemon")
    parser.add_argument("--ready-fd", type=int, default=None)
    ready = _Ready(parser.parse_args().ready_fd)
    log = structlog.get_logger("aileron.daemon")
    try:
        paths = find_paths()
        make_private(paths.state)
        write_log_to(paths.daemon_log)
        trio.run(run_daemon, paths, ready.serves)
    except BaseException as error:
        shown = _as_aileron_error(error)
        log.error("the daemon ends", error=str(shown), why=shown.why, exc_info=error)
        ready.failed(shown)
        return shown.exit_status or EXIT_SOFTWARE
    finally:
        logging.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
