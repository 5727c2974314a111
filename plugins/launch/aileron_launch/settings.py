"""``[launch]``: what a session is like unless its flags say otherwise.

A project's own file (from a repository that nobody vetted) may ask for less: smaller limits, a
shorter time, a read-only or overlaid workspace, more protected paths. It may not choose an image,
add mounts or variables, or take a path off the protected ones, until the person trusts it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from attrs import frozen

from aileron_core.config.setting import setting
from aileron_launch.units import parse_duration, parse_size

PROTECTED = (
    # Git runs hooks, and programs that its configuration names, at the next command on the host.
    ".git/hooks/",
    ".git/config",
    ".git/config.worktree",
    ".git/commondir",
    # With it, `objects` and `refs` a directory without a valid .git is a repository, whose `config`
    # Git obeys.
    "HEAD/",
    # It overrides a person's own diff.ignoreSubmodules, which keeps Git out of nested repositories.
    ".gitmodules/",
    # Read by Aileron itself, by editors and by container tools when the project is opened.
    ".aileron.toml/",
    ".devcontainer/",
    ".devcontainer.json/",
    ".vscode/",
    ".idea/",
    ".zed/",
    # Agents' own settings: hooks and servers that they start.
    ".claude/",
    ".mcp.json/",
    ".cursor/",
    ".codex/",
    ".gemini/",
    # Git hooks kept in the tree (core.hooksPath) by the most used helper.
    ".husky/",
    # Shell start-up files, for the case that the workspace is somebody's home or dotfiles.
    ".bashrc/",
    ".bash_profile/",
    ".bash_login/",
    ".profile/",
    ".zshrc/",
    ".zshenv/",
    ".zprofile/",
    ".zlogin/",
    ".config/fish/",
)
"""Never writable, even when absent at start. A trailing slash says what stands in for an absent one
while the session lives: an empty directory, which Git does not see, instead of an empty file."""

PROTECTED_IF_PRESENT = (
    # Run by hooks that may be installed already, at the next commit on the host.
    ".pre-commit-config.yaml",
    "lefthook.yml",
    ".lefthook.yml",
    ".githooks/",
    # Trusted by place and not by content, so that a change runs without a question.
    "mise.toml",
    ".mise.toml",
    ".exrc",
    ".nvim.lua",
    ".vimrc",
    ".opencode/",
    "opencode.json",
    ".aider.conf.yml",
    ".goosehints",
)
"""Not writable when they exist at start; one that comes into being later runs nothing by itself."""

_STRICTER_WORKSPACE = {"rw": 0, "overlay": 1, "ro": 2}


def _smaller(now: float | None, wanted: float | None) -> bool:
    """Whether a limit is at least as tight as the one so far (None: no limit)."""
    return wanted is not None and (now is None or wanted <= now)


def _smaller_size(now: str | None, wanted: str | None) -> bool:
    try:
        return _smaller(*(None if text is None else parse_size(text) for text in (now, wanted)))
    except ValueError:
        return False


def _shorter(now: str | None, wanted: str | None) -> bool:
    try:
        return _smaller(*(None if text is None else parse_duration(text) for text in (now, wanted)))
    except ValueError:
        return False


def _stricter_workspace(now: str, wanted: str) -> bool:
    return _STRICTER_WORKSPACE[wanted] >= _STRICTER_WORKSPACE[now]


def _anything(now: Any, wanted: Any) -> bool:
    """Adding to a list of what is protected only ever makes things stricter."""
    return True


@frozen
class BaseImage:
    """``[launch.base]``: the image that is used when nothing else is there."""

    source: Literal["auto", "packages", "registry"] = setting(
        "auto",
        "`registry`: build on `image`; `packages`: make it from Debian's packages with mmdebstrap; "
        "`auto`: packages when mmdebstrap is installed and Aileron may use it, else the registry.",
    )
    image: str = setting(
        "docker.io/library/debian:bookworm-slim", "The image that a registry gives."
    )
    suite: str = setting("bookworm", "The Debian release that packages are taken from.")
    mirror: str | None = setting(
        None, "The package archive; unset: the one that this machine's own apt uses."
    )
    packages: tuple[str, ...] = setting((), "Debian packages to add to the base image.")


_BASE = BaseImage()


@frozen
class Settings:
    """``[launch]``."""

    backend: str = setting("podman", "The backend that runs sandboxes.")
    image: str | None = setting(
        None,
        "`host`, `base`, `devcontainer` or an image reference; unset: a trusted devcontainer, else "
        "host when the agent is installed on the host, else base with the agent installed in it.",
    )
    build: Literal["auto", "always", "never"] = setting(
        "auto", "When an image is fetched or built: when it is missing, always, or never."
    )
    base: BaseImage = setting(_BASE, "The base image.")
    workspace: Literal["rw", "ro", "overlay"] = setting(
        "rw",
        "How the sandbox sees the workspace: writable, read-only, or with its changes kept aside "
        "until `sessions apply`.",
        project="tighten",
        tighter=_stricter_workspace,
    )
    protected: tuple[str, ...] = setting(
        PROTECTED,
        "Paths in the workspace that are never writable, even when absent at start.",
        project="tighten",
        tighter=_anything,
        merge="append",
    )
    protected_if_present: tuple[str, ...] = setting(
        PROTECTED_IF_PRESENT,
        "Paths in the workspace that are not writable when they exist at start.",
        project="tighten",
        tighter=_anything,
        merge="append",
    )
    unprotected: tuple[str, ...] = setting(
        (), "Paths to take off the two lists above, written as they are there."
    )
    memory: str | None = setting(
        "4g", "Memory with swap, for example `2g`.", project="tighten", tighter=_smaller_size
    )
    cpus: float | None = setting(
        None, "CPUs, for example 1.5; unset: all.", project="tighten", tighter=_smaller
    )
    pids: int | None = setting(1024, "Processes and threads.", project="tighten", tighter=_smaller)
    files: int | None = setting(
        4096, "Open files of one process.", project="tighten", tighter=_smaller
    )
    timeout: str | None = setting(
        None,
        "How long the agent may run, for example `1h30m`.",
        project="tighten",
        tighter=_shorter,
    )
    mounts: tuple[str, ...] = setting(
        (),
        "More of the host's paths, `SOURCE[:TARGET[:ro|rw]]`; read-only unless said.",
        merge="append",
    )
    env: Mapping[str, str] = setting({}, "Variables for the agent.", merge="append")
    state: Literal["session", "kept"] = setting(
        "session",
        "Whether an agent's own settings and history end with the session or are kept, apart from "
        "the host's, for its next one.",
        project="tighten",
        tighter=lambda now, wanted: wanted == "session" or now == "kept",
    )
