"""``aileron completion``: the script that makes a shell complete modes, options and names."""

from __future__ import annotations

import click
from click.shell_completion import ShellComplete, get_completion_class

from aileron_core.cli.app import App

_INSTALL = {
    "bash": 'eval "$(aileron completion bash)"   # in ~/.bashrc; needs bash 4.4',
    "zsh": 'eval "$(aileron completion zsh)"   # in ~/.zshrc',
    "fish": "aileron completion fish > ~/.config/fish/completions/aileron.fish",
}


@click.command()
@click.argument("shell", type=click.Choice(sorted(_INSTALL)))
@click.pass_obj
def command(app: App, shell: str) -> None:
    """Print the completion script for SHELL."""
    kind = get_completion_class(shell)
    assert kind is not None
    # The base class's method: bash's own starts a bash first, to complain about old ones.
    script = ShellComplete.source(
        kind(click.Command("aileron"), {}, "aileron", "_AILERON_COMPLETE")
    )
    app.out.result({"shell": shell, "script": script}, f"# {_INSTALL[shell]}\n{script}")
