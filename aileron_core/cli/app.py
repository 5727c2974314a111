"""`App`: what every command gets as click's ``ctx.obj``.

A command takes it with ``@click.pass_obj``, returns its exit status (None is 0) and raises
`AileronError`; the edge (`aileron_core.cli.main`) shows errors.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, evolve, field

from aileron_core.cli.output import Output
from aileron_core.errors import AileronError
from aileron_core.paths import Paths, find_paths

if TYPE_CHECKING:
    from aileron_core.client import Client
    from aileron_core.config import Config, Sources
    from aileron_core.plugins.facade import Hooks
    from aileron_core.plugins.facts import PluginFact


def _current_directory() -> Path:
    """Where the person is; where that was removed, a path that nobody can make.

    The shell's ``PWD`` is not believed: an agent may have put something else in its place.
    """
    try:
        return Path.cwd()
    except FileNotFoundError:
        return Path("/proc/the-current-directory-was-removed")


@define(eq=False, slots=False)
class App:
    """The command line's state: where things are, what was asked globally, what is loaded."""

    paths: Paths = field(factory=find_paths)
    out: Output = field(factory=Output)
    config_file: Path | None = None
    """``--config FILE``, absolute."""
    disable: tuple[str, ...] = ()
    """``--disable NAME``, as typed."""
    environ: Mapping[str, str] = field(factory=lambda: dict(os.environ), repr=False)
    cwd: Path = field(factory=_current_directory)
    """Where the person is: the project's directory."""

    @property
    def json(self) -> bool:
        """``--json``."""
        return self.out.json

    @property
    def quiet(self) -> bool:
        """``--quiet``."""
        return self.out.quiet

    @property
    def verbose(self) -> int:
        """How often ``-v`` was given."""
        return self.out.verbose

    @cached_property
    def hooks(self) -> Hooks:
        """All plugins but those that are switched off by configuration or ``--disable``."""
        from aileron_core.plugins import load_hooks

        return load_hooks(self.disabled, cache=self.paths.cache)

    @property
    def disabled(self) -> dict[str, str]:
        """Plugins that are switched off, with where.

        A project's file that cannot be read must not keep people from commands that have nothing
        to do with it (`approvals`, `sessions stop`): here it then counts for nothing.
        """
        try:
            configured = self.sources.disabled()
        except AileronError:
            configured = self._read_sources(None).disabled()
        return {**configured, **dict.fromkeys(self.disable, "by --disable")}

    @cached_property
    def sources(self) -> Sources:
        """What configuration is made of, as it was when first asked for."""
        return self._read_sources(self.cwd)

    def _read_sources(self, project: Path | None) -> Sources:
        from aileron_core.config.layers import read_sources

        return read_sources(
            self.paths, project=project, environ=self.environ, config_file=self.config_file
        )

    def config(self, flags: Mapping[str, Any] | None = None) -> Config:
        """All settings; ``flags`` (dotted key to value, None: not given) are the highest layer."""
        from aileron_core.config import resolve, schema_of

        return resolve(schema_of(self.hooks), evolve(self.sources, flags=flags or {}))

    @property
    def is_plain(self) -> bool:
        """This is the process's own command line, and no global option changes what is loaded."""
        return self.environ == os.environ and not self.disable and self.config_file is None

    @property
    def loaded_hooks(self) -> Hooks | None:
        """The plugins, if anything has asked for them yet."""
        found: Hooks | None = self.__dict__.get("hooks")
        return found

    def forget(self) -> None:
        """Drop what was loaded, because a global option changed what it rests on."""
        self.__dict__.pop("hooks", None)
        self.__dict__.pop("sources", None)

    def disabled_plugin_of(self, mode: str) -> PluginFact | None:
        """The plugin that is switched off and has this mode, as far as its name tells."""
        for fact in self.hooks.plugins:
            if not fact.enabled and mode in (fact.name, *fact.name.split("-")):
                return fact
        return None

    def client(self) -> Client:
        """A client of the daemon; it starts one when there is none."""
        from aileron_core.client import Client

        return Client(self.paths)

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """One call of the daemon's API: the decoded answer."""
        return self.client().request(method, path, body)
