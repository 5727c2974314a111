"""From what a person typed to what will be done: `plan`.

`plan` reads the configuration that holds for the request; `make_plan` does the rest
from data and from looking at the host's files. Nothing is created but small archives in the cache.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import trio
from attrs import evolve, frozen

from aileron_core.backend import Mount, SandboxUser
from aileron_core.config.load import BUILT_IN, load_config
from aileron_core.config.tables import schema_of
from aileron_core.daemon.context import Daemon
from aileron_core.paths import Paths
from aileron_core.policy.load import PolicySource, policy_source
from aileron_core.sessions.files import host_errors
from aileron_core.sessions.plan import LaunchPlan, LaunchRequest, WorkspacePlan
from aileron_launch.decide import (
    command_line,
    limits_of,
    merge_environment,
    protection_note,
    timeout_of,
)
from aileron_launch.images.locate import Search
from aileron_launch.options import (
    Place,
    check_environment,
    check_name,
    parse_mount,
    parse_publish,
)
from aileron_launch.profiles import Profile, find_profile
from aileron_launch.settings import Settings
from aileron_launch.tiers import Image, Inputs, provide_image
from aileron_launch.workspace import Surroundings, check_workspace, protect

NO_NETWORK = "no network: the data plane is not part of this version"
GIT_LOCKED = (
    "Git on this machine cannot change the repository's configuration until the session ends "
    "(.git/config.lock)"
)


async def plan(request: LaunchRequest, daemon: Daemon, session_id: str) -> LaunchPlan:
    """What will be done for ``request``.

    Raises:
        AileronError: whatever is wrong with the request, the configuration, the workspace, the
            agent or the image; nothing has been started.
    """
    surroundings = surroundings_of(request, daemon.paths)
    workspace = check_workspace(request.cwd, surroundings, request.uid)
    read = await trio.to_thread.run_sync(read_settings, daemon, request, workspace)
    use = read.policy.settings.use
    inputs = Inputs(
        request, read.settings, daemon.paths, session_id, use, search=search_of(request)
    )
    made = await trio.to_thread.run_sync(make_plan, inputs)
    daemon.hooks.require_backend(made.backend, read.disabled)
    return evolve(made, rules=read.policy, disabled=read.disabled, limits_asked=read.limits)


@frozen
class Configured:
    """What configuration says of one launch."""

    settings: Settings
    policy: PolicySource
    disabled: frozenset[str]
    limits: frozenset[str]
    """Limits that somebody set: memory, cpus, pids."""


def read_settings(daemon: Daemon, request: LaunchRequest, workspace: Path) -> Configured:
    """``[launch]``, the policy and the plugins left out, as they hold for this request.

    Raises:
        AileronError: ``config-…``; ``plugin-stale`` when the daemon lacks a plugin that is on.
    """
    home = {"HOME": request.home} if request.home else {}
    config = load_config(
        schema_of(daemon.hooks),
        paths=daemon.paths,
        project=workspace,
        environ={**request.environment, **home},
        flags=request.flags,
        config_file=Path(request.config) if request.config is not None else None,
    )
    disabled = frozenset({*config.disabled, *request.disable, *request.waive})
    daemon.hooks.require_current(disabled)
    limits = frozenset(
        name for name in ("memory", "cpus", "pids") if config.origin(f"launch.{name}") != BUILT_IN
    )
    return Configured(config.table("launch", Settings), policy_source(config), disabled, limits)


def surroundings_of(request: LaunchRequest, paths: Paths) -> Surroundings:
    """The person's home and Aileron's own directories."""
    home = Path(request.home or os.environ.get("HOME") or "/root")
    private = (paths.runtime, paths.state, paths.config, paths.data, paths.cache)
    return Surroundings(home, tuple(Path(os.path.realpath(path)) for path in private))


def search_of(request: LaunchRequest) -> Search:
    """Where the person's programs are."""
    home = Path(request.home or os.environ.get("HOME") or "/root")
    return Search.of(request.search_path or os.environ.get("PATH", ""), home)


def make_plan(inputs: Inputs) -> LaunchPlan:
    """The plan, from data and from what the host's file system holds."""
    request, settings = inputs.request, inputs.settings
    around = surroundings_of(request, inputs.paths)
    workspace = check_workspace(request.cwd, around, request.uid)
    info = workspace.stat()
    owner = (info.st_uid, info.st_gid)
    profile = find_profile(request.agent, inputs.paths.config) if request.agent else None
    image = provide_image(inputs, profile, workspace, owner)
    place = Place(request.cwd, workspace, owner, around)
    mounted = [parse_mount(text, place) for text in (*settings.mounts, *request.mounts)]
    env, env_notes = _environment(inputs, profile, image)
    kept = protect(
        workspace, settings.protected, settings.protected_if_present, settings.unprotected
    )
    return LaunchPlan(
        session=inputs.session,
        name=check_name(request.name)
        if request.name is not None
        else default_name(request, inputs.session),
        agent=request.agent or "shell",
        image=image.reference,
        tier=image.tier,
        backend=settings.backend,
        argv=command_line(request.agent, request.args, profile, image.interactive),
        cwd=str(workspace),
        workspace=WorkspacePlan(workspace, settings.workspace, owner, kept.paths),
        env=env,
        recipe=image.recipe if settings.build != "never" else None,
        rebuild=settings.build == "always",
        mounts=(
            *image.mounts,
            *(mount for mount, _ in mounted),
            *_state(inputs, profile, image.user),
        ),
        publish=tuple(parse_publish(text) for text in request.publish),
        user=image.user,
        limits=limits_of(settings),
        policy=inputs.policy,
        waived=frozenset(request.waive),
        timeout=timeout_of(settings),
        tty=request.tty,
        stdin=request.stdin,
        rows=request.rows,
        columns=request.columns,
        detach=request.detach,
        notes=_unique(
            (
                *image.notes,
                NO_NETWORK,
                *_workspace_notes(settings, kept.paths),
                *kept.notes,
                *(warning for _, warning in mounted),
                *env_notes,
            )
        ),
    )


def default_name(request: LaunchRequest, session: str) -> str:
    """A name to call the session by: the agent's, with the end of the session's id."""
    stem = Path(request.agent or "shell").name.lower()
    safe = "".join(
        char if char.isascii() and (char.isalnum() or char in "_-") else "-" for char in stem
    )
    return f"{safe.strip('-_')[:32] or 'session'}-{session[-4:].lower()}"


def _unique(notes: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(note for note in notes if note))


def _workspace_notes(settings: Settings, protected: tuple[str, ...]) -> tuple[str, ...]:
    if settings.workspace == "ro":
        return ("the workspace is read-only",)
    note = protection_note(protected)
    if settings.workspace == "overlay":
        return ("changes are kept aside: aileron sessions diff, apply or discard", note)
    return (note, *((GIT_LOCKED,) if ".git/config.lock" in protected else ()))


def _environment(
    inputs: Inputs, profile: Profile | None, image: Image
) -> tuple[dict[str, str], tuple[str, ...]]:
    """The agent's variables (profile, settings, ``--env``), and warnings."""
    request = inputs.request
    passed = {
        name: value
        for name, value in request.environment.items()
        if not name.startswith("AILERON_")
    }
    asked = merge_environment(inputs.settings.env, passed, request.env)
    warnings = check_environment(asked)
    terminal = {"TERM": request.term} if request.tty and request.term.isprintable() else {}
    given = profile.environment if profile is not None else {}
    env = merge_environment(image.env, {k: v for k, v in terminal.items() if v}, given, asked)
    return env, warnings


def _state(inputs: Inputs, profile: Profile | None, user: SandboxUser) -> tuple[Mount, ...]:
    """The agent's own settings and history, kept apart from the host's, if that is wanted."""
    if profile is None or inputs.settings.state != "kept":
        return ()
    kept = inputs.paths.data / "agents" / profile.name
    return tuple(_kept(kept / part, f"{user.home}/{part}") for part in profile.state)


def _kept(source: Path, target: str) -> Mount:
    with host_errors(f"make {source}"):
        source.mkdir(mode=0o700, parents=True, exist_ok=True)
    info = source.stat()
    owner = (info.st_uid, info.st_gid)
    return Mount(target, source=str(source), read_only=False, map_owner=True, owner=owner)
