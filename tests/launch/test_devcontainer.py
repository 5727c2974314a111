"""devcontainer.json of a repository: read without harm, granted only what seals nothing off."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from aileron_core.config.trust import trust
from aileron_core.errors import AileronError
from aileron_launch.images import jsonc
from aileron_launch.images.devcontainer import (
    devcontainer_recipe,
    find_devcontainer,
    read_devcontainer,
    trust_of,
    with_agent,
)
from aileron_launch.profiles import find_profile
from aileron_launch.settings import Settings

PLAIN = Settings()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=12,
)


# --- JSON with comments -------------------------------------------------------------------------


@given(JSON)
def test_json_is_json(value: Any) -> None:
    """Whatever is JSON means the same, indented or not."""
    assert jsonc.parse(json.dumps(value)) == value
    assert jsonc.parse(json.dumps(value, indent=2)) == value


@given(JSON, st.sampled_from(["// x\n", "/* x */", "/* \n // */", "//\n"]))
def test_comments_change_nothing(value: Any, comment: str) -> None:
    """A comment before, after, and between lines is no part of the value."""
    text = json.dumps(value, indent=1).replace("\n", "\n" + comment if "\n" in comment else "\n")
    assert jsonc.parse(comment + text + comment) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1,}', {"a": 1}),
        ("[1, 2, /* x */ ]", [1, 2]),
        ('["//", "/*", ",]"]', ["//", "/*", ",]"]),
        ('{"u": "http://x" // y\n}', {"u": "http://x"}),
        ('["a\\"//", 1]', ['a"//', 1]),
        ("\ufeff{}", {}),
        ("[1, // x\n]", [1]),
    ],
)
def test_what_editors_write(text: str, value: Any) -> None:
    """Trailing commas, comments with quotes, strings with slashes."""
    assert jsonc.parse(text) == value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "line 1"),
        ("{", "line 1"),
        ('{\n"a": }', "line 2"),
        ("[" * 40 + "]" * 40, "nested deeper"),
        ("[" * 100_000, "nested deeper"),
        ('{"a": 1, "a": 2}', "twice"),
        ("NaN", "no JSON value"),
        ("[1,,2]", "line 1"),
        ("[,]", "line 1"),
        ("/* never ends", "line 1"),
        ("9" * 5000, "digit"),
        (" " * 300_000, "larger than"),
        ("{} {}", "line 1"),
    ],
)
def test_what_is_refused(text: str, why: str) -> None:
    """Malformed, endless, deep, ambiguous: an error with the position where there is one."""
    with pytest.raises(jsonc.JsoncError, match=why):
        jsonc.parse(text)


@given(st.text(max_size=200) | st.text(alphabet='{}[],:"/*\\ \n1a', max_size=200))
def test_nothing_else_is_raised(text: str) -> None:
    """Any text is a value or a `JsoncError`."""
    try:
        jsonc.parse(text)
    except jsonc.JsoncError:
        return


def test_hostile_repetition_is_quick() -> None:
    """No input of the largest size takes more than a moment."""
    for piece in ("/*", "//", ",", '"', "\\", '"\\', ",/**/", "/* */,", "[1,", '",', "/ "):
        text = (piece * jsonc.LARGEST)[: jsonc.LARGEST]
        with pytest.raises(jsonc.JsoncError):
            jsonc.parse(text)


# --- devcontainer.json --------------------------------------------------------------------------


def write(workspace: Path, data: Any, dockerfile: str | None = None) -> Path:
    """A devcontainer in the workspace."""
    folder = workspace / ".devcontainer"
    folder.mkdir(exist_ok=True)
    file = folder / "devcontainer.json"
    file.write_text(data if isinstance(data, str) else json.dumps(data))
    if dockerfile is not None:
        (folder / "Dockerfile").write_text(dockerfile)
    return file


def read(person: Any, data: Any, dockerfile: str | None = None) -> Any:
    """What is read of a devcontainer."""
    return read_devcontainer(person.workspace, write(person.workspace, data, dockerfile))


def test_an_image(person: Any) -> None:
    """An image is pulled; its user is the agent's name and home."""
    found = read(person, {"image": "mcr.example/x:1", "remoteUser": "vscode"})
    recipe = devcontainer_recipe(found)
    assert (recipe.reference, recipe.pull) == ("mcr.example/x:1", True)
    assert (found.user.name, found.user.uid, found.user.home) == ("vscode", 1000, "/home/vscode")


def test_a_container_file(person: Any) -> None:
    """It is built in its context, named by its content."""
    data = {"build": {"dockerfile": "Dockerfile", "context": "..", "args": {"A": "1"}}}
    found = read(person, data, "FROM x\n")
    recipe = devcontainer_recipe(found)
    assert recipe.containerfile == "FROM x\n"
    assert recipe.context == str(person.workspace)
    assert recipe.build_args == {"A": "1"}
    again = devcontainer_recipe(read(person, data, "FROM y\n"))
    assert again.reference != recipe.reference


def test_root_is_no_user(person: Any) -> None:
    """The agent is not root, whatever the file says."""
    for name in ("root", "0", "1000"):
        assert read(person, {"image": "x", "remoteUser": name}).user is None


def test_what_would_run_on_the_host_or_loosen_is_left_out(person: Any) -> None:
    """Each such key is named in a note, and nothing else of it is left."""
    keys = (
        "initializeCommand",
        "privileged",
        "runArgs",
        "mounts",
        "capAdd",
        "securityOpt",
        "features",
    )
    found = read(person, {"image": "x", "madeUp": 1, **{key: ["--x"] for key in keys}})
    for key in (*keys, "madeUp"):
        assert any(key in note for note in found.notes), key
    plain = read(person, {"image": "x"})
    assert evolve(found, notes=()) == evolve(plain, notes=())


def test_nothing_of_the_hosts_environment_goes_in(person: Any) -> None:
    """``${localEnv:…}`` and Aileron's own variables are left out; the workspace is put in."""
    env = {
        "TOKEN": "${localEnv:GITHUB_TOKEN}",
        "AILERON_TOKEN": "x",
        "LD_PRELOAD": "x",
        "ROOT": "${containerWorkspaceFolder}/src",
    }
    found = read(person, {"image": "x", "containerEnv": env, "remoteEnv": {"B": "1"}})
    assert found.env == {"ROOT": f"{person.workspace}/src", "B": "1"}
    assert len(found.notes) == 3


@pytest.mark.parametrize(
    "data",
    [
        "",
        "[]",
        "{}",
        '{"image": 1}',
        '{"image": "a\\nb"}',
        '{"dockerComposeFile": "x", "image": "x"}',
        '{"build": "x"}',
        '{"build": {"dockerfile": "missing"}}',
        '{"build": {"dockerfile": "../../outside"}}',
        '{"build": {"dockerfile": "Dockerfile", "context": "../.."}}',
        '{"build": {"dockerfile": "Dockerfile", "target": "x"}}',
        '{"build": {"dockerfile": "Dockerfile", "args": {"A": 1}}}',
        '{"image": "x", "remoteUser": "a b"}',
        '{"image": "x", "containerEnv": {"A": 1}}',
        '{"image": "x", "customizations": {"aileron": {"privileged": true}}}',
        '{"image": "x", "customizations": {"aileron": {"install_agent": "yes"}}}',
        '{"customizations": {"aileron": {"image": "devcontainer"}}}',
        '{"image": "x", "customizations": []}',
    ],
)
def test_what_cannot_be_used(data: str, person: Any) -> None:
    """Each is an error that names the file; exit status 78."""
    (person.root / "outside").write_text("FROM x")
    with pytest.raises(AileronError) as caught:
        read(person, data, "FROM x\n")
    assert caught.value.exit_status == 78
    assert "devcontainer.json" in caught.value.message


def test_links_out_of_the_workspace_are_refused(person: Any) -> None:
    """Neither the file itself nor the container file may lead outside."""
    (person.root / "outside").write_text("FROM x")
    write(person.workspace, {"build": {"dockerfile": "Dockerfile"}})
    (person.workspace / ".devcontainer/Dockerfile").symlink_to(person.root / "outside")
    with pytest.raises(AileronError, match="outside the workspace"):
        read_devcontainer(person.workspace, person.workspace / ".devcontainer/devcontainer.json")
    file = person.workspace / ".devcontainer/devcontainer.json"
    file.unlink()
    file.symlink_to(person.root / "outside")
    with pytest.raises(AileronError, match=r"symbolic link|cannot read"):
        read_devcontainer(person.workspace, file)


@given(JSON)
def test_any_json_is_read_or_refused(tmp_path_factory: Any, value: Any) -> None:
    """Whatever a repository holds, it is a devcontainer or an error."""
    workspace = tmp_path_factory.mktemp("any")
    try:
        read_devcontainer(workspace, write(workspace, value))
    except AileronError as error:
        if error.exit_status != 78:
            raise


# --- trust and the plan -------------------------------------------------------------------------


def test_it_does_not_count_before_it_is_trusted(person: Any) -> None:
    """Untrusted it is named in a note and not used; asked for, it is refused."""
    write(person.workspace, {"image": "x"})
    assert trust_of(person.paths, person.workspace) == "untrusted"
    made = person.plan("ls")
    assert made.tier == "host"
    assert any("trusted" in note for note in made.notes)
    with pytest.raises(AileronError, match="has not been trusted"):
        person.plan("ls", settings=evolve(PLAIN, image="devcontainer"))


def test_a_change_ends_the_trust(person: Any) -> None:
    """Trust is in the content of all that the directory holds."""
    write(person.workspace, {"build": {"dockerfile": "Dockerfile"}}, "FROM x\n")
    trust(person.paths, person.workspace / ".devcontainer")
    made = person.plan("ls")
    assert made.tier == "devcontainer"
    assert made.recipe is not None
    (person.workspace / ".devcontainer/Dockerfile").write_text("FROM evil\n")
    assert person.plan("ls").tier == "host"


def test_its_own_image(person: Any) -> None:
    """``customizations.aileron.image`` is used instead: host, or a reference."""
    for image, tier in (("host", "host"), ("debian:12", "byo")):
        own = {"aileron": {"image": image}}
        write(person.workspace, {"customizations": own, "containerEnv": {"A": "1"}})
        trust(person.paths, person.workspace / ".devcontainer")
        made = person.plan("ls")
        assert made.tier == tier
        assert made.env["A"] == "1"


def test_the_agent_on_top(person: Any) -> None:
    """With ``install_agent`` the agent's recipe is built on the devcontainer's image, as root."""
    own = {"aileron": {"install_agent": True}}
    write(person.workspace, {"image": "x:1", "customizations": own})
    trust(person.paths, person.workspace / ".devcontainer")
    made = person.plan("claude")
    assert made.recipe is not None
    assert made.recipe.base is not None
    assert made.recipe.base.reference == "x:1"
    assert made.recipe.containerfile.startswith("FROM x:1\nUSER root\nRUN ")
    profile = find_profile("claude")
    assert profile is not None
    assert with_agent(made.recipe.base, profile) == made.recipe


def test_where_it_is_looked_for(person: Any) -> None:
    """In its directory, or as one file at the top."""
    assert find_devcontainer(person.workspace) is None
    single = person.workspace / ".devcontainer.json"
    single.write_text('{"image": "x"}')
    assert find_devcontainer(person.workspace) == single
    assert trust_of(person.paths, person.workspace) == "untrusted"
    trust(person.paths, single)
    assert trust_of(person.paths, person.workspace) == "trusted"
    single.unlink()
    with pytest.raises(AileronError, match=r"no \.devcontainer"):
        person.plan("ls", settings=evolve(PLAIN, image="devcontainer"))
