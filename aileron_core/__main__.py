"""The entry point of ``aileron``: as little as possible before the version is printed."""

from __future__ import annotations

import sys


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
    try:
        from aileron_core.cli.main import run

        return run(sys.argv[1:])
    except KeyboardInterrupt:  # while importing
        return 130


if __name__ == "__main__":
    sys.exit(main())
