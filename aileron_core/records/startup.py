"""Records of start-up: what exists. The command line imports these and no others.

Making an attrs class costs half a millisecond, so the rest waits until somebody uses it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Literal

from attrs import frozen

if TYPE_CHECKING:
    import click

    from aileron_core.backend import BackendOpener
    from aileron_core.daemon.context import Daemon


@frozen
class Mode:
    """A subcommand of ``aileron``.

    ``load`` imports and returns the click command; it is called only when the mode is used or its
    own help is asked for, so that ``aileron --help`` stays fast. ``summary`` serves that help.
    """

    name: str
    summary: str
    load: Callable[[], click.Command]


@frozen
class BackendFactory:
    """A container backend; ``open`` is an async callable from context to `Backend`."""

    name: str
    summary: str
    open: BackendOpener


@frozen
class CheckResult:
    """What a check of ``aileron doctor`` found."""

    verdict: Literal["holds", "does not hold", "cannot be tried"]
    detail: str = ""
    mend: str = ""


@frozen
class Check:
    """A protection that doctor *tries*: ``run`` does the forbidden thing and looks whether it
    fails.

    ``run`` is async, takes a `Probe` (see `aileron_core.doctor`) and raises nothing for "does not
    hold".
    """

    name: str
    summary: str
    run: Callable[[Any], Awaitable[CheckResult]]


@frozen
class Route:
    """A group of API calls: ``blueprint`` is called once, in the daemon, and returns a quart
    Blueprint.

    Side ``host`` is served on the user's Unix socket, side ``sandbox`` on the sessions' listeners.
    """

    name: str
    side: Literal["host", "sandbox"]
    blueprint: Callable[[Daemon], Any]
