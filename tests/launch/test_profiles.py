"""Agent profiles: data that is checked, built-in and a person's own."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aileron_core.errors import AileronError
from aileron_launch.profiles import PROFILE_INVALID, find_profile, load_profiles, parse_profile

AGENTS = ("aider", "claude", "codex", "gemini", "goose", "opencode", "pi")
GOOD = 'name = "mine"\ncommand = ["mine", "--go"]\n'


def refuse(text: str) -> str:
    """The message about a profile that is refused."""
    with pytest.raises(AileronError) as caught:
        parse_profile(text, "mine.toml")
    assert caught.value.code == PROFILE_INVALID.name
    return f"{caught.value.message}: {caught.value.why}"


def test_every_promised_agent_has_one() -> None:
    """The agents that the contract names are there, and no others."""
    assert sorted(load_profiles()) == list(AGENTS)


@pytest.mark.parametrize("name", AGENTS)
def test_each_says_what_a_launch_needs(name: str) -> None:
    """Command, recipe, hosts, credentials, state and summary are given."""
    profile = find_profile(name)
    assert profile is not None
    assert profile.command
    assert profile.summary
    assert profile.state
    assert profile.hosts
    assert all(line.startswith("RUN ") for line in profile.install)
    assert profile.install
    assert all(binding.env and binding.hosts for binding in profile.credentials)


def test_a_person_adds_and_replaces(tmp_path: Path) -> None:
    """A file in the configuration's profiles directory adds an agent or replaces one."""
    folder = tmp_path / "profiles"
    folder.mkdir()
    (folder / "mine.toml").write_text(GOOD)
    (folder / "claude.toml").write_text('name = "claude"\ncommand = ["my-claude"]\n')
    assert load_profiles(tmp_path)["mine"].command == ("mine", "--go")
    found = find_profile("claude", tmp_path)
    assert found is not None
    assert found.command == ("my-claude",)
    assert found.origin == str(folder / "claude.toml")


def test_a_broken_one_stops_no_other_agent(tmp_path: Path) -> None:
    """Only the profile that is asked for is read."""
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles/broken.toml").write_text("name = ")
    assert find_profile("claude", tmp_path) is not None
    with pytest.raises(AileronError, match=r"broken\.toml is not TOML"):
        find_profile("broken", tmp_path)


def test_a_name_that_is_no_profile_is_none(tmp_path: Path) -> None:
    """Any other command is no profile, a path among them."""
    assert find_profile("ls", tmp_path) is None
    assert find_profile("../../etc/passwd", tmp_path) is None


def test_the_file_is_called_after_the_agent(tmp_path: Path) -> None:
    """A file whose name differs from the agent's is refused, so that each is found."""
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles/other.toml").write_text(GOOD)
    with pytest.raises(AileronError, match="describes 'mine'"):
        find_profile("other", tmp_path)


def test_a_file_that_is_too_large_or_no_text_is_refused(tmp_path: Path) -> None:
    """Size and encoding are bounded."""
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles/big.toml").write_text("#" * 70_000)
    with pytest.raises(AileronError, match="larger than"):
        find_profile("big", tmp_path)
    (tmp_path / "profiles/odd.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(AileronError, match="cannot read"):
        find_profile("odd", tmp_path)


def test_an_unknown_key_names_line_and_neighbour() -> None:
    """A mistyped key is an error with file, line and the nearest right name."""
    message = refuse(GOOD + 'hostz = ["a.example"]\n')
    assert "mine.toml:3" in message
    assert "did you mean 'hosts'?" in message


def test_an_unknown_key_of_a_credential_is_refused() -> None:
    """Nested tables are checked too."""
    message = refuse(GOOD + '[[credentials]]\nname = "x"\nvalue = "s"\n')
    assert "mine.toml:5" in message
    assert "unknown key 'value'" in message


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('hosts = ["http://x"]', "not a host name"),
        ('hosts = "x"', "must be a list of strings"),
        ('state = ["/etc"]', "must stay inside the home directory"),
        ('state = ["../x"]', "must stay inside the home directory"),
        ('look = ["bin"]', "must be absolute"),
        ('look = ["~/"]', "must be absolute"),
        ('binds = ["~/../x"]', "must be absolute"),
        ('install = ["RUN a\\nUSER root"]', "control character"),
        ('install = [""]', "empty string"),
        ('summary = "a\\nb"', "one line"),
        ('[environment]\nLD_PRELOAD = "x"', "not a variable that a profile may set"),
        ('[environment]\nAILERON_TOKEN = "x"', "not a variable that a profile may set"),
        ("[environment]\nX = 1", "must be a string"),
        ('[[credentials]]\nname = "A B"', "needs a name"),
        ('[[credentials]]\nname = "a"\nenv = ["a-b"]', "not a variable's name"),
        ('credentials = "x"', "must be [[credentials]] tables"),
        ('environment = "x"', "must be a table"),
    ],
)
def test_what_makes_no_sense_is_refused(line: str, why: str) -> None:
    """Each key is checked for what it stands for."""
    assert why in refuse(GOOD + line + "\n")


@pytest.mark.parametrize("text", ["", 'name = "x"', 'name = "X"\ncommand = ["x"]'])
def test_name_and_command_are_needed(text: str) -> None:
    """A profile without them is refused."""
    assert "needed" in refuse(text)


@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    """Whatever a file holds, it is a profile or an error that says so."""
    with suppress(AileronError):
        parse_profile(text, "x.toml")
