"""The hooks of the Podman backend. Imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aileron_core.hookspecs import hookimpl
from aileron_core.records import BackendFactory
from aileron_podman.settings import PodmanSettings

if TYPE_CHECKING:
    from aileron_core.backend import Backend, BackendContext


async def _open(context: BackendContext) -> Backend:
    from aileron_podman.backend import open_backend  # imports trio: only where a backend is used

    return await open_backend(context)


@hookimpl
def aileron_backends() -> list[BackendFactory]:
    """Podman, rootful or rootless, on this machine."""
    return [BackendFactory("podman", "Podman 4.3 or later, rootful or rootless", _open)]


@hookimpl
def aileron_settings() -> type[PodmanSettings]:
    """The table ``[podman]``."""
    return PodmanSettings
