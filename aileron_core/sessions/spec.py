"""From a plan and what plugins add to the `SandboxSpec` that a backend creates. Pure.

The order of mounts is part of the sealing: what lies below comes first, the never-writable paths
come last, so that nothing can be mounted over them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from attrs import evolve, field, frozen

from aileron_core.backend import Backend, Capability, Limits, ListenerSpec, Mount, SandboxSpec
from aileron_core.errors import EXIT_CONFIG, EXIT_UNAVAILABLE, ErrorCode
from aileron_core.records import Contribution, SeccompRule
from aileron_core.sessions.plan import LaunchPlan

CONTRIBUTION_CONFLICT = ErrorCode(
    "contribution-conflict", EXIT_CONFIG, "Two parts want the same thing of one sandbox."
)
CAPABILITY_MISSING = ErrorCode(
    "capability-missing", EXIT_UNAVAILABLE, "The backend cannot do what this launch needs."
)

EXEC_UNENFORCED = ErrorCode(
    "exec-unenforced", EXIT_CONFIG, "Rules about programs would not be enforced."
)

INSIDE = "/run/aileron"
TOOLS = "/etc/aileron/tools.txt"
OWN_TARGETS = (INSIDE, TOOLS)
"""What every sandbox has of its session's own directory."""
API_LISTENER = ListenerSpec("api", "127.0.0.1", 7443)
API_NAMES = ("127.0.0.1", "localhost")
API_URL = "https://127.0.0.1:7443"
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BUNDLE_VARIABLES = (
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "AWS_CA_BUNDLE",
    "PIP_CERT",
    "CARGO_HTTP_CAINFO",
    "NIX_SSL_CERT_FILE",
)
"""Variables that name the whole list of roots a program trusts."""
EXTRA_VARIABLES = ("NODE_EXTRA_CA_CERTS", "DENO_CERT")
"""Variables that name roots on top of the program's own."""
SESSION_LABEL = "io.aileron.session"
OWNER_LABEL = "io.aileron.owner"
_TMP_SIZE = 1 << 30
"""Bytes of /tmp, which counts against the memory limit of the sandbox anyway."""

Contributions = Sequence[tuple[str, Contribution]]
"""What plugins add, each with the plugin's name."""


@frozen
class SpecInputs:
    """What a spec is made of besides the plan."""

    contributions: Contributions
    inside: str
    """Host path of what becomes /run/aileron."""
    owner: str
    """The state directory, by which `Backend.survey` finds what was left."""
    host_user: tuple[int, int]
    """Uid and gid of the daemon, which owns ``inside``."""
    seccomp: Mapping[str, Any] = field(repr=False)
    token: str = field(default="", repr=False)
    image_env: Mapping[str, str] = field(factory=dict, repr=False)
    upper: str | None = None
    """Overlay workspace: host directory that gets the changes; its work directory beside it."""
    work: str | None = None


def compose(plan: LaunchPlan, inputs: SpecInputs) -> SandboxSpec:
    """Everything the backend needs.

    Raises:
        AileronError: ``contribution-conflict``.
    """
    return SandboxSpec(
        session=plan.session,
        image=plan.image,
        argv=plan.argv,
        cwd=plan.cwd,
        env=environment(plan, inputs),
        user=plan.user,
        hostname=plan.hostname,
        tty=plan.tty,
        stdin=plan.stdin,
        rows=plan.rows,
        columns=plan.columns,
        mounts=mounts(plan, inputs),
        limits=plan.limits,
        seccomp=inputs.seccomp,
        labels={SESSION_LABEL: plan.session, OWNER_LABEL: inputs.owner},
    )


def listeners(contributions: Contributions) -> tuple[ListenerSpec, ...]:
    """The API's listener and those that plugins want.

    Raises:
        AileronError: ``contribution-conflict`` for one name or one address and port twice.
    """
    names: dict[object, str] = {}
    wanted = [("aileron", API_LISTENER)]
    wanted += [(plugin, spec) for plugin, given in contributions for spec in given.listeners]
    for plugin, spec in wanted:
        _claim(names, ("listener", spec.name), plugin)
        if spec.port:
            _claim(names, ("port", f"{spec.kind} {spec.address}:{spec.port}"), plugin)
    return tuple(spec for _, spec in wanted)


def seccomp_rules(contributions: Contributions) -> tuple[SeccompRule, ...]:
    """Every plugin's changes to the seccomp profile."""
    return tuple(rule for _, given in contributions for rule in given.seccomp)


def requirements(contributions: Contributions) -> tuple[str, ...]:
    """Programs that the image must have, each once."""
    return tuple(sorted({name for _, given in contributions for name in given.requirements}))


# --- environment ------------------------------------------------------------------------------


def environment(plan: LaunchPlan, inputs: SpecInputs) -> dict[str, str]:
    """The agent's whole environment; nothing of the host's is in it.

    A person's ``--env`` may replace what Aileron sets for convenience (PATH, certificates), never
    what a plugin gives or what identifies the session.
    """
    ours = _ours(plan, inputs.token)
    givers: dict[object, str] = {}
    for name in ours:
        _claim(givers, ("variable", name), "aileron")
    added: dict[str, str] = {}
    for plugin, given in inputs.contributions:
        for name, value in given.environment.items():
            _claim(givers, ("variable", name), plugin)
            added[name] = value
    for name in plan.env:
        _claim(givers, ("variable", name), "the plan (--env or the agent's profile)")
    basics = _basics(plan, inputs.image_env)
    return {**basics, **dict(plan.env), **_path(basics, plan.env), **added, **ours}


def _ours(plan: LaunchPlan, token: str) -> dict[str, str]:
    return {
        "AILERON_API_URL": API_URL,
        "AILERON_TOKEN": token,
        "AILERON_SESSION_ID": plan.session,
        "AILERON_TOOLS_FILE": f"{INSIDE}/tools.txt",
        "AILERON_SHIMS_DIR": f"{INSIDE}/bin",
        "AILERON_SANDBOX_IMAGE": plan.image,
        "AILERON_SANDBOX_TIER": plan.tier,
        "AILERON_SANDBOX_RUNTIME": plan.backend,
    }


def _basics(plan: LaunchPlan, image_env: Mapping[str, str]) -> dict[str, str]:
    basics = {
        "PATH": DEFAULT_PATH,
        "LANG": "C.UTF-8",
        **image_env,
        "HOME": plan.user.home,
        "USER": plan.user.name,
        "LOGNAME": plan.user.name,
        "HOSTNAME": plan.hostname,
        **dict.fromkeys(BUNDLE_VARIABLES, f"{INSIDE}/ca-bundle.pem"),
        **dict.fromkeys(EXTRA_VARIABLES, f"{INSIDE}/ca.pem"),
    }
    if plan.tty:
        basics.setdefault("TERM", "xterm-256color")
    return basics


def _path(basics: Mapping[str, str], env: Mapping[str, str]) -> dict[str, str]:
    """PATH with the shims first, whoever gave the rest of it."""
    rest = env.get("PATH") or basics.get("PATH") or DEFAULT_PATH
    return {"PATH": f"{INSIDE}/bin:{rest}"}


# --- mounts -----------------------------------------------------------------------------------


def mounts(plan: LaunchPlan, inputs: SpecInputs) -> tuple[Mount, ...]:
    """Every mount, in the order in which they are attached."""
    workspace = str(plan.workspace.path)
    given = [("aileron", Mount(INSIDE)), ("aileron", Mount(TOOLS))]
    given += [("the plan", mount) for mount in plan.mounts]
    given += [(plugin, mount) for plugin, added in inputs.contributions for mount in added.mounts]
    targets: dict[object, str] = {}
    for who, mount in [("the workspace", Mount(workspace)), *given]:
        _claim(targets, ("mount target", str(PurePosixPath(mount.target))), who)
    others = sorted((mount for _, mount in given[2:]), key=_depth)
    below = [mount for mount in others if not _is_under(mount.target, workspace)]
    above = [mount for mount in others if _is_under(mount.target, workspace)]
    protects = (
        () if plan.workspace.mode == "ro" else protection(workspace, plan.workspace.protected)
    )
    return (
        *_temporary(below),
        *below,
        workspace_mount(plan, inputs),
        *above,
        *_runtime(inputs),
        *protects,
    )


def workspace_mount(plan: LaunchPlan, inputs: SpecInputs) -> Mount:
    """The workspace at its own path, its owner shown as the agent."""
    path, mode = str(plan.workspace.path), plan.workspace.mode
    return Mount(
        path,
        kind="overlay" if mode == "overlay" else "bind",
        source=path,
        read_only=mode == "ro",
        map_owner=True,
        owner=plan.workspace.owner,
        upper=inputs.upper if mode == "overlay" else None,
        work=inputs.work if mode == "overlay" else None,
    )


def protection(workspace: str, protected: Iterable[str]) -> tuple[Mount, ...]:
    """`self` mounts that keep paths of the workspace as they are.

    The directories on the way to a protected path are mounted onto themselves too, writable: a
    mount point cannot be renamed away, and another directory put in its place.
    """
    paths = outermost(protected)
    ancestors = {parent for path in paths for parent in path.parents if parent.parts}
    return (
        *(_self(workspace, path, read_only=False) for path in sorted(ancestors, key=_parts)),
        *(_self(workspace, path, read_only=True) for path in sorted(paths, key=_parts)),
    )


def outermost(protected: Iterable[str]) -> set[PurePosixPath]:
    """The protected paths without those that lie under another of them.

    Raises:
        AileronError: ``contribution-conflict`` for a path outside the workspace or all of it.
    """
    paths = {PurePosixPath(path) for path in protected}
    for path in paths:
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise CONTRIBUTION_CONFLICT(
                f"the protected path {str(path)!r} is not inside the workspace",
                hints=["give paths relative to the workspace, without '..'"],
            )
    return {path for path in paths if not paths.intersection(path.parents)}


def _self(workspace: str, path: PurePosixPath, *, read_only: bool) -> Mount:
    return Mount(str(PurePosixPath(workspace, path)), kind="self", read_only=read_only)


def _runtime(inputs: SpecInputs) -> tuple[Mount, ...]:
    return tuple(
        Mount(target, source=source, read_only=True, map_owner=True, owner=inputs.host_user)
        for target, source in (
            (INSIDE, inputs.inside),
            (TOOLS, f"{inputs.inside}/tools.txt"),
        )
    )


def _temporary(others: Iterable[Mount]) -> tuple[Mount, ...]:
    """A /tmp in memory, unless the plan brings its own."""
    place = "/tmp"  # noqa: S108 - a path in the sandbox
    if any(mount.target == place for mount in others):
        return ()
    return (Mount(place, kind="tmpfs", read_only=False, size=_TMP_SIZE, mode=0o1777),)


def _is_under(path: str, directory: str) -> bool:
    return PurePosixPath(directory) in PurePosixPath(path).parents


def _depth(mount: Mount) -> tuple[int, str]:
    return len(PurePosixPath(mount.target).parts), mount.target


def _parts(path: PurePosixPath) -> tuple[int, str]:
    return len(path.parts), str(path)


def _claim(owners: dict[object, str], key: tuple[str, str], who: str) -> None:
    if key in owners:
        what, name = key
        raise CONTRIBUTION_CONFLICT(
            f"two parts give the {what} {name!r}",
            why=f"one is {owners[key]}, the other {who}",
            hints=["leave one of them out (aileron --disable NAME launch …)"],
        )
    owners[key] = who


# --- capabilities -----------------------------------------------------------------------------


def require_capabilities(
    backend: Backend,
    spec: SandboxSpec,
    contributions: Contributions,
    asked: Collection[str] = (),
) -> list[str]:
    """Refuse what the backend cannot do; return notes about limits by default that do not hold.

    ``asked`` names the limits that a person set: those hold, or nothing runs.

    Raises:
        AileronError: ``capability-missing``, naming every capability that is needed and missing.
    """
    needed = {Capability.LISTENERS: "the sandbox's API listener"}
    if any(mount.map_owner for mount in spec.mounts):
        needed[Capability.OWNER_MAPPING] = "files that keep their owner"
    for plugin, given in contributions:
        if any(rule.action == "notify" for rule in given.seccomp):
            needed[Capability.EXEC_SUPERVISION] = f"the plugin {plugin}"
    missing = {name: why for name, why in needed.items() if name not in backend.capabilities}
    if missing:
        raise CAPABILITY_MISSING(
            f"the backend {backend.name!r} cannot run this sandbox",
            why="; ".join(f"{why} needs {name.value}" for name, why in missing.items()),
            hints=["choose another backend (aileron launch --sandbox NAME)", "aileron doctor"],
        )
    return _unheld(spec.limits, backend, asked)


def require_enforced(judges_programs: bool, plan: LaunchPlan, contributions: Contributions) -> None:
    """Refuse rules about programs that nothing would enforce, unless that is wanted.

    Raises:
        AileronError: ``exec-unenforced``.
    """
    is_enforced = any("exec" in given.protects for _, given in contributions)
    if judges_programs and not is_enforced and "shell-intercept" not in plan.waived:
        raise EXEC_UNENFORCED(
            f"the policy {plan.policy!r} has rules about programs, and nothing enforces them",
            why="the plugin 'shell-intercept' is off or not part of this version",
            hints=["aileron launch --shell-intercept off … runs without these rules"],
        )


_HELD_BY = {
    "memory": (Capability.LIMIT_MEMORY, "memory"),
    "pids": (Capability.LIMIT_PIDS, "processes"),
    "cpus": (Capability.LIMIT_CPU, "CPUs"),
}


def _unheld_fields(limits: Limits, backend: Backend) -> list[str]:
    return [
        name
        for name, (capability, _) in _HELD_BY.items()
        if getattr(limits, name) is not None and capability not in backend.capabilities
    ]


def _unheld(limits: Limits, backend: Backend, asked: Collection[str]) -> list[str]:
    fields = _unheld_fields(limits, backend)
    words = [_HELD_BY[name][1] for name in fields]
    if wanted := [_HELD_BY[name][1] for name in fields if name in asked]:
        raise CAPABILITY_MISSING(
            f"the limit on {' and '.join(wanted)} does not hold on this machine",
            why="it was asked for, and the machine's cgroups would silently ignore it",
            hints=["launch without that limit", "aileron doctor"],
        )
    return [f"the limit on {word} does not hold on this machine" for word in words]


def only_held_limits(spec: SandboxSpec, backend: Backend) -> SandboxSpec:
    """Without the limits that `require_capabilities` noted: the backend refuses to pretend."""
    unheld: dict[str, Any] = dict.fromkeys(_unheld_fields(spec.limits, backend))
    return evolve(spec, limits=evolve(spec.limits, **unheld))
