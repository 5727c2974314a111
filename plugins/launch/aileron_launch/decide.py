"""The planner's decisions, without any looking at files: pure, so that each is tested alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeVar

from attrs import frozen

from aileron_core.backend import Limits
from aileron_core.errors import EXIT_CONFIG, EXIT_NO_INPUT, ErrorCode
from aileron_core.nearest import nearest
from aileron_launch.profiles import Profile, load_profiles
from aileron_launch.settings import Settings
from aileron_launch.units import parse_duration, parse_size, show_size

Tier = Literal["base", "devcontainer", "byo", "host"]
T = TypeVar("T")

AGENT_MISSING = ErrorCode(
    "agent-missing", EXIT_NO_INPUT, "The agent or command is not where it was looked for."
)
LIMIT_INVALID = ErrorCode(
    "limit-invalid", EXIT_CONFIG, "A limit is not an amount, or too small for anything to run."
)
IMAGE_INVALID = ErrorCode(
    "image-invalid", EXIT_CONFIG, "The value given as an image is no image reference."
)

SMALLEST_MEMORY = 16 << 20
"""Bytes; less does not start a shell in every runtime."""
SMALLEST_PIDS = 8
SMALLEST_FILES = 64

# A conservative subset of the reference grammar of distribution/reference.
_REFERENCE = re.compile(
    r"(?:[a-z0-9]+(?:[.-][a-z0-9]+)*(?::\d{1,5})?/)?"
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[a-f0-9]{64})?"
)
_IMAGE_ID = re.compile(r"(?:sha256:)?[a-f0-9]{12,64}")


@frozen
class TierChoice:
    """Which tier, and why."""

    tier: Tier
    reference: str = ""
    """For byo only."""
    reason: str = ""


@frozen
class Findings:
    """What was found out before the tier is chosen."""

    devcontainer: Literal["none", "untrusted", "trusted"] = "none"
    on_host: bool = False
    """The agent (or command, or a shell) runs on the host."""


def choose_tier(
    image: str | None, agent: str, profile: Profile | None, found: Findings
) -> TierChoice:
    """The tier for a session.

    Raises:
        AileronError: ``image-invalid``; ``agent-missing`` when nothing could run the agent.
    """
    if image in ("host", "base", "devcontainer"):
        return _asked(image, agent, found)
    if image is not None:
        if not (_REFERENCE.fullmatch(image) or _IMAGE_ID.fullmatch(image)):
            raise IMAGE_INVALID(
                f"{image!r} is no image reference",
                hints=["give host, base, devcontainer or for example docker.io/library/debian:12"],
            )
        return TierChoice("byo", image, f"the image {image} was asked for")
    if found.devcontainer == "trusted":
        return TierChoice("devcontainer", reason="the workspace has a trusted devcontainer")
    if found.on_host:
        return TierChoice("host", reason=f"{agent} is installed on this machine")
    if profile is not None and profile.install:
        return TierChoice(
            "base", reason=f"{agent} is not installed on this machine, so an image is made with it"
        )
    raise AGENT_MISSING(
        f"{agent} is neither a known agent nor a command on this machine",
        why="no image was chosen, and the base image has no recipe for it",
        hints=[
            *_agent_meant(agent),
            f"install {agent} and launch again",
            "choose an image that has it: aileron launch --image REF",
            "describe it as a profile (docs/agents.md)",
        ],
    )


def _agent_meant(agent: str) -> list[str]:
    found = nearest(agent, load_profiles())
    return [f"did you mean {found!r}?"] if found else []


def _asked(image: str, agent: str, found: Findings) -> TierChoice:
    reason = f"[launch] image or --image says {image}"
    if image == "host":
        if not found.on_host:
            raise AGENT_MISSING(
                f"{agent} is not installed on this machine",
                why="the host tier runs what the host has",
                hints=[f"install {agent}", "aileron launch --image base"],
            )
        return TierChoice("host", reason=reason)
    return TierChoice("base" if image == "base" else "devcontainer", reason=reason)


def command_line(
    agent: str | None, args: Sequence[str], profile: Profile | None, shell: str
) -> tuple[str, ...]:
    """What runs in the sandbox."""
    if profile is not None:
        return (*profile.command, *args)
    return (agent if agent is not None else shell, *args)


def limits_of(settings: Settings) -> Limits:
    """The limits that the settings ask for.

    Raises:
        AileronError: ``limit-invalid``, naming the setting.
    """
    memory = _amount("memory", settings.memory, parse_size)
    if memory is not None and memory < SMALLEST_MEMORY:
        raise LIMIT_INVALID(f"launch.memory must be at least {show_size(SMALLEST_MEMORY)}")
    if settings.cpus is not None and not 0.01 <= settings.cpus <= 4096:
        raise LIMIT_INVALID("launch.cpus must be between 0.01 and 4096")
    _at_least("pids", settings.pids, SMALLEST_PIDS)
    _at_least("files", settings.files, SMALLEST_FILES)
    return Limits(memory=memory, cpus=settings.cpus, pids=settings.pids, files=settings.files)


def timeout_of(settings: Settings) -> float | None:
    """Seconds that the agent may run.

    Raises:
        AileronError: ``limit-invalid``.
    """
    return _amount("timeout", settings.timeout, parse_duration)


def _amount(name: str, text: str | None, parse: Callable[[str], T]) -> T | None:
    try:
        return None if text is None else parse(text)
    except ValueError as error:
        raise LIMIT_INVALID(f"launch.{name}: {error}") from None


def _at_least(name: str, value: int | None, least: int) -> None:
    if value is not None and not least <= value <= 1 << 22:
        raise LIMIT_INVALID(f"launch.{name} must be between {least} and {1 << 22}")


def merge_environment(
    *layers: Mapping[str, str],
) -> dict[str, str]:
    """Variables, later layers over earlier ones."""
    return {name: value for layer in layers for name, value in layer.items()}


def protection_note(paths: Sequence[str]) -> str:
    """What the summary says about never-writable paths."""
    return "never writable: " + ", ".join(path.rstrip("/") for path in paths)
