"""How long the command line takes to answer: `--version`, `--help`, a mode's help.

    .venv/bin/python benchmarks/startup/run.py [--rounds 25] [--json FILE]

Interleaved with a bare interpreter, because a shared machine drifts by a factor of two. The targets
are those of docs/performance.md; the exit status says whether the medians meet them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

AILERON = str(Path(sys.executable).with_name("aileron"))
COMMANDS: Mapping[str, tuple[Sequence[str], float | None]] = {
    "python -c pass": ([sys.executable, "-c", "pass"], None),
    "aileron --version": ([AILERON, "--version"], 30),
    "aileron --help": ([AILERON, "--help"], 150),
    "aileron --help, nothing remembered": ([AILERON, "--quiet", "--help"], None),
    "aileron config path": ([AILERON, "config", "path"], None),
    "aileron launch --help": ([AILERON, "launch", "--help"], None),
}
"""What is run, and the milliseconds that it may take."""


def milliseconds(command: Sequence[str], env: Mapping[str, str]) -> float:
    """How long a command takes; it must succeed."""
    began = time.perf_counter()
    subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - began) * 1000


def measure(rounds: int) -> dict[str, list[float]]:
    """Every command once a round, after one that does not count."""
    taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as home:
        plain = {k: v for k, v in os.environ.items() if not k.startswith(("AILERON_", "XDG_"))}
        env = {**plain, "HOME": home}
        for number in range(rounds + 1):
            for name, (command, _) in COMMANDS.items():
                spent = milliseconds(command, env)
                if number:
                    taken[name].append(spent)
    return taken


def main() -> int:
    """Print the table; 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    taken = measure(chosen.rounds)
    missed = 0
    print(f"{'':36} {'median':>8} {'least':>8} {'target':>8}  ms")
    for name, (_, target) in COMMANDS.items():
        middle = median(taken[name])
        missed += target is not None and middle > target
        shown = "" if target is None else f"{target:8.0f}"
        print(f"{name:36} {middle:8.1f} {min(taken[name]):8.1f} {shown}")
    if chosen.json:
        chosen.json.write_text(json.dumps(taken))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
