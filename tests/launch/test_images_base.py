"""The base image's recipes: named by what they are made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
import trio.lowlevel
from attrs import evolve

from aileron_core.backend import SandboxUser
from aileron_core.errors import AileronError
from aileron_launch.images import debian
from aileron_launch.images.base import agent_recipe, base_recipe
from aileron_launch.profiles import Profile
from aileron_launch.settings import BaseImage

USER = SandboxUser()
CACHE = Path("/nowhere/cache")
PACKAGES = BaseImage(source="packages")
REGISTRY = BaseImage(source="registry")


def test_from_packages() -> None:
    """An archive in the cache, made by mmdebstrap from a package archive."""
    recipe = base_recipe(PACKAGES, CACHE, USER)
    assert recipe.rootfs == str(CACHE / f"base-{recipe.reference.rpartition(':')[2]}.tar")
    assert recipe.make is not None
    assert recipe.labels[debian.SUITE_LABEL] == "bookworm"
    line = debian.arguments("mmdebstrap", recipe, Path("/out.tar"), USER)
    assert line[0] == "mmdebstrap"
    assert line[-2:] == ["bookworm", "/out.tar"]
    assert any("git" in word for word in line if word.startswith("--include="))
    mirrored = base_recipe(evolve(PACKAGES, mirror="http://m.example/debian"), CACHE, USER)
    assert debian.arguments("m", mirrored, Path("/o"), USER)[-1] == "http://m.example/debian"


def test_from_a_registry() -> None:
    """A container file on a Debian image, with the same packages and the agent's account."""
    recipe = base_recipe(REGISTRY, CACHE, USER)
    assert recipe.containerfile is not None
    assert recipe.containerfile.startswith("FROM docker.io/library/debian:bookworm-slim\n")
    assert "useradd --uid 1000" in recipe.containerfile
    assert recipe.rootfs is None


def test_auto_is_what_the_machine_can(monkeypatch: Any) -> None:
    """With mmdebstrap no registry is needed; without it one is."""
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert base_recipe(BaseImage(), CACHE, USER).containerfile
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    assert base_recipe(BaseImage(), CACHE, USER).rootfs


def test_another_recipe_is_another_image() -> None:
    """Settings, account and an agent's lines are in the names."""
    names = {
        base_recipe(settings, CACHE, user).reference
        for settings in (PACKAGES, REGISTRY, evolve(PACKAGES, packages=("jq",)))
        for user in (USER, SandboxUser(uid=1001))
    }
    assert len(names) == 6
    base = base_recipe(PACKAGES, CACHE, USER)
    one = agent_recipe(base, Profile("a", command=("a",), install=("RUN one",)))
    two = agent_recipe(base, Profile("a", command=("a",), install=("RUN two",)))
    assert one.reference != two.reference
    assert one.base == base
    assert agent_recipe(base, Profile("a", command=("a",))) == base


@pytest.mark.parametrize("word", ["", "a b", "--help", "a;b", "ä", "$(x)", "a\n", "-x"])
def test_words_that_would_be_commands(word: str) -> None:
    """Names of packages and releases become arguments, so they are checked."""
    with pytest.raises(AileronError, match="not the name"):
        base_recipe(evolve(PACKAGES, packages=(word,)), CACHE, USER)
    with pytest.raises(AileronError, match="not the name"):
        base_recipe(evolve(PACKAGES, suite=word), CACHE, USER)


async def test_without_the_tool(tmp_path: Path, monkeypatch: Any) -> None:
    """A missing mmdebstrap is told, with the other way to get an image."""
    recipe = base_recipe(PACKAGES, tmp_path, USER)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(AileronError, match="mmdebstrap is not installed") as caught:
        await debian.make_archive(recipe, USER, lambda line: None)
    assert caught.value.exit_status == 69


async def test_an_archive_that_is_there_is_kept(tmp_path: Path, monkeypatch: Any) -> None:
    """Only an absent archive is made, unless a new one is asked for; two wait for each other."""
    recipe = base_recipe(PACKAGES, tmp_path, USER)
    assert recipe.rootfs is not None
    made = []

    async def fake(recipe: Any, target: Path, progress: Any, user: Any) -> None:
        made.append(target)
        await trio.lowlevel.checkpoint()
        await trio.Path(target).write_bytes(b"")

    monkeypatch.setattr(debian, "_make", fake)
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(debian.make_archive, recipe, USER, print)
    assert made == [Path(recipe.rootfs)]
    await debian.make_archive(recipe, USER, print, anew=True)
    assert len(made) == 2
