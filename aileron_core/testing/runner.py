"""Run ``aileron`` inside the test's process, in directories of its own."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from aileron_core.paths import Paths, find_paths


@frozen
class Result:
    """What a command did."""

    status: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """Its stdout, decoded."""
        return json.loads(self.stdout)

    @property
    def error(self) -> dict[str, Any]:
        """The error object that it wrote with ``--json``."""
        found: dict[str, Any] = json.loads(self.stderr.splitlines()[-1])["error"]
        return found


@define
class Runner:
    """Runs commands with every XDG directory under ``root``, and none of the real environment.

    Example::

        result = Runner(tmp_path)("plugins", "list", "--json")
        assert result.status == 0
    """

    root: Path
    environ: dict[str, str] = field(factory=dict)
    """More variables."""
    hooks: Any = None
    """A `Hooks` to use instead of loading plugins."""

    @property
    def environment(self) -> dict[str, str]:
        """The whole environment of a command."""
        base = {
            "HOME": str(self.root),
            "XDG_CONFIG_HOME": str(self.root / "config"),
            "XDG_STATE_HOME": str(self.root / "state"),
            "XDG_DATA_HOME": str(self.root / "data"),
            "XDG_CACHE_HOME": str(self.root / "cache"),
            "XDG_RUNTIME_DIR": str(self.root / "run"),
            "PATH": "/usr/bin:/bin",
        }
        return {**base, **self.environ}

    @property
    def paths(self) -> Paths:
        """Where commands keep things."""
        return find_paths(self.environment)

    def write_config(self, text: str) -> Path:
        """Make the user's configuration file."""
        file = self.paths.user_config
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def __call__(
        self, *arguments: str, cwd: Path | None = None, environ: Mapping[str, str] | None = None
    ) -> Result:
        """Run ``aileron ARGUMENTS``."""
        from aileron_core.cli.app import App
        from aileron_core.cli.main import run
        from aileron_core.cli.output import Output

        stdout, stderr = io.StringIO(), io.StringIO()
        app = App(
            paths=self.paths,
            out=Output(stdout=stdout, stderr=stderr),
            environ={**self.environment, **(environ or {})},
            cwd=cwd or self.root,
        )
        if self.hooks is not None:
            app.hooks = self.hooks
        with redirect_stdout(stdout), redirect_stderr(stderr):
            status = run(list(arguments), app)
        return Result(status, stdout.getvalue(), stderr.getvalue())
