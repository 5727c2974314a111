"""The devcontainer tier: ``.devcontainer/devcontainer.json`` of a repository, once it is trusted.

A repository that nobody vetted must not choose what runs, so the file counts only after
`aileron config trust`. Even then nothing of it runs on the host and nothing loosens the sandbox:
what would is left out, with a note that says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from attrs import field, frozen

from aileron_core.backend import Recipe, SandboxUser
from aileron_core.config.files import read_bytes
from aileron_core.config.trust import digest_path, is_trusted
from aileron_core.errors import EXIT_CONFIG, AileronError, ErrorCode
from aileron_core.paths import Paths
from aileron_launch.images import jsonc
from aileron_launch.images.base import digest
from aileron_launch.profiles import Profile

DEVCONTAINER_INVALID = ErrorCode(
    "devcontainer-invalid", EXIT_CONFIG, "devcontainer.json cannot be used."
)
DEVCONTAINER_UNTRUSTED = ErrorCode(
    "devcontainer-untrusted", EXIT_CONFIG, "The workspace's devcontainer was not trusted."
)

FOLDER = ".devcontainer"
PLACES = (f"{FOLDER}/devcontainer.json", ".devcontainer.json")

ON_HOST = ("initializeCommand",)
LOOSENING = (
    "privileged", "capAdd", "securityOpt", "runArgs", "mounts", "workspaceMount", "workspaceFolder",
    "appPort", "hostRequirements", "secrets", "init", "gpu",
)  # fmt: skip
INSIDE = (
    "onCreateCommand", "updateContentCommand", "postCreateCommand", "postStartCommand",
    "postAttachCommand",
)  # fmt: skip
NOT_YET = ("features", "overrideFeatureInstallOrder", "forwardPorts", "portsAttributes")
HARMLESS = (
    "$schema", "name", "image", "build", "dockerFile", "context", "remoteUser", "containerUser",
    "containerEnv", "remoteEnv", "customizations", "settings", "extensions", "shutdownAction",
    "waitFor", "userEnvProbe", "updateRemoteUserUID", "overrideCommand", "otherPortsAttributes",
)  # fmt: skip

Trust = Literal["none", "untrusted", "trusted"]
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@frozen
class Devcontainer:
    """What a devcontainer.json asks for, as far as a sandbox grants it."""

    path: Path
    image: str | None = None
    dockerfile: Path | None = None
    context: Path | None = None
    build_args: Mapping[str, str] = field(factory=dict)
    user: SandboxUser | None = None
    env: Mapping[str, str] = field(factory=dict)
    own_image: str | None = None
    """``customizations.aileron.image``: used instead of the rest."""
    install_agent: bool = False
    """``customizations.aileron.install_agent``: put the agent's recipe on top of the image."""
    notes: tuple[str, ...] = ()


def find_devcontainer(workspace: Path) -> Path | None:
    """The devcontainer file of a workspace."""
    for place in PLACES:
        if (workspace / place).is_file():
            return workspace / place
    return None


def trust_of(paths: Paths, workspace: Path) -> Trust:
    """Whether there is a devcontainer, and whether the person trusts what it holds now."""
    found = find_devcontainer(workspace)
    if found is None:
        return "none"
    pinned = workspace / FOLDER if found.parent.name == FOLDER else found
    try:
        return "trusted" if is_trusted(paths, pinned) else "untrusted"
    except AileronError:  # too big or odd to be pinned, hence to be trusted
        return "untrusted"


def read_devcontainer(workspace: Path, file: Path) -> Devcontainer:
    """The workspace's devcontainer.

    Raises:
        AileronError: ``devcontainer-invalid``, with the position where it can be told.
    """
    content = read_bytes(file, hostile=True) or b""
    try:
        data = jsonc.parse(content.decode("utf-8"))
    except (jsonc.JsoncError, UnicodeDecodeError) as error:
        raise DEVCONTAINER_INVALID(f"{file} cannot be read", why=str(error)) from None
    if not isinstance(data, dict):
        raise DEVCONTAINER_INVALID(f"{file} is not a JSON object")
    return _Reader(workspace, file, data).read()


@frozen
class _Reader:
    """Takes one file's data apart."""

    workspace: Path
    file: Path
    data: Mapping[str, Any] = field(repr=False)

    def fail(self, why: str, *hints: str) -> AileronError:
        return DEVCONTAINER_INVALID(f"{self.file}: {why}", hints=hints)

    def read(self) -> Devcontainer:
        """Everything."""
        if "dockerComposeFile" in self.data:
            raise self.fail(
                "it describes several containers (dockerComposeFile)",
                "choose one image: aileron launch --image REF",
            )
        build = self.table("build", self.data)
        dockerfile = self.text("dockerfile", build) or self.text("dockerFile", self.data)
        context = self.text("context", build) or self.text("context", self.data) or "."
        env, skipped = self.environment()
        own = self.own()
        image = self.text("image", self.data)
        if not (image or dockerfile or own.get("image")):
            raise self.fail("it names neither an image nor a Dockerfile")
        if "target" in build:
            raise self.fail("build.target is not supported", "build the image: podman build")
        return Devcontainer(
            path=self.file,
            image=image,
            dockerfile=self.inside(dockerfile, directory=False) if dockerfile else None,
            context=self.inside(context, directory=True) if dockerfile else None,
            build_args=self.strings("args", build),
            user=self.user(),
            env=env,
            own_image=self.text("image", own),
            install_agent=own.get("install_agent") is True,
            notes=(*self.left_out(), *skipped),
        )

    def table(self, key: str, data: Mapping[str, Any]) -> Mapping[str, Any]:
        value = data.get(key, {})
        if not isinstance(value, dict):
            raise self.fail(f"{key} must be an object")
        return value

    def text(self, key: str, data: Mapping[str, Any]) -> str | None:
        value = data.get(key)
        if value is None:
            return None
        if not isinstance(value, str) or not value or not value.isprintable():
            raise self.fail(f"{key} must be a line of text")
        return value

    def strings(self, key: str, data: Mapping[str, Any]) -> dict[str, str]:
        value = self.table(key, data)
        for name, text in value.items():
            if not _VARIABLE.fullmatch(name) or not isinstance(text, str) or "\0" in text:
                raise self.fail(f"{key} must give strings to names")
        return dict(value)

    def inside(self, text: str, *, directory: bool) -> Path:
        """A path relative to the file, which must lie in the workspace, links resolved."""
        path = (self.file.parent / text).resolve()
        if not path.is_relative_to(self.workspace):
            raise self.fail(f"{text!r} lies outside the workspace")
        if not (path.is_dir() if directory else path.is_file()):
            raise self.fail(f"there is no {'directory' if directory else 'file'} {text!r}")
        return path

    def user(self) -> SandboxUser | None:
        """The account that tools of the image belong to; by convention its uid is 1000."""
        name = self.text("remoteUser", self.data) or self.text("containerUser", self.data)
        if name is None or name == "root" or name.isdigit():
            return None
        if not _USER.fullmatch(name):
            raise self.fail(f"{name!r} is not a user's name")
        return SandboxUser(name=name, home=f"/home/{name}")

    def own(self) -> Mapping[str, Any]:
        """``customizations.aileron``."""
        own = self.table("aileron", self.table("customizations", self.data))
        unknown = sorted(set(own) - {"image", "install_agent"})
        if unknown:
            raise self.fail(
                f"unknown key customizations.aileron.{unknown[0][:80]}",
                "known: image, install_agent",
            )
        if own.get("image") == "devcontainer":
            raise self.fail("customizations.aileron.image cannot be this very devcontainer")
        if not isinstance(own.get("install_agent", False), bool):
            raise self.fail("customizations.aileron.install_agent must be true or false")
        return own

    def environment(self) -> tuple[dict[str, str], tuple[str, ...]]:
        """Variables; those that would carry something of the host's environment are left out."""
        given = {
            **self.strings("containerEnv", self.data),
            **self.strings("remoteEnv", self.data),
        }
        env, skipped = {}, []
        for name, text in given.items():
            value = _substitute(text, self.workspace)
            if value is None or name.startswith(("AILERON_", "LD_")):
                skipped.append(f"devcontainer: the variable {name} is left out")
            else:
                env[name] = value
        return env, tuple(skipped)

    def left_out(self) -> Iterator[str]:
        """A note for everything that is asked for and not done."""
        for key in self.data:
            if key in ON_HOST:
                yield f"devcontainer: {key} would run on the host and is not run"
            elif key in LOOSENING:
                yield f"devcontainer: {key} is left out: a sandbox keeps its own limits"
            elif key in INSIDE:
                yield f"devcontainer: {key} is not run; put it in the image, or let the agent do it"
            elif key in NOT_YET:
                yield f"devcontainer: {key} is not supported and left out"
            elif key not in HARMLESS:
                yield f"devcontainer: {key[:80]!r} is not known and left out"


def _substitute(text: str, workspace: Path) -> str | None:
    """``text`` with the workspace's path put in; None when it wants anything else of the host."""
    for name in ("localWorkspaceFolder", "containerWorkspaceFolder"):
        text = text.replace(f"${{{name}}}", str(workspace))
    return None if "${" in text else text


def devcontainer_recipe(found: Devcontainer) -> Recipe:
    """How to get the image: pulled, or built in the workspace's directory."""
    if found.dockerfile is None or found.context is None:
        assert found.image is not None
        return Recipe(found.image, pull=True)
    text = (read_bytes(found.dockerfile, hostile=True) or b"").decode("utf-8", "replace")
    pinned = digest_path(found.path.parent) if found.path.parent.name == FOLDER else ""
    key = digest(text, dict(found.build_args), str(found.context), pinned)
    return Recipe(
        f"localhost/aileron-devcontainer:{key}",
        containerfile=text,
        context=str(found.context),
        build_args=found.build_args,
        labels={"io.aileron.tier": "devcontainer"},
    )


def with_agent(base: Recipe, profile: Profile) -> Recipe:
    """The devcontainer's image with the agent's own recipe on top."""
    text = "\n".join((f"FROM {base.reference}", "USER root", *profile.install, ""))
    return Recipe(
        f"localhost/aileron-devcontainer-{profile.name}:{digest(text)}",
        containerfile=text,
        labels={"io.aileron.tier": "devcontainer", "io.aileron.agent": profile.name},
        base=base,
    )
