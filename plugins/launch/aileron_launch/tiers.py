"""How each tier provides what runs: the image, its mounts and environment."""

from __future__ import annotations

from pathlib import Path

from attrs import evolve, field, frozen

from aileron_core.backend import Mount, Recipe, SandboxUser
from aileron_core.paths import Paths
from aileron_core.sessions.plan import LaunchRequest
from aileron_launch.decide import Findings, Tier, TierChoice, choose_tier
from aileron_launch.images.base import agent_recipe, base_recipe
from aileron_launch.images.devcontainer import (
    DEVCONTAINER_INVALID,
    DEVCONTAINER_UNTRUSTED,
    Devcontainer,
    Trust,
    devcontainer_recipe,
    find_devcontainer,
    read_devcontainer,
    trust_of,
    with_agent,
)
from aileron_launch.images.host import host_image
from aileron_launch.images.locate import Installed, Search, locate
from aileron_launch.profiles import Profile
from aileron_launch.settings import Settings

TRUST = "read .devcontainer/, then: aileron config trust"


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
    user: SandboxUser = field(factory=SandboxUser)
    interactive: str = "/bin/sh"
    """The shell that runs when no command is given."""
    notes: tuple[str, ...] = ()


def provide_image(
    inputs: Inputs, profile: Profile | None, workspace: Path, owner: tuple[int, int]
) -> Image:
    """The tier that is asked for, or the first that fits."""
    installed = find_on_host(inputs, profile, workspace)
    trust = trust_of(inputs.paths, workspace)
    found = Findings(devcontainer=trust, on_host=installed is not None)
    agent = inputs.request.agent or "a shell"
    choice = choose_tier(inputs.settings.image, agent, profile, found)
    notes = [f"image tier {choice.tier}: {choice.reason}"]
    if trust == "untrusted" and inputs.settings.image is None:
        notes.append(f"a devcontainer is not used before it is trusted: {TRUST}")
    container = None
    if choice.tier == "devcontainer":
        container = _trusted_devcontainer(workspace, trust)
        notes += container.notes
        if container.own_image is not None:
            choice = choose_tier(
                container.own_image, agent, profile, evolve(found, devcontainer="none")
            )
    if container is not None and choice.tier == "devcontainer":
        image = _devcontainer(profile, container)
    else:
        image = _image(inputs, profile, choice, installed, owner)
    env = {**image.env, **(container.env if container is not None else {})}
    return evolve(image, env=env, notes=tuple(notes))


def _trusted_devcontainer(workspace: Path, trust: Trust) -> Devcontainer:
    """What the workspace's devcontainer asks for.

    Raises:
        AileronError: ``devcontainer-invalid``, ``devcontainer-untrusted``.
    """
    file = find_devcontainer(workspace)
    if file is None:
        raise DEVCONTAINER_INVALID(
            f"{workspace} has no .devcontainer/devcontainer.json", hints=["aileron sandbox init"]
        )
    if trust != "trusted":
        raise DEVCONTAINER_UNTRUSTED(
            f"{file} has not been trusted",
            why="it comes with the project and decides what runs in the sandbox",
            hints=[TRUST],
        )
    return read_devcontainer(workspace, file)


def _devcontainer(profile: Profile | None, found: Devcontainer) -> Image:
    """The workspace's own image."""
    recipe = devcontainer_recipe(found)
    if found.install_agent and profile is not None and profile.install:
        recipe = with_agent(recipe, profile)
    return Image(
        recipe.reference,
        "devcontainer",
        recipe,
        user=found.user or SandboxUser(),
    )


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
        anew = inputs.settings.build == "always"
        base = base_recipe(inputs.settings.base, inputs.paths.cache, SandboxUser(), anew=anew)
        recipe = agent_recipe(base, profile) if profile is not None else base
        return Image(recipe.reference, "base", recipe, interactive="/bin/bash")
    return _byo(choice.reference)


def _byo(reference: str) -> Image:
    return Image(reference, "byo", Recipe(reference, pull=True))


def _host(inputs: Inputs, installed: Installed | None, owner: tuple[int, int]) -> Image:
    programs = (installed,) if installed is not None else ()
    host = host_image(inputs.paths.cache, SandboxUser(), owner, programs)
    shell = "/bin/bash" if Path("/bin/bash").exists() else "/bin/sh"
    env = {"PATH": host.path}
    return Image(host.recipe.reference, "host", host.recipe, host.mounts, env, interactive=shell)


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
