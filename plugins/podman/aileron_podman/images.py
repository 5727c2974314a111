"""Images: what is here, and getting what is not.

Pull, import and build stream over the service's REST API, so that progress shows line by line and
cancelling stops the work.
"""

from __future__ import annotations

import io
import tarfile
import tempfile
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

import trio
from attrs import evolve

from aileron_core.backend import ImageInfo, Progress, Recipe
from aileron_core.errors import AileronError
from aileron_podman.errors import IMAGE_NOT_PROVIDED
from aileron_podman.machine import Machine
from aileron_podman.rest import ApiError, Rest

# Packing reads and writes files: a few at once are enough.
_PACKERS = trio.CapacityLimiter(2)
_CONTAINERFILE = ".aileron-containerfile"
_REMEMBERED = 64
"""Images whose record is kept."""


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
    """What an import applies; Podman takes the rest of each line as it is, quotes and all."""
    return (
        *(f"ENV {name}={value}" for name, value in recipe.env.items()),
        *(f"LABEL {name}={value}" for name, value in recipe.labels.items()),
    )


def ignored(text: str) -> frozenset[str]:
    """Paths that an ignore file leaves out whole.

    Podman applies the file itself when it copies; this only spares sending what it names plainly.
    One exception ("!") anywhere, and everything is sent.
    """
    lines = [line.strip() for line in text.splitlines()]
    patterns = [line for line in lines if line and not line.startswith("#")]
    if any(pattern.startswith("!") for pattern in patterns):
        return frozenset()
    plain = (pattern.strip("/") for pattern in patterns if not set(pattern) & set("*?[\\"))
    return frozenset(path for path in plain if path)


def _ignore_file(context: Path) -> str:
    for name in (".containerignore", ".dockerignore"):
        if (context / name).is_file():
            return (context / name).read_text(errors="replace")
    return ""


def pack(recipe: Recipe) -> BinaryIO:
    """The build context with the container file in it, as an open tar file; blocking.

    The container file is added to the archive alone: the person's directory stays as it is.
    """
    packed: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - handed to the caller
    try:
        with tarfile.open(fileobj=packed, mode="w") as archive:
            if recipe.context is not None:
                left_out = ignored(_ignore_file(Path(recipe.context)))
                archive.add(recipe.context, arcname="", filter=partial(_entry, left_out))
            text = (recipe.containerfile or "").encode()
            entry = tarfile.TarInfo(_CONTAINERFILE)
            entry.size, entry.mode = len(text), 0o644
            archive.addfile(entry, io.BytesIO(text))
    except BaseException:
        packed.close()
        raise
    return packed


def _entry(left_out: frozenset[str], info: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Files, directories and links as links; nobody's names and numbers."""
    if info.name in left_out or not (info.isfile() or info.isdir() or info.issym()):
        return None
    info.uid = info.gid = 0
    info.uname = info.gname = "root"
    return info


class Images:
    """The images of one service."""

    def __init__(self, rest: Rest, machine: Machine) -> None:
        self._rest = rest
        self._machine = machine
        self._known: dict[str, ImageInfo] = {}

    async def info(self, reference: str) -> ImageInfo | None:
        """The image, if it is here.

        Inspecting an image adds up its layers, which takes longer than everything else here. An
        image's id is the digest of all that is said of it, so each id is inspected once; the newest
        entry of its history names the id that the reference stands for now.

        Raises:
            AileronError: ``podman-unavailable``, ``podman-refused``.
        """
        with suppress(ApiError):  # what is wrong with a reference, inspecting it says
            history = await self._get(reference, "history")
            known = self._known.get(history[0]["Id"]) if history else None
            if known is not None:
                return evolve(known, reference=reference)
        found = await self._inspect(reference)
        if found is None:
            return None
        info = to_info(reference, found)
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[info.id] = info
        return info

    async def _get(self, reference: str, what: str) -> Any:
        return await self._rest.call("GET", f"/images/{quote(reference, safe='')}/{what}")

    async def _inspect(self, reference: str) -> Any:
        try:
            return await self._get(reference, "json")
        except ApiError as error:
            if error.status in (400, 404):  # 400: no reference at all, so no image either
                return None
            raise not_provided(reference, error.message) from error

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
            raise not_provided(recipe.reference, _what(error)) from error
        found = await self.info(recipe.reference)
        if found is None:
            raise not_provided(recipe.reference, "it is still not there")
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
                    raise not_provided(recipe.reference, str(error), said[-8:])
                for text in str(line.get("stream") or "").splitlines():
                    said.append(text)
                    progress(text)
                del said[:-8]


def _what(error: Exception) -> str:
    return error.message if isinstance(error, ApiError) else str(error)


def not_provided(reference: str, why: str, said: list[str] | None = None) -> AileronError:
    """What went wrong with an image, its last words, and the mend that fits."""
    last = " | ".join(said or ())
    return IMAGE_NOT_PROVIDED(
        f"the image {reference} could not be provided",
        why=f"{why.strip()} (its last words: {last})" if last else why.strip(),
        hints=_mends(why),
    )


def _mends(why: str) -> list[str]:
    if "subuid" in why:  # containers/storage: the user has no range of subordinate ids
        return [
            "sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER",
            "then: podman system migrate",
        ]
    return [
        "check the reference and the network",
        "or choose an image that is here: aileron launch --image host, or --image REF",
    ]
