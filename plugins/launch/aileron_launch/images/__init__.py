"""Image tiers: host, base, devcontainer, byo. Each turns into a reference and a way to get it."""

from __future__ import annotations

from aileron_core.backend import Progress, Recipe
from aileron_core.daemon.context import Daemon
from aileron_core.sessions.plan import LaunchPlan


async def prepare_image(plan: LaunchPlan, daemon: Daemon, progress: Progress) -> None:
    """Make what the plan's recipes start from and a backend cannot make itself.

    To be called before `Sessions.launch`: it makes the archive of the base image, when the image is
    absent. Everything else is in the recipes.

    Raises:
        AileronError: ``base-tool-missing``, ``base-failed``, or what the backend says.
    """
    if plan.recipe is None:
        return
    backend = await daemon.backend(plan.backend, plan.connection)
    if plan.rebuild or await backend.image(plan.image) is None:
        recipe: Recipe | None = plan.recipe
        while recipe is not None:
            await prepare_recipe(
                recipe, progress, absent=await backend.image(recipe.reference) is None
            )
            recipe = recipe.base


async def prepare_recipe(recipe: Recipe, progress: Progress, *, absent: bool = True) -> None:
    """Make the archive that a recipe imports, when it is one that is made here."""
    if absent and recipe.rootfs is not None:
        from aileron_core.backend import SandboxUser
        from aileron_launch.images.debian import make_archive

        await make_archive(recipe, progress, SandboxUser())
