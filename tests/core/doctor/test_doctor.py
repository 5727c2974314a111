"""Doctor's framework and its judgement, without a sandbox; the sandboxes are in tests/escape."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
import pytest
import trio
from attrs import define, field

from aileron_core.builtin import aileron_checks
from aileron_core.cli.app import App
from aileron_core.doctor import cli
from aileron_core.doctor.checks import CHECKS, files
from aileron_core.doctor.checks.verdicts import judge
from aileron_core.doctor.probe import CannotTry, Probe, ProbeResult
from aileron_core.doctor.run import LONGEST, run_checks
from aileron_core.errors import AileronError
from aileron_core.records import Check, CheckResult


@define
class FakeProbe:
    """Answers every script with one result, and remembers what was asked."""

    result: ProbeResult
    asked: list[str] = field(factory=list)

    async def sh(self, script: str, **more: object) -> ProbeResult:
        """The one result."""
        self.asked.append(f"{script} {more}")
        return self.result

    python = sh


def find(name: str) -> Check:
    """The core's check of that name."""
    return next(check for check in CHECKS if check.name == name)


async def test_a_check_that_raises_has_not_been_tried():
    """An exception in a check is "cannot be tried" with its words, never "holds"."""

    async def broken(probe: object) -> CheckResult:
        raise ValueError("no such thing")

    [finding] = await run_checks([Check("b", "", broken)], None, lambda _: None)
    assert (finding.result.verdict, "no such thing" in finding.result.detail) == (
        "cannot be tried",
        True,
    )


async def test_a_check_that_takes_too_long_has_not_been_tried(autojump_clock):
    """A check that never answers ends after its bound."""

    async def slow(probe: object) -> CheckResult:
        await trio.sleep_forever()
        raise AssertionError

    [finding] = await run_checks([Check("s", "", slow)], None, lambda _: None)
    assert (finding.result.verdict, trio.current_time() >= LONGEST) == ("cannot be tried", True)


async def test_cannot_try_carries_the_mend():
    """What a check says about why it could not try reaches the person."""

    async def cannot(probe: object) -> CheckResult:
        raise CannotTry("no python3", "install python3")

    [finding] = await run_checks([Check("c", "", cannot)], None, lambda _: None)
    assert finding.result == CheckResult("cannot be tried", "no python3", "install python3")


async def test_cannot_try_is_heard_through_a_nursery():
    """A check may listen in a nursery: the exception in its group says the same."""

    async def cannot(probe: object) -> CheckResult:
        async with trio.open_nursery():
            raise CannotTry("no python3", "install python3")
        raise AssertionError

    [finding] = await run_checks([Check("c", "", cannot)], None, lambda _: None)
    assert finding.result == CheckResult("cannot be tried", "no python3", "install python3")


async def test_findings_keep_the_order_of_the_checks(autojump_clock):
    """However long each takes, the list is in the order asked for; each is reported once."""

    async def after(seconds: float) -> CheckResult:
        await trio.sleep(seconds)
        return CheckResult("holds")

    checks = [Check(n, "", lambda _, s=s: after(s)) for n, s in (("a", 2), ("b", 1), ("c", 0))]
    told: list[str] = []
    findings = await run_checks(checks, None, lambda finding: told.append(finding.check.name))
    assert ([f.check.name for f in findings], sorted(told)) == (["a", "b", "c"], ["a", "b", "c"])


def test_judge_needs_the_script_to_have_finished():
    """A script that broke off has tried nothing, whatever it printed before."""
    with pytest.raises(CannotTry, match="broke off with status 9"):
        judge(ProbeResult(9, "", "killed"), "fine", "mend")


def test_judge_believes_what_the_script_did():
    """One forbidden thing done is enough, finished or not; the same thing is named once."""
    result = judge(ProbeResult(0, "did a\ndid a\ndid b\n", ""), "fine", "mend")
    assert result == CheckResult("does not hold", "a; b", "mend")


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        ("the limit on memory does not hold on this machine", "does not hold"),
        ("no daemon", "cannot be tried"),
    ],
)
async def test_a_limit_that_launch_refuses_does_not_hold(said: str, verdict: str) -> None:
    """A machine on which launch refuses to pretend is reported as one that does not hold it."""

    class Refusing:
        async def sh(self, script: str, **more: object) -> ProbeResult:
            raise CannotTry(said, "mend")

    checks = [check for check in CHECKS if check.name in ("memory-limit", "process-limit")]
    findings = await run_checks(checks, Refusing(), lambda finding: None)
    assert [finding.result.verdict for finding in findings] == [verdict, verdict]


@pytest.mark.parametrize(
    ("name", "output", "verdict"),
    [
        ("memory-limit", "999999\n255000000\n", "does not hold"),
        ("memory-limit", "999999\n", "holds"),
        ("process-limit", "did start 96 processes\ntried\n", "does not hold"),
        ("process-limit", "tried\n", "holds"),
        ("file-limit", "did open 70000 files\ntried\n", "does not hold"),
        ("file-limit", "tried\n", "holds"),
        ("privileges", "did have capabilities: CapEff: 01\ntried\n", "does not hold"),
        ("privileges", "tried\n", "holds"),
        ("vsock", "did open a vsock socket\ntried\n", "does not hold"),
        ("vsock", "tried\n", "holds"),
        ("route", "did reach 198.51.100.1\ntried\n", "does not hold"),
        ("dns", "did resolve a.b to 1\ntried\n", "does not hold"),
        ("ptrace", "did attach to another process\ntried\n", "does not hold"),
        ("new-namespaces", "did make a new user namespace\ntried\n", "does not hold"),
        ("no-root", "did succeed with setuid(0)\ntried\n", "does not hold"),
        ("raw-sockets", "did open a packet socket\ntried\n", "does not hold"),
    ],
)
async def test_a_limit_the_kernel_ignores_does_not_hold(name: str, output: str, verdict: str):
    """What the script could do decides, not what was configured."""
    result = await find(name).run(FakeProbe(ProbeResult(0, output, "")))
    assert result.verdict == verdict


async def test_a_limit_is_not_believed_without_a_control():
    """An image that cannot fill memory at all says nothing about the limit."""
    with pytest.raises(CannotTry):
        await find("memory-limit").run(FakeProbe(ProbeResult(1, "", "head: not found")))
    with pytest.raises(CannotTry):
        await find("process-limit").run(FakeProbe(ProbeResult(1, "", "sleep: not found")))


async def test_a_connection_that_arrives_is_believed_over_the_sandbox():
    """Doctor's own listener decides: what the sandbox says about itself does not matter."""

    @define
    class Reaching(FakeProbe):
        async def python(self, script: str, **more: object) -> ProbeResult:
            port = int(script.split("('127.0.0.1', ")[1].split(")")[0])
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            await stream.receive_some()
            await stream.aclose()
            return ProbeResult(0, "tried\n", "")

    result = await find("host-loopback").run(Reaching(ProbeResult(0, "", "")))
    assert result.verdict == "does not hold"


def test_every_change_to_a_protected_path_is_seen(tmp_path: Path):
    """The host's look finds what was written, moved or replaced."""

    def fresh(name: str) -> tuple[Path, int]:
        git = tmp_path / name / ".git"
        git.mkdir(parents=True)
        (git / "config").write_text("[core]\n")
        (tmp_path / name / "ordinary-file").write_text("x")
        return tmp_path / name, git.stat().st_ino

    assert files._changes(*fresh("same")) == []
    changed, inode = fresh("config")
    (changed / ".git/config").write_text("[core]\n\tfsmonitor = evil\n")
    assert files._changes(changed, inode) == [".git/config was changed"]
    hooked, inode = fresh("hook")
    (hooked / ".git/hooks").mkdir()
    assert files._changes(hooked, inode) == [".git/hooks"]
    moved, inode = fresh("moved")
    (moved / ".git").rename(moved / ".git-away")
    assert files._changes(moved, inode)[-1] == ".git was moved or replaced"


def launcher(tmp_path: Path, body: str) -> Probe:
    """A probe whose ``aileron`` is a stand-in: ``body`` sees the arguments as ``sys.argv``."""
    package = tmp_path / "aileron_core"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(f"import os, subprocess, sys\n{body}\n")
    return Probe("host", {"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"}, tmp_path)


RUN = "sys.exit(subprocess.run(sys.argv[sys.argv.index('--') + 1:]).returncode)"


async def test_a_probe_reports_status_and_output(tmp_path: Path):
    """The script's own status and output, without the mark that shows it has run."""
    result = await launcher(tmp_path, RUN).sh("echo out; echo err >&2; exit 3")
    assert result == ProbeResult(3, "out\n", "err\n")


async def test_a_launch_that_fails_has_tried_nothing(tmp_path: Path):
    """What launch says becomes the reason, its hints the mend."""
    probe = launcher(tmp_path, "print('aileron: no podman.\\n  install it', file=sys.stderr)")
    with pytest.raises(CannotTry, match="no podman") as caught:
        await probe.sh("true")
    assert caught.value.mend == "install it"


async def test_a_launch_that_hangs_is_bounded(tmp_path: Path):
    """A launch without end is ended, and said to be untried."""
    probe = launcher(tmp_path, "import time; time.sleep(600)")
    with pytest.raises(CannotTry, match=r"no answer within 0\.2 s"):
        await probe.sh("true", timeout=0.2)


async def test_python_without_python_has_tried_nothing(tmp_path: Path):
    """An image without python3 is said to be the reason."""
    probe = launcher(tmp_path, f"os.environ['PATH'] = '/nonexistent'\n{RUN}")
    with pytest.raises(CannotTry, match="no python3"):
        await probe.python("print('hello')")


async def test_python_source_may_hold_any_quote(tmp_path: Path):
    """Source is passed as one word, whatever is in it."""
    probe = launcher(tmp_path, RUN)
    result = await probe.python("""print("it's", '$HOME', "`id`")""")
    assert result.output == "it's $HOME `id`\n"


def run_command(app: App, *args: str) -> int:
    """What ``aileron doctor ARGS`` exits with."""
    return int(cli.command.main(list(args), obj=app, standalone_mode=False))


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    """A command line whose only checks are `fine` and `bad`."""

    async def fine(probe: Probe) -> CheckResult:
        return CheckResult("holds", "well")

    async def bad(probe: Probe) -> CheckResult:
        return CheckResult("does not hold", "badly", "mend it")

    class Hooks:
        """Two checks."""

        def checks(self) -> list[Check]:
            return [Check("bad", "b", bad), Check("fine", "f", fine)]

    made = App()
    monkeypatch.setattr(App, "hooks", Hooks())
    return made


def test_doctor_exits_1_when_one_does_not_hold(app: App, capsys: pytest.CaptureFixture[str]):
    """Every finding is a line, the mend below it, the counts at the end."""
    app.out.stdout, app.out.stderr = sys.stdout, sys.stderr
    status = run_command(app)
    said = capsys.readouterr().out
    assert (status, "✗ bad" in said, "    mend: mend it" in said) == (1, True, True)
    assert said.endswith("1 holds, 1 does not hold\n")


def test_doctor_exits_0_when_all_hold(app: App):
    """A check that was named is the only one tried."""
    assert run_command(app, "fine") == 0


def test_doctor_knows_its_checks(app: App):
    """A name it does not know is an error with the nearest one."""
    with pytest.raises(AileronError, match="no check 'fin'") as caught:
        run_command(app, "fin")
    assert caught.value.hints[0] == "did you mean 'fine'?"


def test_doctor_json(app: App, capsys: pytest.CaptureFixture[str]):
    """``--json`` is an array of objects with id and state."""
    app.out.json, app.out.stdout = True, sys.stdout
    run_command(app)
    found = json.loads(capsys.readouterr().out)
    assert [(f["id"], f["state"]) for f in found] == [("bad", "does not hold"), ("fine", "holds")]


def test_doctor_lists_without_trying(app: App, capsys: pytest.CaptureFixture[str]):
    """``--list`` names every check and exits 0."""
    app.out.stdout = sys.stdout
    assert run_command(app, "--list") == 0
    assert "bad" in capsys.readouterr().out


def test_the_core_gives_its_checks():
    """Names are unique, and each says what it is about."""
    names = [check.name for check in aileron_checks()]
    assert (len(set(names)), all(check.summary for check in CHECKS)) == (len(names), True)


def test_the_command_is_a_click_command():
    """The mode's module offers ``command``."""
    assert isinstance(cli.command, click.Command)
