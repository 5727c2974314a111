"""The base tier for real: made from Debian's packages alone, and agents installed on top of it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import evolve

from aileron_core.backend import Recipe, SandboxUser
from aileron_core.errors import AileronError
from aileron_launch.images.base import agent_recipe, base_recipe
from aileron_launch.images.debian import BASE_FAILED, make_archive
from aileron_launch.profiles import Profile
from aileron_launch.settings import BaseImage

pytestmark = pytest.mark.container
USER = SandboxUser()
PACKAGES = BaseImage(source="packages")


def cache() -> Path:
    """Where archives stay between runs: one takes a minute to make."""
    given = os.environ.get("AILERON_TEST_CACHE")
    return Path(given) if given else Path.home() / ".cache/aileron-test"


@pytest.fixture
async def base() -> Recipe:
    """The base image's recipe, its archive made, under a name of the tests' own."""
    recipe = base_recipe(PACKAGES, cache(), USER)
    await make_archive(recipe, USER, lambda line: None)
    return evolve(recipe, reference=recipe.reference.replace("aileron-base", "aileron-test-base"))


async def test_it_has_what_agents_expect(
    person: Any, base: Recipe, run_in_sandbox: Any, kernel_cannot: Any
) -> None:
    """Git, curl, Python and the agent's account are there, and the workspace is the person's."""
    plan = evolve(person.plan("sh"), image=base.reference, tier="base", recipe=base, mounts=())
    script = (
        "id -un; git --version; curl --version | head -1; python3 -V;"
        "test -s /etc/ssl/certs/ca-certificates.crt && echo roots; echo x > made"
    )
    ran = await run_in_sandbox(plan, "/bin/bash", "-c", script)
    assert ran.status == 0, ran.errors
    words = ran.output
    assert words.startswith("agent\ngit version")
    assert "Python 3" in words
    assert words.endswith("roots\n")
    assert (person.workspace / "made").stat().st_uid == os.getuid()


async def test_an_agents_recipe_is_built_on_it(
    person: Any, base: Recipe, run_in_sandbox: Any
) -> None:
    """The lines of a profile run in a build on the base image, which is provided first."""
    file = "/usr/local/bin/toy"
    line = f"RUN printf '#!/bin/sh\\necho installed\\n' >{file} && chmod 755 {file}"
    recipe = agent_recipe(base, Profile("test-toy", command=("toy",), install=(line,)))
    plan = evolve(person.plan("sh"), image=recipe.reference, recipe=recipe, mounts=(), env={})
    ran = await run_in_sandbox(plan, "toy")
    assert (ran.status, ran.output) == (0, "installed\n"), ran.errors


async def test_a_failure_names_what_the_tool_said(tmp_path: Path) -> None:
    """An archive that cannot be reached is an error with the tool's last words; no file stays."""
    mirror = "http://127.0.0.1:9/debian"
    recipe = base_recipe(evolve(PACKAGES, mirror=mirror), tmp_path, USER)
    said: list[str] = []
    with pytest.raises(AileronError, match="mmdebstrap ended") as caught:
        await make_archive(recipe, USER, said.append)
    assert caught.value.code == BASE_FAILED.name
    assert caught.value.why
    assert said
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("when", ["tempdir", "running apt-get update", "extracting archives"])
async def test_cancelled_it_leaves_nothing(tmp_path: Path, when: str) -> None:
    """Interrupted in the middle, neither an archive nor a half-made tree stays."""
    recipe = base_recipe(evolve(PACKAGES, packages=("nano",)), tmp_path, USER)
    before = temporary()
    with trio.CancelScope() as scope:
        await make_archive(recipe, USER, lambda line: scope.cancel() if when in line else None)
    assert scope.cancelled_caught
    assert os.listdir(tmp_path) == []
    assert temporary() == before


def temporary() -> set[Path]:
    """What the tool may have left."""
    here = Path(tempfile.gettempdir())
    return {*here.glob("mmdebstrap.*"), *here.glob("aileron-base-*")}
