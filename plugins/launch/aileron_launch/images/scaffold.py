"""A first ``.devcontainer/`` for a project: what its files tell about what it needs. Pure but for
`infer`, which looks which files exist, and `write`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from attrs import frozen

from aileron_core.errors import EXIT_CANNOT_CREATE, ErrorCode

SCAFFOLD_EXISTS = ErrorCode(
    "devcontainer-exists", EXIT_CANNOT_CREATE, "The workspace has a devcontainer already."
)

REGISTRY_BASE = "docker.io/library/debian:bookworm-slim"
ALWAYS = ("bash", "ca-certificates", "curl", "git", "less", "procps", "ripgrep")

# A file that projects have, the Debian packages it calls for, and what it is.
_SIGNS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("pyproject.toml", ("python3", "python3-pip", "python3-venv"), "a Python project"),
    ("setup.py", ("python3", "python3-pip", "python3-venv"), "a Python project"),
    ("requirements.txt", ("python3", "python3-pip", "python3-venv"), "Python requirements"),
    ("package.json", ("nodejs", "npm"), "a Node project"),
    ("go.mod", ("golang",), "a Go module"),
    ("Cargo.toml", ("cargo", "rustc"), "a Rust crate"),
    ("Gemfile", ("ruby", "ruby-dev", "bundler"), "a Ruby project"),
    ("composer.json", ("php-cli", "composer"), "a PHP project"),
    ("pom.xml", ("default-jdk-headless", "maven"), "a Maven project"),
    ("build.gradle", ("default-jdk-headless", "gradle"), "a Gradle project"),
    ("CMakeLists.txt", ("build-essential", "cmake"), "a CMake project"),
    ("configure.ac", ("build-essential", "autoconf", "automake"), "an autotools project"),
    ("Makefile", ("build-essential",), "a Makefile"),
)


@frozen
class Inference:
    """Packages, and the file of the workspace that they are for."""

    file: str
    packages: tuple[str, ...]
    reason: str


def infer(workspace: Path) -> tuple[Inference, ...]:
    """What the workspace's files call for, in the order of the list above."""
    return tuple(
        Inference(file, packages, what)
        for file, packages, what in _SIGNS
        if (workspace / file).is_file()
    )


def packages_of(found: Iterable[Inference]) -> tuple[str, ...]:
    """All packages, each once, sorted."""
    return tuple(sorted({*ALWAYS, *(name for one in found for name in one.packages)}))


def render_containerfile(found: Sequence[Inference], base: str = REGISTRY_BASE) -> str:
    """The container file, which says why each package is in it."""
    reasons = [f"#   {one.file}: {', '.join(one.packages)} ({one.reason})" for one in found]
    return "\n".join(
        (
            "# What the agent finds in its sandbox. Change it freely, then:",
            "#   aileron config trust && aileron sandbox build",
            "#",
            "# Without a registry: give BASE the image that",
            "# `aileron sandbox build --image base` makes from Debian's packages.",
            f"ARG BASE={base}",
            "FROM ${BASE}",
            "",
            "# What every agent expects, and what these files call for:",
            *(reasons or ["#   (no file told of a language)"]),
            "RUN apt-get update \\",
            "    && apt-get install -y --no-install-recommends \\",
            *(f"        {name} \\" for name in packages_of(found)),
            "    && rm -rf /var/lib/apt/lists/*",
            "",
            "# The agent is this user, whatever the image says; its home must be its own.",
            "RUN getent passwd 1000 || useradd --uid 1000 --create-home --shell /bin/bash agent",
            "",
        )
    )


DEVCONTAINER = """\
// The sandbox's image for this project. Aileron reads this file once you have said
// `aileron config trust`; a change of it has to be trusted again.
{
  "name": "sandbox",
  "build": {
    "dockerfile": "Containerfile",
    // What COPY lines refer to. ".." is the whole project.
    "context": "."
  },
  // Variables for the agent. "${localEnv:NAME}" is left out: nothing of the host goes in.
  "containerEnv": {},
  "customizations": {
    "aileron": {
      // Put the agent that is launched (claude, codex, …) on top of this image.
      "install_agent": true
      // "image": "host" or a reference: use that instead of the build above.
    }
  }
  // These are never done: initializeCommand (it would run on the host), privileged, runArgs,
  // mounts, capAdd, securityOpt (they would loosen the sandbox).
}
"""


def write(workspace: Path, files: Iterable[tuple[str, str]], *, force: bool = False) -> list[Path]:
    """Write files into ``.devcontainer/``; what is there stays, unless ``force``.

    Raises:
        AileronError: ``devcontainer-exists``.
    """
    folder = workspace / ".devcontainer"
    wanted = [(folder / name, text) for name, text in files]
    there = [path for path, _ in wanted if os.path.lexists(path)]
    if os.path.lexists(workspace / ".devcontainer.json"):
        there.append(workspace / ".devcontainer.json")
    if there and not force:
        raise SCAFFOLD_EXISTS(
            f"{there[0]} exists",
            hints=["look at it, or overwrite it: aileron sandbox init --force"],
        )
    if folder.is_symlink():
        raise SCAFFOLD_EXISTS(f"{folder} is a symbolic link", hints=["remove it"])
    folder.mkdir(exist_ok=True)
    for path, text in wanted:
        part = path.with_name(f".{path.name}.part")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        with open(os.open(part, flags, 0o644), "w", encoding="utf-8") as file:
            file.write(text)
        part.replace(path)
    return [path for path, _ in wanted]
