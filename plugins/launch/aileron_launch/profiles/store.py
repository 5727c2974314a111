"""Where profiles come from: this package, then the person's own directory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path

from aileron_launch.profiles.model import LARGEST_PROFILE, PROFILE_INVALID, Profile, parse_profile


def _builtin() -> Iterator[tuple[str, str, str]]:
    """``(stem, text, origin)`` of each file in the package."""
    for entry in resources.files(__package__).iterdir():
        if entry.name.endswith(".toml"):
            name = entry.name.removesuffix(".toml")
            yield name, entry.read_text("utf-8"), f"built in ({entry.name})"


def _own(path: Path) -> tuple[str, str, str]:
    """``(stem, text, origin)`` of a file of the person's."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_PROFILE + 1)
        text = content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PROFILE_INVALID(f"cannot read {path}", why=str(error)) from None
    if len(content) > LARGEST_PROFILE:
        raise PROFILE_INVALID(f"{path} is larger than {LARGEST_PROFILE} bytes")
    return path.stem, text, str(path)


def _checked(stem: str, text: str, origin: str) -> Profile:
    profile = parse_profile(text, origin)
    if profile.name != stem:
        raise PROFILE_INVALID(
            f"{origin} describes {profile.name!r}",
            why="a profile's file is called after its name",
            hints=[f"rename the file to {profile.name}.toml"],
        )
    return profile


def load_profiles(config: Path | None = None) -> Mapping[str, Profile]:
    """All profiles by name; those in ``config/profiles`` replace built-in ones.

    Raises:
        AileronError: ``profile-invalid``.
    """
    own = sorted((config / "profiles").glob("*.toml")) if config is not None else []
    sources = [*_builtin(), *map(_own, own)]
    return {stem: _checked(stem, text, origin) for stem, text, origin in sources}


def find_profile(name: str, config: Path | None = None) -> Profile | None:
    """The profile of that name; None when there is none (the name may still be a command).

    Only the file that is asked for is read, so that a broken profile does not stop other agents.
    """
    if "/" in name:
        return None
    if config is not None and (config / "profiles" / f"{name}.toml").exists():
        return _checked(*_own(config / "profiles" / f"{name}.toml"))
    found = next((item for item in _builtin() if item[0] == name), None)
    return _checked(*found) if found is not None else None
