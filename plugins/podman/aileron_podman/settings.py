"""The table ``[podman]`` of the configuration."""

from __future__ import annotations

from attrs import frozen

from aileron_core.config import setting


@frozen
class PodmanSettings:
    """How the Podman backend finds its service and builds containers."""

    socket: str = setting(
        "", "Path of Podman's service socket; empty: a live one is found, or a service is started."
    )
    runtime: str = setting(
        "", "OCI runtime (`runc`, `crun` or a path); empty: what works on this machine is chosen."
    )
    uid_base: int = setting(
        0, "First host uid of sandboxes when Podman runs as root; 0: an unused range is chosen."
    )
