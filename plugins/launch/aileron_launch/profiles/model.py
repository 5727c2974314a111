"""What a profile file may say, and nothing else: unknown keys are refused with file and line."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from typing import Any

from attrs import field, fields, frozen

from aileron_core.errors import EXIT_CONFIG, AileronError, ErrorCode

PROFILE_INVALID = ErrorCode(
    "profile-invalid", EXIT_CONFIG, "An agent profile file is malformed or says something unknown."
)

LARGEST_PROFILE = 64 * 1024
"""Bytes of one profile file."""

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HOST = re.compile(r"(?:\*\.)?[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


@frozen
class CredentialBinding:
    """A credential that an agent expects, by the names of the variables it reads it from."""

    name: str
    env: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()


@frozen
class Profile:
    """What is known about an agent."""

    name: str
    summary: str = ""
    command: tuple[str, ...] = ()
    """What is run; the first word is looked up on PATH."""
    hosts: tuple[str, ...] = ()
    """Hosts that it needs to work at all."""
    credentials: tuple[CredentialBinding, ...] = ()
    state: tuple[str, ...] = ()
    """Directories under its home where it keeps settings and history."""
    environment: Mapping[str, str] = field(factory=dict)
    install: tuple[str, ...] = ()
    """Containerfile lines that install it on top of the base image."""
    look: tuple[str, ...] = ()
    """Directories to look in besides PATH; ``~/`` is the person's home."""
    binds: tuple[str, ...] = ()
    """More paths of the host that it needs to run there, shown read-only; ``~/`` as above."""
    origin: str = "built in"
    """The file that it comes from."""


_KEYS = tuple(item.name for item in fields(Profile) if item.name != "origin")
_BINDING_KEYS = tuple(item.name for item in fields(CredentialBinding))


def parse_profile(text: str, origin: str) -> Profile:
    """The profile that a file's text describes.

    Raises:
        AileronError: ``profile-invalid``, naming file and line.
    """
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise PROFILE_INVALID(f"{origin} is not TOML", why=str(error)) from None
    return _Reader(text, origin).profile(data)


@frozen
class _Reader:
    """Checks a profile's data against `Profile`, with positions from the text."""

    text: str
    origin: str

    def fail(self, key: str, why: str) -> AileronError:
        """The error about ``key``, with its line when it can be told."""
        return PROFILE_INVALID(
            f"{self.origin}{self.line(key)}: {why}",
            hints=["docs/agents.md shows what a profile may say"],
        )

    def line(self, key: str) -> str:
        """``:LINE`` of the first mention of ``key`` at the start of a line, or nothing."""
        pattern = re.compile(rf"^\s*(?:\[+\s*)?[\"']?{re.escape(key)}[\"']?\s*[=\].]", re.MULTILINE)
        match = pattern.search(self.text)
        return f":{self.text.count(chr(10), 0, match.end()) + 1}" if match else ""

    def known(self, data: Mapping[str, Any], keys: tuple[str, ...]) -> None:
        """Refuse keys that are not in ``keys``."""
        for key in data:
            if key not in keys:
                near = difflib.get_close_matches(key, keys, 1)
                hint = f"; did you mean {near[0]!r}?" if near else f" (known: {', '.join(keys)})"
                raise self.fail(key, f"unknown key {key!r}{hint}")

    def words(self, data: Mapping[str, Any], key: str) -> tuple[str, ...]:
        """A list of strings without control characters."""
        value = data.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.fail(key, f"{key} must be a list of strings")
        for item in value:
            if not item or not item.isprintable():
                raise self.fail(key, f"{key} holds an empty string or a control character")
        return tuple(value)

    def hosts(self, data: Mapping[str, Any]) -> tuple[str, ...]:
        """Host names, exact or ``*.example.com``."""
        for host in self.words(data, "hosts"):
            if not _HOST.fullmatch(host):
                raise self.fail("hosts", f"{host!r} is not a host name")
        return self.words(data, "hosts")

    def environment(self, data: Mapping[str, Any]) -> Mapping[str, str]:
        """Variables that the agent gets; nothing that Aileron sets itself."""
        value = data.get("environment", {})
        if not isinstance(value, dict):
            raise self.fail("environment", "environment must be a table of strings")
        for name, text in value.items():
            if not _VARIABLE.fullmatch(name) or name.startswith(("AILERON_", "LD_")):
                raise self.fail(name, f"{name!r} is not a variable that a profile may set")
            if not isinstance(text, str) or "\0" in text:
                raise self.fail(name, f"{name} must be a string")
        return value

    def state(self, data: Mapping[str, Any]) -> tuple[str, ...]:
        """Relative paths that stay inside the home directory."""
        paths = self.words(data, "state")
        for path in paths:
            if path.startswith("/") or ".." in path.split("/"):
                raise self.fail("state", f"{path!r} must stay inside the home directory")
        return paths

    def places(self, data: Mapping[str, Any], key: str) -> tuple[str, ...]:
        """Absolute paths, or ones in the person's home (but not the home itself)."""
        paths = self.words(data, key)
        for path in paths:
            good = path.startswith(("/", "~/")) and path.strip("~/") and ".." not in path.split("/")
            if not good:
                raise self.fail(key, f"{path!r} must be absolute, or start with ~/")
        return paths

    def bindings(self, data: Mapping[str, Any]) -> tuple[CredentialBinding, ...]:
        """The ``[[credentials]]`` tables."""
        value = data.get("credentials", [])
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self.fail("credentials", "credentials must be [[credentials]] tables")
        return tuple(self.binding(item) for item in value)

    def binding(self, data: Mapping[str, Any]) -> CredentialBinding:
        """One ``[[credentials]]`` table."""
        self.known(data, _BINDING_KEYS)
        name = data.get("name")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise self.fail("credentials", "a credential needs a name (a-z, 0-9, - and _)")
        variables = self.words(data, "env")
        for variable in variables:
            if not _VARIABLE.fullmatch(variable):
                raise self.fail("env", f"{variable!r} is not a variable's name")
        return CredentialBinding(name, variables, self.hosts(data))

    def profile(self, data: Mapping[str, Any]) -> Profile:
        """The whole file."""
        self.known(data, _KEYS)
        name, summary = data.get("name"), data.get("summary", "")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise self.fail("name", "name is needed: a-z, 0-9, - and _, at most 32")
        if not isinstance(summary, str) or not (summary.isprintable() or not summary):
            raise self.fail("summary", "summary must be one line of text")
        command = self.words(data, "command")
        if not command:
            raise self.fail("command", 'command is needed, for example command = ["claude"]')
        return Profile(
            name=name,
            summary=summary,
            command=command,
            hosts=self.hosts(data),
            credentials=self.bindings(data),
            state=self.state(data),
            environment=self.environment(data),
            install=self.words(data, "install"),
            look=self.places(data, "look"),
            binds=self.places(data, "binds"),
            origin=self.origin,
        )
