"""One launch of `true` beside plain Podman's: interleaved, medians, ratios. `make bench`.

Interleaved, because a shared machine drifts by a factor of two: only ratios inside one run mean
anything. The daemon is warm and the image is present, for all of them.

    .venv/bin/python benchmarks/launch/run.py [--rounds 21] [--image REF] [--json FILE] [--write]

``--write`` puts the table into docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

import real_aileron  # noqa: E402 - found by the line above
import tiny_image  # noqa: E402

TARGET = 1.3
"""Of `podman run --rm --network=none`: the most that a launch may take."""
PAGE = ROOT / "docs" / "performance.md"
START, END = "<!-- launch: start -->", "<!-- launch: end -->"
NONE = "podman run --rm --network=none"


def milliseconds(command: Sequence[str], **more: object) -> float:
    """How long a command takes; it must succeed."""
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, **more)
    took = (time.perf_counter() - began) * 1000
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\nexited {done.returncode}: {done.stderr.decode()}")
    return took


def podman_run(image: str, *options: str) -> list[str]:
    """Plain Podman, with the limits that it needs where its defaults fail."""
    plain = ["podman", "run", "--rm", *options, image, "true"]
    if subprocess.run(plain, capture_output=True).returncode == 0:
        return plain
    limits = ["--ulimit=nofile=4096:4096", "--ulimit=nproc=4096:4096"]
    return ["podman", "run", "--rm", *limits, *options, image, "true"]


def contenders(aileron: real_aileron.Aileron, image: str) -> dict[str, list[str]]:
    """What is compared; a default network that this machine cannot give is left out."""
    found = {
        "aileron launch": aileron.argv("--quiet", "launch", "--image", image, "--", "true"),
        NONE: podman_run(image, "--network=none"),
    }
    default = podman_run(image)
    if subprocess.run(default, capture_output=True).returncode == 0:
        found["podman run --rm"] = default
    return found


def measure(
    commands: dict[str, list[str]], aileron: real_aileron.Aileron, rounds: int
) -> dict[str, list[float]]:
    """Rounds of one run each, in turn; the first round warms up and does not count."""
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            where = {"env": aileron.env.variables, "cwd": aileron.env.workspace}
            took = milliseconds(command, **(where if name == "aileron launch" else {}))
            if number:
                taken[name].append(took)
    return taken


def resident(pid: int) -> float:
    """Megabytes that a process has in memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def results(rounds: int, image: str | None) -> dict[str, object]:
    """Everything that is measured, as data."""
    with real_aileron.running() as aileron:
        aileron.ok("daemon", "start")
        idle = resident(aileron.json("daemon", "status")["pid"])
        taken = measure(contenders(aileron, image or tiny_image.tiny_image()), aileron, rounds)
        used = resident(aileron.json("daemon", "status")["pid"])
    base = median(taken[NONE])
    rows = {
        name: {"median_ms": round(median(t), 1), "min_ms": round(min(t), 1),
               "ratio": round(median(t) / base, 2)}
        for name, t in taken.items()
    }  # fmt: skip
    machine = (
        f"{os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}"
    )
    return {"machine": machine, "rounds": rounds, "launch": rows,
            "daemon_idle_mb": round(idle, 1), "daemon_after_mb": round(used, 1)}  # fmt: skip


def table(found: dict[str, object]) -> str:
    """The results for people, as Markdown."""
    rows: dict[str, dict[str, float]] = found["launch"]  # type: ignore[assignment]
    lines = ["| command, `true` in one image | median ms (min) | ratio |", "|---|---|---|"]
    lines += [
        f"| `{name}` | {row['median_ms']} ({row['min_ms']}) | {row['ratio']} |"
        for name, row in rows.items()
    ]
    held = "met" if rows["aileron launch"]["ratio"] <= TARGET else "NOT met"
    lines += [
        "",
        f"Target: a ratio of at most {TARGET} to `{NONE}`: **{held}**.",
        f"Rounds: {found['rounds']}, interleaved. Resident memory of the daemon:",
        f"{found['daemon_idle_mb']} MB idle, {found['daemon_after_mb']} MB after them.",
        f"Machine: {found['machine']}.",
    ]
    return "\n".join(lines)


def write_page(text: str) -> None:
    """Put the table between the page's marks."""
    page = PAGE.read_text()
    before, rest = page.split(START)
    PAGE.write_text(f"{before}{START}\n{text}\n{END}{rest.split(END)[1]}")


def main() -> int:
    """Measure and print; exit status 1 when the target is not met."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=21)
    options.add_argument("--image", help="default: a test image of one static program")
    options.add_argument("--json", type=Path, help="write the numbers to this file")
    options.add_argument("--write", action="store_true", help="put the table into the docs")
    asked = options.parse_args()
    found = results(asked.rounds, asked.image)
    print(table(found))
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=2) + "\n")
    if asked.write:
        write_page(table(found))
    return 0 if found["launch"]["aileron launch"]["ratio"] <= TARGET else 1  # type: ignore[index]


if __name__ == "__main__":
    sys.exit(main())
