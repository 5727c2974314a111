"""The entry point of ``aileron``: as little as possible before the version is printed."""

from __future__ import annotations

import atexit
import gc
import os
import sys

_OBJECTS = 100_000
"""New containers before the collector looks for cycles: more than a command makes to start."""


def main() -> int:
    """Run the command line; returns its exit status.

    ``--version`` alone is answered before anything is imported: it is what scripts and editors ask
    most often, and importing click takes longer than all of it.
    """
    if sys.argv[1:] == ["--version"]:
        from aileron_core import __version__

        sys.stdout.write(f"aileron {__version__}\n")
        return 0
    if sys.argv[1:] == ["--help"]:
        from aileron_core.cli.help_cache import recall

        text = recall()
        if text is not None:
            sys.stdout.write(text)
            return 0
    # Importing makes many objects and no garbage: a tenth of the time goes to looking for some. Not
    # switched off, since a terminal may stay attached for days.
    gc.set_threshold(_OBJECTS)
    try:
        from aileron_core.cli.main import run

        return run(sys.argv[1:])
    except KeyboardInterrupt:  # while importing
        return 130


def program() -> None:
    """The ``aileron`` program: run, then end at once.

    Taking every module apart before the process ends costs 15 ms that a person waits; what must
    happen at the end (atexit) happens, then the kernel takes the rest.
    """
    status = main()
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        pass  # whoever read it is gone
    except (OSError, ValueError):
        status = status or 1  # what was said has not arrived
    os._exit(status)


if __name__ == "__main__":
    program()
