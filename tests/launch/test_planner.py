"""From what is typed to what will be done."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from aileron_core.backend import Limits, PortMapping
from aileron_core.errors import AileronError
from aileron_core.sessions.plan import LaunchRequest
from aileron_launch.decide import (
    Findings,
    TierChoice,
    choose_tier,
    command_line,
    limits_of,
    timeout_of,
)
from aileron_launch.planner import NO_NETWORK, default_name, plan
from aileron_launch.profiles import Profile, find_profile
from aileron_launch.settings import Settings

CLAUDE = find_profile("claude")
PLAIN = Settings()


def tier(image: str | None, profile: Profile | None = None, **found: Any) -> str:
    """The tier that is chosen for an agent."""
    return choose_tier(image, "it", profile, Findings(**found)).tier


def test_the_order_of_tiers() -> None:
    """A trusted devcontainer, else the host that has the agent, else base with its recipe."""
    assert tier(None, CLAUDE, devcontainer="trusted", on_host=True) == "devcontainer"
    assert tier(None, CLAUDE, devcontainer="untrusted", on_host=True) == "host"
    assert tier(None, CLAUDE, devcontainer="untrusted") == "base"
    assert tier(None, None, on_host=True) == "host"


def test_a_choice_is_kept() -> None:
    """What a person asks for is what they get, whatever else there is."""
    assert tier("base", CLAUDE, devcontainer="trusted", on_host=True) == "base"
    assert tier("host", CLAUDE, devcontainer="trusted", on_host=True) == "host"
    assert tier("devcontainer", None) == "devcontainer"
    choice = choose_tier("docker.io/library/debian:12", "it", None, Findings())
    assert (choice.tier, choice.reference) == ("byo", "docker.io/library/debian:12")
    assert isinstance(choice, TierChoice)
    assert choice.reason


@pytest.mark.parametrize("image", ["host", None])
def test_an_agent_that_is_nowhere(image: str | None) -> None:
    """Nothing could run it: exit status 66, and what to do."""
    with pytest.raises(AileronError) as caught:
        tier(image)
    assert (caught.value.code, caught.value.exit_status) == ("agent-missing", 66)
    assert caught.value.hints


def test_an_agent_that_is_misspelt() -> None:
    """The nearest agent is named first."""
    with pytest.raises(AileronError) as caught:
        choose_tier(None, "clade", None, Findings())
    assert caught.value.hints[0] == "did you mean 'claude'?"


@pytest.mark.parametrize(
    "image",
    [
        "debian",
        "debian:12",
        "localhost/a/b_c:1.0",
        "registry.example:5000/x@sha256:" + "a" * 64,
        "0123456789ab",
        "sha256:" + "b" * 64,
    ],
)
def test_image_references(image: str) -> None:
    """Names, tags, digests and ids are references."""
    assert tier(image) == "byo"


@pytest.mark.parametrize(
    "image", ["", "a b", "-x", "A/b", "a:", "../x", "a@sha256:zz", "--rm", "a\n"]
)
def test_what_is_no_reference(image: str) -> None:
    """Anything else is refused before it reaches a backend."""
    with pytest.raises(AileronError, match="no image reference"):
        tier(image)


def test_command_lines() -> None:
    """A profile's command, any command, or a shell, with the arguments as they are."""
    profile = Profile("goose", command=("goose", "session"))
    assert command_line("goose", ("-x",), profile, "/bin/sh") == ("goose", "session", "-x")
    assert command_line("make", ("-j", "a b"), None, "/bin/sh") == ("make", "-j", "a b")
    assert command_line(None, (), None, "/bin/bash") == ("/bin/bash",)


def test_limits() -> None:
    """Units are understood, and what is unset stays unlimited."""
    given = Settings(memory="1.5g", cpus=2.0, pids=64, files=128, timeout="1h")
    assert limits_of(given) == Limits(memory=3 << 29, cpus=2.0, pids=64, files=128)
    assert timeout_of(given) == 3600.0
    assert limits_of(Settings(memory=None, pids=None, files=None)) == Limits(None, None, None, None)
    assert timeout_of(PLAIN) is None


@pytest.mark.parametrize(
    "bad",
    [
        {"memory": "lots"},
        {"memory": "1m"},
        {"cpus": 0.0},
        {"cpus": float("nan")},
        {"pids": 1},
        {"files": 1},
        {"pids": 1 << 30},
    ],
)
def test_limits_nothing_could_run_with(bad: dict[str, Any]) -> None:
    """A limit that is no amount, or too small, names the setting; exit status 78."""
    with pytest.raises(AileronError, match=next(iter(bad))) as caught:
        limits_of(evolve(PLAIN, **bad))
    assert caught.value.exit_status == 78


def test_a_plan_for_a_command(person: Any) -> None:
    """A command of the host runs in the host tier, in its workspace, with nothing from outside."""
    made = person.plan("ls", "-l", rows=24, columns=80, detach=True)
    assert made.argv == ("ls", "-l")
    assert made.tier == "host"
    assert made.cwd == str(person.workspace)
    assert made.workspace.path == person.workspace
    assert (made.rows, made.columns, made.detach) == (24, 80, True)
    assert set(made.env) == {"PATH"}
    assert made.recipe is not None
    assert made.recipe.reference == made.image
    assert NO_NETWORK in made.notes
    assert any(note.startswith("never writable: ") for note in made.notes)


def test_a_shell_when_nothing_is_named(person: Any) -> None:
    """Without an agent a shell of the image runs."""
    made = person.plan()
    assert made.argv[0] in ("/bin/bash", "/bin/sh")
    assert made.agent == "shell"


def test_an_agent_that_is_not_installed_is_built(person: Any) -> None:
    """Base with the agent's recipe on top, the base provided first and its archive made here."""
    made = person.plan("claude")
    assert made.tier == "base"
    assert made.recipe is not None
    base = made.recipe.base
    assert base is not None
    assert made.recipe.containerfile.startswith(f"FROM {base.reference}\n")
    assert base.make is not None
    assert "DISABLE_AUTOUPDATER" in made.env


def test_an_agent_of_the_person_is_shown(person: Any) -> None:
    """One in ~/.local/bin, where its profile says to look, runs without an image being built."""
    file = person.program("home/.local/bin/claude")
    made = person.plan("claude", "-p", "hi")
    assert made.tier == "host"
    assert made.argv == ("claude", "-p", "hi")
    assert [mount.source for mount in made.mounts if "claude" in mount.target] == [str(file)]
    assert made.env["PATH"].startswith(f"{file.parent}:")


def test_an_agent_in_the_workspace_needs_no_mount(person: Any) -> None:
    """What the workspace shows anyway is not mounted over it."""
    person.program("work/tools/agent")
    made = person.plan("./tools/agent", settings=evolve(PLAIN, image="host"))
    assert not [mount for mount in made.mounts if mount.target.startswith(str(person.workspace))]


def test_an_image_of_ones_own(person: Any) -> None:
    """It is pulled when it is missing, unless that was forbidden."""
    made = person.plan("x", settings=evolve(PLAIN, image="debian:12"))
    assert (made.image, made.tier) == ("debian:12", "byo")
    assert made.recipe is not None
    assert made.recipe.pull
    made = person.plan("x", settings=evolve(PLAIN, image="debian:12", build="never"))
    assert made.recipe is None
    assert person.plan("ls", settings=evolve(PLAIN, build="always")).rebuild


def test_variables_in_their_order(person: Any) -> None:
    """Settings, then ``--env NAME`` from the caller, then ``--env NAME=VALUE``; never AILERON_…"""
    made = person.plan(
        "ls",
        settings=evolve(PLAIN, env={"A": "settings", "B": "settings", "C": "settings"}),
        environment={"B": "caller", "C": "caller", "AILERON_LAUNCH_IMAGE": "x"},
        env={"C": "flag"},
        tty=True,
        term="xterm",
    )
    assert {name: made.env.get(name) for name in "ABC"} == {
        "A": "settings",
        "B": "caller",
        "C": "flag",
    }
    assert made.env["TERM"] == "xterm"
    assert "AILERON_LAUNCH_IMAGE" not in made.env


def test_what_was_asked_for(person: Any) -> None:
    """Mounts, ports, name, limits, policy and mode are in the plan."""
    (person.home / "ref").mkdir()
    made = person.plan(
        "ls",
        settings=evolve(
            PLAIN, mounts=("~/ref:/srv/one",), workspace="ro", memory="64m", timeout="2m"
        ),
        mounts=("~/ref:/srv/two:rw",),
        publish=("3000", "8080:80"),
        name="mine",
        waive=("proxy",),
    )
    targets = {mount.target: mount.read_only for mount in made.mounts}
    assert (targets["/srv/one"], targets["/srv/two"]) == (True, False)
    assert made.publish == (PortMapping(3000), PortMapping(80, 8080))
    assert (made.name, made.timeout, made.limits.memory) == ("mine", 120.0, 64 << 20)
    assert made.workspace.mode == "ro"
    assert made.waived == {"proxy"}
    assert "the workspace is read-only" in made.notes


def test_overlays_say_what_to_do_next(person: Any) -> None:
    """The summary names the commands for the changes."""
    notes = person.plan("ls", settings=evolve(PLAIN, workspace="overlay")).notes
    assert any("sessions diff" in note for note in notes)


def test_kept_state_is_apart_from_the_hosts(person: Any) -> None:
    """With ``state = kept`` an agent's directory is Aileron's own, never the one in the home."""
    person.program("home/.local/bin/claude")
    (person.home / ".claude").mkdir()
    made = person.plan("claude", settings=evolve(PLAIN, state="kept"))
    mount = next(mount for mount in made.mounts if mount.target == "/home/agent/.claude")
    assert mount.source == str(person.paths.data / "agents/claude/.claude")
    assert not mount.read_only
    assert not [m for m in person.plan("claude").mounts if m.target == "/home/agent/.claude"]


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        ("claude", "claude-gh12"),
        ("./Run It.sh", "run-it-sh-gh12"),
        (None, "shell-gh12"),
        ("…", "session-gh12"),
    ],
)
def test_names_for_sessions(agent: str | None, name: str) -> None:
    """A name from the agent and the session's id, whatever the agent is called."""
    assert default_name(LaunchRequest(agent=agent), "s_abcdefgh12") == name


class Daemon:
    """As much of a daemon as planning needs."""

    def __init__(self, person: Any, **plugins: Any) -> None:
        import aileron_launch.plugin
        from aileron_core.testing import hooks_with

        self.paths = person.paths
        self.hooks = hooks_with(launch=aileron_launch.plugin, **plugins)


async def test_the_whole_way(person: Any) -> None:
    """Configuration files, variables and flags reach the plan, each over the one before."""
    file = person.paths.user_config
    file.parent.mkdir(parents=True)
    file.write_text('[launch]\nmemory = "1g"\npids = 100\ntimeout = "1h"\n')
    request = person.request(
        "ls",
        environment={"AILERON_LAUNCH_PIDS": "200"},
        flags={"launch.timeout": "5m"},
        search_path="/usr/bin:/bin",
    )
    made = await plan(request, Daemon(person), "s_abcdefgh12")  # type: ignore[arg-type]  # a part
    assert (made.limits.memory, made.limits.pids, made.timeout) == (1 << 30, 200, 300.0)
    assert made.limits_asked == {"memory", "pids"}
    assert made.policy == "developer"


async def test_plugins_are_left_out_wherever_that_is_said(person: Any) -> None:
    """A variable, a flag and an option each leave a plugin out; only the option waives it."""
    daemon = Daemon(person, proxy=types.ModuleType("a"), approvals=types.ModuleType("b"))
    request = person.request(
        "ls",
        environment={"AILERON_PLUGINS_DISABLE": "approvals"},
        waive=("proxy",),
        search_path="/usr/bin:/bin",
    )
    made = await plan(request, daemon, "s_abcdefgh12")  # type: ignore[arg-type]  # a part
    assert made.disabled == {"approvals", "proxy"}
    assert made.waived == {"proxy"}


async def test_a_backend_that_is_switched_off(person: Any) -> None:
    """Nothing is planned on it, though the daemon has it loaded."""
    request = person.request("ls", disable=("podman",), search_path="/usr/bin:/bin")
    daemon = Daemon(person, podman=types.ModuleType("c"))
    with pytest.raises(AileronError) as caught:
        await plan(request, daemon, "s_abcdefgh12")  # type: ignore[arg-type]  # a part
    assert caught.value.code == "backend-disabled"


async def test_a_project_only_tightens(person: Any) -> None:
    """An untrusted project file may lower limits and protect more, and nothing else."""
    project = person.workspace / ".aileron.toml"
    project.write_text('[launch]\nmemory = "64m"\nworkspace = "ro"\nprotected = ["secret/"]\n')
    request = person.request("ls", search_path="/usr/bin:/bin")
    made = await plan(request, Daemon(person), "s_abcdefgh12")  # type: ignore[arg-type]  # a part
    assert made.limits.memory == 64 << 20
    assert "secret/" in made.workspace.protected
    assert ".claude/" in made.workspace.protected
    for loose in (
        'memory = "64g"',
        'image = "debian"',
        'unprotected = [".claude"]',
        'mounts = ["/srv"]',
    ):
        project.write_text(f"[launch]\n{loose}\n")
        with pytest.raises(AileronError, match="may not set") as caught:
            await plan(request, Daemon(person), "s_abcdefgh12")  # type: ignore[arg-type]  # a part
        assert caught.value.exit_status == 78


async def test_a_refused_workspace_is_told_first(person: Any) -> None:
    """The workspace is looked at before anything in it is read."""
    request = person.request("ls", cwd="/")
    with pytest.raises(AileronError, match="/ cannot be the workspace"):
        await plan(request, Daemon(person), "s_abcdefgh12")  # type: ignore[arg-type]  # a part


def test_the_home_is_no_workspace(person: Any) -> None:
    """The home itself is refused, with the reason."""
    with pytest.raises(AileronError) as caught:
        person.plan("ls", cwd=str(person.home))
    assert "keys, mail" in caught.value.why
    assert Path(person.home).is_dir()
