"""The pages about agents and images say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from attrs import fields

from aileron_launch.images.devcontainer import LOOSENING, ON_HOST
from aileron_launch.profiles import load_profiles, parse_profile
from aileron_launch.profiles.model import Profile
from aileron_launch.settings import PROTECTED_IF_PRESENT

DOCS = Path(__file__).parents[2] / "docs"
AGENTS = (DOCS / "agents.md").read_text()
IMAGES = (DOCS / "images.md").read_text()


def test_the_example_is_a_profile() -> None:
    """The example on the page is read without an error, and uses every key."""
    (text,) = re.findall(r"```toml\n(.*?)```", AGENTS, re.DOTALL)
    profile = parse_profile(text, "the page")
    used = {item.name for item in fields(Profile) if getattr(profile, item.name)}
    assert used == {item.name for item in fields(Profile)}


def test_every_key_is_described() -> None:
    """The table of keys is the record's fields."""
    rows = re.findall(r"^\| `(\w+)` \| (?:text|list|table)", AGENTS, re.MULTILINE)
    assert sorted(rows) == sorted(f.name for f in fields(Profile) if f.name != "origin")


def test_every_agent_is_listed_as_it_is() -> None:
    """Command, state and variables of each built-in agent are on the page."""
    for profile in load_profiles().values():
        (row,) = re.findall(rf"^\| `{profile.name}` \|.*$", AGENTS, re.MULTILINE)
        variables = [name for binding in profile.credentials for name in binding.env]
        for word in (" ".join(profile.command), *profile.state, *variables):
            assert f"`{word}`" in row


def test_what_is_left_out_is_told() -> None:
    """Keys of a devcontainer that would loosen or run on the host are named."""
    assert all(f"`{key}`" in IMAGES for key in (*ON_HOST, *LOOSENING[:6]))
    assert any(f"`{name}`" in IMAGES for name in PROTECTED_IF_PRESENT)
