"""The core's own plugin: the modes that exist without any other, by the hooks strangers use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from attrs import frozen

from aileron_core.hookspecs import hookimpl
from aileron_core.records import Check, Mode

if TYPE_CHECKING:
    import click


@frozen
class _Command:
    """Imports a module when called and gives its ``command``."""

    module: str

    def __call__(self) -> click.Command:
        command: click.Command = importlib.import_module(self.module).command
        return command


_MODES = {
    "audit": ("aileron_core.cli.modes.audit", "the record of what happened and was decided"),
    "completion": ("aileron_core.cli.modes.completion", "completion for bash, zsh or fish"),
    "config": ("aileron_core.cli.modes.config", "every setting, and where it comes from"),
    "daemon": ("aileron_core.cli.modes.daemon", "start, stop and watch the authority"),
    "doctor": ("aileron_core.doctor.cli", "try every protection on this machine"),
    "plugins": ("aileron_core.cli.modes.plugins", "which plugins exist, on or off, and why"),
}


@hookimpl
def aileron_modes() -> list[Mode]:
    """The core's modes."""
    return [Mode(name, summary, _Command(module)) for name, (module, summary) in _MODES.items()]


@hookimpl
def aileron_checks() -> list[Check]:
    """Everything that a sandbox promises without another plugin; imported when doctor runs."""
    from aileron_core.doctor.checks import CHECKS

    return list(CHECKS)
