"""Images: what is here, and getting what is not.

Pull, import and build stream over the service's REST API, so that progress shows line by line and
cancelling stops the work. podman-py's own calls do neither: they block a thread, collect a build's
output until it ends, and write the container file into the build context, which is the person's
directory. What it does well is used: packing a context by ``.containerignore``.
"""

from __future__ import annotations

import io
import tarfile
import tempfile
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from datetime import datetime
from typing import Any, BinaryIO
from urllib.parse import quote

import trio

from aileron_core.backend import ImageInfo, Progress, Recipe
from aileron_core.errors import AileronError
from aileron_podman.errors import IMAGE_NOT_PROVIDED
from aileron_podman.machine import Machine
from aileron_podman.rest import ApiError, Rest

# Packing reads and writes files: a few at once are enough.
_PACKERS = trio.CapacityLimiter(2)
_CONTAINERFILE = ".aileron-containerfile"


def _environment(entries: list[str] | None) -> dict[str, str]:
    return dict(entry.partition("=")[::2] for entry in entries or ())


def _seconds(created: str) -> float:
    """Seconds since the epoch of Go's RFC 3339 time with nanoseconds; 0 when it is odd."""
    whole = created.split(".")[0].rstrip("Z") + "+00:00"
    try:
        return max(0.0, datetime.fromisoformat(whole).timestamp())
    except ValueError:
        return 0.0


def to_info(reference: str, found: Mapping[str, Any]) -> ImageInfo:
    """Podman's record of an image as ours."""
    config = found.get("Config") or {}
    return ImageInfo(
        reference=reference,
        id=str(found["Id"]),
        labels=dict(found.get("Labels") or config.get("Labels") or {}),
        env=_environment(config.get("Env")),
        user=str(config.get("User") or found.get("User") or ""),
        size=int(found.get("Size") or 0),
        created=_seconds(str(found.get("Created") or "")),
    )


def changes(recipe: Recipe) -> tuple[str, ...]:
    """Containerfile lines that an import applies."""
    return (
        *(f"ENV {name}={_quoted(value)}" for name, value in recipe.env.items()),
        *(f"LABEL {name}={_quoted(value)}" for name, value in recipe.labels.items()),
    )


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    return f'"{escaped}"'


def pack(recipe: Recipe) -> BinaryIO:
    """The build context with the container file in it, as an open tar file; blocking.

    The container file is added to the archive alone: the person's directory stays as it is.
    """
    from podman import api  # 140 ms, and only a build needs it

    if recipe.context is None:
        packed: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - handed to the caller
        mode = "w"
    else:
        ignored = api.prepare_containerignore(recipe.context)
        packed = api.create_tar(anchor=recipe.context, exclude=ignored)
        mode = "a"
    text = (recipe.containerfile or "").encode()
    packed.seek(0)
    with tarfile.open(fileobj=packed, mode=mode) as archive:  # type: ignore[call-overload]
        entry = tarfile.TarInfo(_CONTAINERFILE)
        entry.size, entry.mode = len(text), 0o644
        archive.addfile(entry, io.BytesIO(text))
    return packed


class Images:
    """The images of one service."""

    def __init__(self, rest: Rest, machine: Machine) -> None:
        self._rest = rest
        self._machine = machine

    async def info(self, reference: str) -> ImageInfo | None:
        """The image, if it is here.

        Raises:
            AileronError: ``podman-unavailable``, ``podman-refused``.
        """
        try:
            found = await self._rest.call("GET", f"/images/{quote(reference, safe='')}/json")
        except ApiError as error:
            if error.status in (400, 404):  # 400: no reference at all, so no image either
                return None
            raise _not_provided(reference, error.message) from error
        return to_info(reference, found)

    async def provide(self, recipe: Recipe, progress: Progress) -> ImageInfo:
        """Pull, import or build.

        Raises:
            AileronError: ``image-not-provided``.
        """
        try:
            if recipe.containerfile is not None:
                await self._build(recipe, progress)
            elif recipe.rootfs is not None:
                await self._import(recipe, progress)
            elif recipe.pull:
                await self._pull(recipe, progress)
        except (ApiError, OSError) as error:
            raise _not_provided(recipe.reference, _what(error)) from error
        found = await self.info(recipe.reference)
        if found is None:
            raise _not_provided(recipe.reference, "it is still not there")
        return found

    async def _pull(self, recipe: Recipe, progress: Progress) -> None:
        query = {"reference": recipe.reference, "policy": "always", "quiet": False}
        await self._follow(recipe, progress, self._rest.lines("POST", "/images/pull", query))

    async def _import(self, recipe: Recipe, progress: Progress) -> None:
        assert recipe.rootfs is not None
        progress(f"importing {recipe.reference}")
        query = {"reference": recipe.reference, "changes": changes(recipe)}
        with open(recipe.rootfs, "rb") as archive:  # noqa: ASYNC230 - read in pieces, between awaits
            lines = self._rest.lines("POST", "/images/import", query, archive)
            await self._follow(recipe, progress, lines)

    async def _build(self, recipe: Recipe, progress: Progress) -> None:
        packed = await trio.to_thread.run_sync(pack, recipe, limiter=_PACKERS)
        files, processes = self._machine.hard_files, self._machine.hard_processes
        query = {
            "t": recipe.reference,
            "dockerfile": _CONTAINERFILE,
            "buildargs": dict(recipe.build_args),
            "labels": dict(recipe.labels),
            "ulimits": [f"nofile={files}:{files}", f"nproc={processes}:{processes}"],
            "forcerm": True,
            "rm": True,
            "layers": True,
        }
        with packed:
            lines = self._rest.lines("POST", "/build", query, packed)
            await self._follow(recipe, progress, lines)

    async def _follow(
        self, recipe: Recipe, progress: Progress, lines: AsyncGenerator[Any, None]
    ) -> None:
        """Tell progress; the last words before an error say why."""
        said: list[str] = []
        async with aclosing(lines):
            async for line in lines:
                if error := line.get("error"):
                    raise _not_provided(recipe.reference, str(error), said[-8:])
                for text in str(line.get("stream") or "").splitlines():
                    said.append(text)
                    progress(text)
                del said[:-8]


def _what(error: Exception) -> str:
    return error.message if isinstance(error, ApiError) else str(error)


def _not_provided(reference: str, why: str, said: list[str] | None = None) -> AileronError:
    last = " | ".join(said or ())
    return IMAGE_NOT_PROVIDED(
        f"the image {reference} could not be provided",
        why=f"{why} (its last words: {last})" if last else why,
        hints=["check the reference and the network", "aileron sandbox check"],
    )
