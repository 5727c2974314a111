"""What can go wrong with Podman, as error codes with exit statuses."""

from __future__ import annotations

from aileron_core.errors import (
    EXIT_CANNOT_CREATE,
    EXIT_CONFIG,
    EXIT_DENIED,
    EXIT_NO_INPUT,
    EXIT_OS,
    EXIT_UNAVAILABLE,
    ErrorCode,
)

PODMAN_MISSING = ErrorCode(
    "podman-missing", EXIT_UNAVAILABLE, "Podman, or the OCI runtime it needs, is not installed."
)
PODMAN_UNAVAILABLE = ErrorCode(
    "podman-unavailable", EXIT_UNAVAILABLE, "Podman's service does not answer."
)
PODMAN_TOO_OLD = ErrorCode(
    "podman-too-old", EXIT_UNAVAILABLE, "Podman is older than the oldest that Aileron works with."
)
PODMAN_REMOTE = ErrorCode(
    "podman-remote", EXIT_UNAVAILABLE, "A remote Podman socket cannot do what was asked."
)
PODMAN_REFUSED = ErrorCode(
    "podman-refused", EXIT_OS, "Podman refused a request that Aileron expected to work."
)
PODMAN_SETTING = ErrorCode(
    "podman-setting", EXIT_CONFIG, "A value under [podman] does not fit this machine."
)
IMAGE_ABSENT = ErrorCode("image-absent", EXIT_NO_INPUT, "The image is not on this machine.")
IMAGE_NOT_PROVIDED = ErrorCode(
    "image-not-provided", EXIT_CANNOT_CREATE, "An image could not be pulled, imported or built."
)
SANDBOX_NOT_SEALED = ErrorCode(
    "sandbox-not-sealed", EXIT_DENIED, "A created container is not confined as it was asked to be."
)
SANDBOX_GONE = ErrorCode("sandbox-gone", EXIT_UNAVAILABLE, "The container is not there any more.")
LIMIT_UNSUPPORTED = ErrorCode(
    "limit-unsupported", EXIT_OS, "The kernel or Podman cannot hold a limit that was asked for."
)
MOUNT_FAILED = ErrorCode("mount-failed", EXIT_OS, "A mount of the sandbox could not be made.")
LISTENER_FAILED = ErrorCode(
    "listener-failed", EXIT_OS, "A socket could not be opened inside the sandbox."
)
