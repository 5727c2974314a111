"""What is asked (`LaunchRequest`) and what will be done (`LaunchPlan`): data, both of them.

The command line sends a `LaunchRequest` as JSON; a planner (the launch plugin) makes the
`LaunchPlan`; the engine carries it out step by step, in the order of docs/architecture.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from attrs import field, frozen

from aileron_core.backend import Limits, Mount, PortMapping, Recipe, SandboxUser

if TYPE_CHECKING:
    from aileron_core.policy.load import PolicySource


@frozen
class LaunchRequest:
    """What a person typed, with what only the typing process knows."""

    agent: str | None
    """A profile's name, a command, or None for a shell."""
    args: tuple[str, ...] = ()
    cwd: str = "/"
    """Absolute: the workspace."""
    config: str | None = None
    """`--config FILE`, absolute."""
    disable: tuple[str, ...] = ()
    waive: tuple[str, ...] = ()
    """Enforcing plugins switched off for this launch by their own option (`--proxy off`)."""
    flags: Mapping[str, Any] = field(factory=dict)
    """Dotted setting (`launch.image`) to the value given by a flag; the highest layer."""
    environment: Mapping[str, str] = field(factory=dict, repr=False)
    """`AILERON_…` variables of the typing process, and those that `--env NAME` passes on."""
    env: Mapping[str, str] = field(factory=dict, repr=False)
    """`--env NAME=VALUE`, resolved."""
    search_path: str = ""
    """`PATH` of the typing process: where an agent on the host is looked for; never passed on."""
    home: str = ""
    """`HOME` of the typing process; "": the daemon's."""
    mounts: tuple[str, ...] = ()
    """`--mount SOURCE[:TARGET[:ro|rw]]` as typed."""
    publish: tuple[str, ...] = ()
    name: str | None = None
    detach: bool = False
    tty: bool = False
    stdin: bool = True
    rows: int = 0
    columns: int = 0
    term: str = ""
    uid: int = 0
    gid: int = 0
    connection: str | None = None
    """`--connection`: another host's backend."""


@frozen
class WorkspacePlan:
    """How the workspace appears in the sandbox: at the same absolute path as on the host."""

    path: Path
    mode: Literal["rw", "ro", "overlay"]
    owner: tuple[int, int]
    """Host uid and gid that new files get."""
    protected: tuple[str, ...] = ()
    """Never writable, even when absent: relative paths, a trailing slash for directories."""


@frozen
class LaunchPlan:
    """Everything that will be done for a session, before contributions of plugins are added."""

    session: str
    name: str
    agent: str
    image: str
    tier: Literal["base", "devcontainer", "byo", "host"]
    backend: str
    argv: tuple[str, ...]
    cwd: str
    workspace: WorkspacePlan
    env: Mapping[str, str] = field(factory=dict, repr=False)
    recipe: Recipe | None = None
    """How to get the image when it is absent or stale; None: it must be there."""
    rebuild: bool = False
    mounts: tuple[Mount, ...] = ()
    """The tier's own mounts and those asked for; the workspace is not among them."""
    publish: tuple[PortMapping, ...] = ()
    user: SandboxUser = SandboxUser()
    limits: Limits = Limits()
    limits_asked: frozenset[str] = frozenset()
    """Limits that a person set: where one of these does not hold, the launch is refused."""
    hostname: str = "aileron"
    policy: str = "developer"
    rules: PolicySource | None = field(default=None, repr=False)
    """What the session's policy is compiled from; None: everything is denied."""
    disabled: frozenset[str] = frozenset()
    waived: frozenset[str] = frozenset()
    """Enforcing plugins that the person chose to go without; a disabled one is not waived."""
    timeout: float | None = None
    """Seconds the agent may run."""
    tty: bool = False
    stdin: bool = True
    rows: int = 0
    columns: int = 0
    detach: bool = False
    connection: str | None = None
    notes: tuple[str, ...] = ()
    """What the person should know: no network yet, what is protected, what is inferred."""
