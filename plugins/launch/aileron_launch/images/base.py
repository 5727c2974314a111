"""The base tier: a small Debian, and agents installed on top of it.

References are hashes of what the images are made of, so that a changed recipe is another image.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from attrs import evolve

from aileron_core.backend import Recipe, SandboxUser
from aileron_core.errors import EXIT_CONFIG, ErrorCode
from aileron_launch.images.debian import (
    MIRROR_LABEL,
    PACKAGES_LABEL,
    SUITE_LABEL,
    add_user,
    make_archive,
)
from aileron_launch.profiles import Profile
from aileron_launch.settings import BaseImage

BASE_INVALID = ErrorCode(
    "base-invalid", EXIT_CONFIG, "The settings of the base image cannot be used."
)

REVISION = 1
"""Goes into the hash: raise it when the same settings must give another image."""

PACKAGES = (
    "bash", "bzip2", "ca-certificates", "curl", "diffutils", "file", "git", "less", "patch",
    "procps", "python3", "unzip", "xz-utils",
)  # fmt: skip
"""What every agent expects to find, besides Debian's essential packages and apt."""

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def digest(*parts: object) -> str:
    """A short hash of JSON-able parts."""
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def base_recipe(
    settings: BaseImage, cache: Path, user: SandboxUser, *, anew: bool = False
) -> Recipe:
    """The recipe of the base image, from a registry or from Debian's packages.

    ``anew``: its archive is made again although there is one, with the packages of today.

    Raises:
        AileronError: ``base-invalid``.
    """
    packages = sorted({*PACKAGES, *settings.packages})
    _check_words([settings.suite, *packages])
    labels = {"io.aileron.tier": "base", PACKAGES_LABEL: " ".join(packages)}
    if _from_packages(settings):
        key = digest(REVISION, settings.suite, settings.mirror, packages, user.uid, user.gid)
        labels |= {SUITE_LABEL: settings.suite, MIRROR_LABEL: settings.mirror or ""}
        recipe = Recipe(
            f"localhost/aileron-base:{key}",
            rootfs=str(cache / f"base-{key}.tar"),
            labels=labels,
            env={"PATH": PATH},
        )
        return evolve(recipe, make=partial(make_archive, recipe, user, anew=anew))
    text = base_containerfile(settings.image, packages, user)
    key = digest(REVISION, text)
    return Recipe(f"localhost/aileron-base:{key}", containerfile=text, labels=labels)


def _from_packages(settings: BaseImage) -> bool:
    if settings.source != "auto":
        return settings.source == "packages"
    return shutil.which("mmdebstrap") is not None


def _check_words(words: Iterable[str]) -> None:
    """Names of packages and suites: they become arguments and Containerfile text."""
    for word in words:
        if not word or not all(
            char.isascii() and (char.isalnum() or char in "+-.:") for char in word
        ):
            raise BASE_INVALID(f"{word!r} is not the name of a Debian package or release")
        if not word[0].isalnum():
            raise BASE_INVALID(f"{word!r} is not the name of a Debian package or release")


def base_containerfile(image: str, packages: Iterable[str], user: SandboxUser) -> str:
    """The base image on top of a Debian image from a registry."""
    install = "apt-get update && apt-get install -y --no-install-recommends"
    return "\n".join(
        (
            f"FROM {image}",
            f"RUN {install} {' '.join(packages)} && rm -rf /var/lib/apt/lists/*",
            f"RUN {add_user(user)}",
            "",
        )
    )


def agent_recipe(base: Recipe, profile: Profile) -> Recipe:
    """The base image with an agent installed in it; the base itself when it needs nothing."""
    if not profile.install:
        return base
    text = "\n".join((f"FROM {base.reference}", *profile.install, ""))
    return Recipe(
        f"localhost/aileron-{profile.name}:{digest(REVISION, text)}",
        containerfile=text,
        labels={"io.aileron.tier": "base", "io.aileron.agent": profile.name},
        base=base,
    )
