"""The host tier in real sandboxes: what the host has runs, and what is personal is not there."""

from __future__ import annotations

import os
from typing import Any

import pytest

from aileron_launch.settings import Settings

HOST = Settings(image="host")
pytestmark = pytest.mark.container


async def test_programs_of_the_host_run(person: Any, run_in_sandbox: Any) -> None:
    """Git, Perl and the shell of the host run as the agent's user, who is not root."""
    script = "id -un; id -u; git --version; perl -e 'print 6*7'; echo; echo $HOME; pwd"
    ran = await run_in_sandbox(person.plan("sh", "-c", script, settings=HOST))
    assert (ran.status, ran.errors) == (0, "")
    lines = ran.output.splitlines()
    assert lines[:2] == ["agent", "1000"]
    assert lines[2].startswith("git version")
    assert ["42", "/home/agent", str(person.workspace)] == lines[3:]


async def test_nothing_personal_is_there(person: Any, run_in_sandbox: Any) -> None:
    """No home of the host, no /etc/shadow, no private key, no socket of the host exists."""
    (person.home / "secret").write_text("canary")
    script = (
        "ls -A /root /home /srv /mnt /opt 2>&1; ls /etc/shadow /etc/ssl/private 2>&1;"
        f"ls -d {person.home} 2>&1; find / -xdev -type s 2>/dev/null"
    )
    ran = await run_in_sandbox(person.plan("sh", "-c", script, settings=HOST))
    assert "canary" not in ran.output
    assert "/home:\nagent\n" in ran.output
    assert "/root:\n\n" in ran.output
    assert ran.output.count("No such file or directory") == 3
    assert "sock" not in ran.output


async def test_system_directories_are_read_only(person: Any, run_in_sandbox: Any) -> None:
    """The system cannot be written; the workspace can, and keeps its owner."""
    script = "touch /usr/x; touch /usr/local/x; touch /etc/ssl/certs/x; touch here && ls -ld here"
    ran = await run_in_sandbox(person.plan("sh", "-c", script, settings=HOST))
    assert ran.errors.count("Read-only file system") == 3
    assert ran.status == 0
    info = (person.workspace / "here").stat()
    assert (os.getuid(), os.getgid()) == (info.st_uid, info.st_gid)


async def test_a_node_package_in_a_home_runs(person: Any, run_in_sandbox: Any) -> None:
    """An npm agent in a home runs at its own path; the rest of the home is hidden."""
    package = "home/.npm-global/lib/node_modules/@x/agent"
    script = '#!/bin/sh\ncat "$(dirname "$(readlink -f "$0")")/data"; ls -A ~+ "$1"\n'
    person.program(f"{package}/cli.sh", script)
    (person.root / package / "data").write_text("its own file\n")
    (person.home / ".npmrc").write_text("//registry/:_authToken=canary")
    place = person.home / ".npm-global/bin"
    place.mkdir()
    (place / "xagent").symlink_to("../lib/node_modules/@x/agent/cli.sh")
    plan = person.plan("xagent", str(person.home), path="~/.npm-global/bin:/usr/bin:/bin")
    assert plan.tier == "host"
    ran = await run_in_sandbox(plan)
    assert "its own file" in ran.output
    assert ".npm-global" in ran.output
    assert ".npmrc" not in ran.output


async def test_an_agent_only_its_owner_may_read_runs(person: Any, run_in_sandbox: Any) -> None:
    """A program of mode 0700 in the home runs: its owner is shown as the sandbox's user."""
    file = person.program("home/.local/bin/private-agent")
    file.chmod(0o700)
    ran = await run_in_sandbox(person.plan("private-agent", path="~/.local/bin:/usr/bin:/bin"))
    assert (ran.status, ran.output) == (0, "it ran\n"), ran.errors


async def test_the_image_has_no_capability_to_give(person: Any, run_in_sandbox: Any) -> None:
    """Set-uid programs of the host gain nothing: no capability, no new privileges."""
    script = "grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status; su -c id </dev/null"
    ran = await run_in_sandbox(person.plan("sh", "-c", script, settings=HOST))
    assert "CapEff:\t0000000000000000" in ran.output
    assert "CapBnd:\t0000000000000000" in ran.output
    assert "NoNewPrivs:\t1" in ran.output
    assert "uid=0" not in ran.output
