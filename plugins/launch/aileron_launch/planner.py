"""From what a person typed to what will be done: `plan`.

`plan` asks the daemon for the configuration and whether names are taken; `make_plan` does the rest
from data and from looking at the host's files. Nothing is created but small archives in the cache.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import trio
from attrs import evolve, field, frozen

from aileron_core.backend import Mount, Recipe, SandboxUser
from aileron_core.daemon.context import Daemon
from aileron_core.errors import EXIT_USAGE, ErrorCode
from aileron_core.paths import Paths
from aileron_core.sessions.plan import LaunchPlan, LaunchRequest, WorkspacePlan
from aileron_launch.decide import (
    Findings,
    Tier,
    TierChoice,
    choose_tier,
    command_line,
    limits_of,
    merge_environment,
    protection_note,
    timeout_of,
)
from aileron_launch.images.base import agent_recipe, base_recipe
from aileron_launch.images.host import host_image
from aileron_launch.images.locate import Installed, Search, is_system, locate
from aileron_launch.options import (
    OPTION_INVALID,
    Place,
    check_environment,
    check_name,
    parse_mount,
    parse_publish,
)
from aileron_launch.profiles import Profile, find_profile
from aileron_launch.settings import Settings
from aileron_launch.workspace import Surroundings, check_workspace, protect

NAME_TAKEN = ErrorCode("name-taken", EXIT_USAGE, "A session of that name is running.")

NO_NETWORK = "no network: the data plane is not part of this version"
_HOME_SIZE = 1 << 30
"""Bytes of a home in memory, which counts against the memory limit anyway."""


@frozen
class Inputs:
    """Everything that a plan is made of."""

    request: LaunchRequest
    settings: Settings
    paths: Paths
    session: str
    policy: str = "developer"
    search: Search = field(kw_only=True)


@frozen
class Image:
    """How a tier provides what runs."""

    reference: str
    tier: Tier
    recipe: Recipe | None = None
    mounts: tuple[Mount, ...] = ()
    env: dict[str, str] = field(factory=dict)
    interactive: str = "/bin/sh"
    """The shell that runs when no command is given."""
    notes: tuple[str, ...] = ()


async def plan(request: LaunchRequest, daemon: Daemon, session_id: str) -> LaunchPlan:
    """What will be done for ``request``.

    Raises:
        AileronError: whatever is wrong with the request, the configuration, the workspace, the
            agent or the image; nothing has been started.
    """
    surroundings = surroundings_of(request, daemon.paths)
    workspace = check_workspace(request.cwd, surroundings, request.uid)
    settings, policy = await read_settings(daemon, request, workspace)
    if request.name is not None:
        await _check_free(daemon, check_name(request.name))
    inputs = Inputs(request, settings, daemon.paths, session_id, policy, search=search_of(request))
    return await trio.to_thread.run_sync(make_plan, inputs)


async def read_settings(
    daemon: Daemon, request: LaunchRequest, workspace: Path
) -> tuple[Settings, str]:
    """``[launch]`` as it holds for this request, and the policy's name."""
    asked: Any = daemon
    config = await asked.config(
        project=workspace,
        environment=request.environment,
        flags=request.flags,
        config_file=Path(request.config) if request.config is not None else None,
    )
    return config.table("launch"), config.table("policy").use


async def _check_free(daemon: Daemon, name: str) -> None:
    if any(summary.name == name for summary in await daemon.sessions.summaries()):
        raise NAME_TAKEN(
            f"a session called {name!r} is running",
            hints=["choose another --name", f"aileron sessions stop {name}"],
        )


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
        name=request.name or default_name(request, inputs.session),
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
        mounts=(*image.mounts, *(mount for mount, _ in mounted), *_state(inputs, profile, owner)),
        publish=tuple(parse_publish(text) for text in request.publish),
        limits=limits_of(settings),
        policy=inputs.policy,
        disabled=frozenset(request.disable),
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
    return (note,)


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


def _state(inputs: Inputs, profile: Profile | None, owner: tuple[int, int]) -> tuple[Mount, ...]:
    """The agent's own settings and history, kept apart from the host's, if that is wanted."""
    if profile is None or inputs.settings.state != "kept":
        return ()
    home = SandboxUser().home
    return tuple(
        _kept(inputs.paths.data, profile.name, home, part, owner) for part in profile.state
    )


def _kept(data: Path, agent: str, home: str, part: str, owner: tuple[int, int]) -> Mount:
    source = data / "agents" / agent / part
    source.mkdir(mode=0o700, parents=True, exist_ok=True)
    info = source.stat()
    return Mount(
        f"{home}/{part}",
        source=str(source),
        read_only=False,
        map_owner=True,
        owner=(info.st_uid, info.st_gid),
    )


# --- images -----------------------------------------------------------------------------------


def provide_image(
    inputs: Inputs, profile: Profile | None, workspace: Path, owner: tuple[int, int]
) -> Image:
    """The tier that is asked for, or the first that fits."""
    installed = find_on_host(inputs, profile, workspace)
    choice = choose_tier(
        inputs.settings.image,
        inputs.request.agent or "a shell",
        profile,
        Findings(on_host=installed is not None),
    )
    note = f"image tier {choice.tier}: {choice.reason}"
    return evolve(_image(inputs, profile, choice, installed, owner), notes=(note,))


def _image(
    inputs: Inputs,
    profile: Profile | None,
    choice: TierChoice,
    installed: Installed | None,
    owner: tuple[int, int],
) -> Image:
    if choice.tier == "host":
        return _host(inputs, installed, owner)
    if choice.tier == "base":
        base = base_recipe(inputs.settings.base, inputs.paths.cache, SandboxUser())
        recipe = agent_recipe(base, profile) if profile is not None else base
        return Image(recipe.reference, "base", recipe, interactive="/bin/bash")
    return Image(
        choice.reference, "byo", Recipe(choice.reference, pull=True), mounts=(home_mount(),)
    )


def _host(inputs: Inputs, installed: Installed | None, owner: tuple[int, int]) -> Image:
    programs = (installed,) if installed is not None else ()
    host = host_image(inputs.paths.cache, SandboxUser(), owner, programs)
    shell = "/bin/bash" if Path("/bin/bash").exists() else "/bin/sh"
    env = {"PATH": host.path}
    return Image(host.recipe.reference, "host", host.recipe, host.mounts, env, shell)


def home_mount() -> Mount:
    """A home in memory, for images that have none for the agent."""
    return Mount(SandboxUser().home, kind="tmpfs", read_only=False, size=_HOME_SIZE, mode=0o1777)


def find_on_host(inputs: Inputs, profile: Profile | None, workspace: Path) -> Installed | None:
    """The agent, command or shell on the host, without what the workspace shows anyway."""
    name = profile.command[0] if profile is not None else inputs.request.agent or "/bin/sh"
    if "/" in name and not name.startswith("/"):
        # A path in the workspace: the sandbox will tell whether it is there.
        return Installed(workspace / name)
    search = inputs.search
    if profile is not None:
        search = Search.of(":".join(map(str, search.directories)), search.home, profile.look)
    found = locate(name, search, profile.binds if profile is not None else ())
    if found is None:
        return None
    outside = tuple(path for path in found.binds if not path.is_relative_to(workspace))
    return evolve(found, binds=outside)


__all__ = ["NAME_TAKEN", "OPTION_INVALID", "Inputs", "is_system", "make_plan", "plan"]
