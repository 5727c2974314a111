"""The mode ``doctor``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from aileron_core.errors import EXIT_FAILED, EXIT_USAGE, ErrorCode
from aileron_core.nearest import did_you_mean
from aileron_core.records import Check

if TYPE_CHECKING:
    from aileron_core.cli.app import App
    from aileron_core.doctor.run import Finding

CHECK_UNKNOWN = ErrorCode("check-unknown", EXIT_USAGE, "Doctor knows no check of that name.")

_SIGNS = {"holds": "✓", "does not hold": "✗", "cannot be tried": "?"}


@click.command(name="doctor")
@click.option(
    "--image", default="host", metavar="REF", help="What the probes run in: host or an image."
)
@click.option("--list", "only_list", is_flag=True, help="Say what would be tried; try nothing.")
@click.argument("checks", nargs=-1)
@click.pass_obj
def command(app: App, image: str, only_list: bool, checks: tuple[str, ...]) -> int:
    """Try each protection in a real sandbox and say what holds on this machine.

    Exits 0 when every one holds, 1 when one does not or cannot be tried. CHECKS names those to try;
    with none, all.
    """
    chosen = _choose(app.hooks.checks(), checks)
    if only_list:
        app.out.table(
            [{"id": c.name, "state": "known", "summary": c.summary} for c in chosen],
            ("id", "summary"),
        )
        return 0
    findings = _run(app, chosen, image)
    if app.json:
        app.out.data([finding.to_dict() for finding in findings])
    else:
        app.out.line(_summary(findings))
    return 0 if all(finding.holds for finding in findings) else EXIT_FAILED


def _choose(known: Sequence[Check], names: tuple[str, ...]) -> list[Check]:
    by_name = {check.name: check for check in known}
    for name in names:
        if name not in by_name:
            raise CHECK_UNKNOWN(
                f"there is no check {name!r}",
                hints=[did_you_mean(name, by_name, what="checks"), "aileron doctor --list"],
            )
    return [by_name[name] for name in names] if names else list(known)


def _run(app: App, checks: Sequence[Check], image: str) -> list[Finding]:
    import trio

    from aileron_core.doctor.probe import Probe
    from aileron_core.doctor.run import run_checks

    globals_: list[str] = ["--config", str(app.config_file)] if app.config_file else []
    globals_ += [word for name in app.disable for word in ("--disable", name)]
    probe = Probe(image, app.environ, app.paths.state, globals_)
    app.out.say(f"trying {len(checks)} protections in real sandboxes ({image})")

    async def main() -> list[Finding]:
        return await run_checks(checks, probe, lambda finding: app.out.line(_line(finding)))

    return trio.run(main)


def _line(finding: Finding) -> str:
    result = finding.result
    text = f"{_SIGNS[result.verdict]} {finding.check.name:<22} {result.verdict:<16} {result.detail}"
    return f"{text.rstrip()}\n    mend: {result.mend}" if result.mend else text.rstrip()


def _summary(findings: Sequence[Finding]) -> str:
    verdicts = [finding.result.verdict for finding in findings]
    return ", ".join(f"{verdicts.count(word)} {word}" for word in _SIGNS if word in verdicts)
