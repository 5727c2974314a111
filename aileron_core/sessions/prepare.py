"""The step `prepare`: the image, the session's files, stubs, and the spec made of all of them."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from pathlib import Path

import trio
from attrs import evolve, frozen

from aileron_core.backend import Backend, ImageInfo, Progress, Recipe
from aileron_core.errors import EXIT_NO_INPUT, ErrorCode
from aileron_core.paths import Paths, make_private
from aileron_core.records import HelperFile
from aileron_core.seccomp import build_profile
from aileron_core.sessions import spec as specs
from aileron_core.sessions.certificates import SessionAuthority
from aileron_core.sessions.files import SessionFiles, host_errors, write_files
from aileron_core.sessions.links import refuse_shared
from aileron_core.sessions.plan import LaunchPlan, WorkspacePlan
from aileron_core.sessions.stubs import effective

IMAGE_MISSING = ErrorCode("image-missing", EXIT_NO_INPUT, "The image is not on this machine.")

TOOLS = """\
# Tools of this sandbox, one a line: NAME<tab>WHAT IT DOES
"""
"""tools.txt when no plugin gives another; the connectors plugin fills it."""


@frozen
class Overlay:
    """Where the changes of an overlay workspace are kept: in the session's state directory."""

    upper: Path
    work: Path


def overlay_of(paths: Paths, session: str) -> Overlay:
    """The directories of a session's overlay, whether it has one or not."""
    changes = paths.session_state(session) / "changes"
    return Overlay(changes / "upper", changes / "work")


def journal_of(paths: Paths, session: str) -> Path:
    """The stub journal: in the state directory, so that it outlives a reboot as the stubs do."""
    return paths.session_state(session) / "stubs.json"


def make_directories(paths: Paths, plan: LaunchPlan) -> None:
    """The session's state directory, and its overlay when it has one.

    An overlay's root looks like its upper directory, so that gets the workspace's owner and mode.
    """
    state = paths.session_state(plan.session)
    with host_errors(f"make the session's directory {state}"):
        make_private(state.parent)
        make_private(state)
        if plan.workspace.mode != "overlay":
            return
        overlay = overlay_of(paths, plan.session)
        for directory in (overlay.upper, overlay.work):
            directory.mkdir(parents=True)
        os.chown(overlay.upper, *plan.workspace.owner)
        overlay.upper.chmod(plan.workspace.path.stat().st_mode & 0o7777)


def stub_root(paths: Paths, workspace: WorkspacePlan, session: str) -> tuple[Path, Path | None]:
    """Where stubs are made, and what lies below that."""
    if workspace.mode == "overlay":
        return overlay_of(paths, session).upper, workspace.path
    return workspace.path, None


async def ensure_image(
    backend: Backend, plan: LaunchPlan, progress: Callable[[str], None]
) -> ImageInfo:
    """The plan's image, fetched or built when it is absent and the plan says how.

    Raises:
        AileronError: ``image-missing``, or what the backend says.
    """
    found = await backend.image(plan.image)
    if found is not None and not (plan.rebuild and plan.recipe):
        return found
    if plan.recipe is None:
        raise IMAGE_MISSING(
            f"the image {plan.image} is not on this machine",
            hints=[
                f"podman pull {plan.image}",
                "aileron sandbox build",
                "aileron launch --build auto",
            ],
        )
    return await _provide(backend, plan.recipe, progress)


async def _provide(backend: Backend, recipe: Recipe, progress: Progress) -> ImageInfo:
    """Provide a recipe's bases that are absent first, then the recipe itself."""
    if recipe.base is not None and await backend.image(recipe.base.reference) is None:
        await _provide(backend, recipe.base, progress)
    if recipe.make is not None:
        await recipe.make(progress)
    return await backend.provide(recipe, progress)


def write_session_files(
    files: SessionFiles,
    contributions: specs.Contributions,
    authority: SessionAuthority,
    *,
    token: str,
    roots: bytes,
) -> None:
    """Everything under /run/aileron; a plugin's ``tools.txt`` replaces the empty one."""
    helpers = [helper for _, given in contributions for helper in given.helpers]
    write_files(
        files,
        token=token,
        ca=authority.pem,
        roots=roots,
        tools=_tools(helpers),
        helpers=[helper for helper in helpers if helper.path != "tools.txt"],
    )


def _tools(helpers: list[HelperFile]) -> str:
    given = [helper.content.decode() for helper in helpers if helper.path == "tools.txt"]
    return given[0] if given else TOOLS


def spec_inputs(
    paths: Paths, plan: LaunchPlan, contributions: specs.Contributions
) -> specs.SpecInputs:
    """What the spec is made of, but for the token and the image's environment."""
    overlay = overlay_of(paths, plan.session) if plan.workspace.mode == "overlay" else None
    return specs.SpecInputs(
        contributions=contributions,
        inside=str(SessionFiles(paths.session_runtime(plan.session)).inside),
        owner=str(paths.state),
        host_user=(os.getuid(), os.getgid()),
        seccomp=build_profile(specs.seccomp_rules(contributions), machine=platform.machine()),
        upper=str(overlay.upper) if overlay else None,
        work=str(overlay.work) if overlay else None,
    )


async def settle_protected(plan: LaunchPlan) -> LaunchPlan:
    """The plan with the protected paths as they can be mounted in this very workspace.

    Raises:
        AileronError: ``workspace-hostile``, ``host-refused``.
    """
    if plan.workspace.mode == "ro":
        return plan
    with host_errors(f"look at the workspace {plan.workspace.path}"):
        protected = await trio.to_thread.run_sync(
            effective, plan.workspace.path, plan.workspace.protected
        )
        if plan.workspace.mode == "rw":  # an overlay writes to a copy
            await trio.to_thread.run_sync(refuse_shared, plan.workspace.path, protected)
    return evolve(plan, workspace=evolve(plan.workspace, protected=protected))
