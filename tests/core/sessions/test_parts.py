"""The smaller parts: files, log, store, probe, recovery, undoing."""

from __future__ import annotations

import json
import os
from contextlib import AsyncExitStack

import pytest
import trio
from attrs import evolve

from aileron_core.backend import ImageInfo, SandboxSpec
from aileron_core.errors import AileronError
from aileron_core.records import HelperFile
from aileron_core.sessions import probe
from aileron_core.sessions.files import (
    SessionFiles,
    new_token,
    token_digest,
    write_bundle,
    write_files,
)
from aileron_core.sessions.frames import Decoder, Frame
from aileron_core.sessions.log import LogReader, SessionLog
from aileron_core.sessions.undo import Undo, as_error, step
from aileron_core.testing import aileron_error

# --- files ----------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path):
    """A session's directory that does not exist yet."""
    return SessionFiles(tmp_path / "sessions" / "s_1")


def write(files, **changes):
    """Write it with harmless content."""
    facts = {
        "token": "t",
        "ca": b"CA",
        "roots": b"ROOTS\n",
        "tools": "tools",
        "helpers": (),
        **changes,
    }
    write_files(files, **facts)


def test_what_the_sandbox_sees(files):
    """Certificates, token, tools and bin, with the contract's modes, whatever the umask."""
    before = os.umask(0o077)
    try:
        write(files)
    finally:
        os.umask(before)
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in files.inside.iterdir()}
    assert modes == {
        "bin": "0o755", "ca-bundle.pem": "0o444", "ca.pem": "0o444", "token": "0o400",
        "tools.txt": "0o444",
    }  # fmt: skip
    assert (files.inside / "ca-bundle.pem").read_bytes() == b"ROOTS\nCA"
    assert files.root.stat().st_mode & 0o777 == 0o700


def test_the_bundle_is_replaced_in_place(files):
    """When the image's roots are known they are added; the file is a new one."""
    write(files)
    write_bundle(files, b"MORE\n", b"CA")
    assert (files.inside / "ca-bundle.pem").read_bytes() == b"MORE\nCA"


def test_a_bundle_with_nuls_is_refused(files):
    """What was written is looked at."""
    with pytest.raises(AileronError) as caught:
        write(files, roots=b"\0")
    assert caught.value.code == "certificates-broken"


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../x", "token", "ca.pem", "bin", "", "bin/../token"]
)
def test_helpers_cannot_leave_or_replace(files, path):
    """A plugin's helper lies below /run/aileron and is none of ours."""
    with pytest.raises(AileronError) as caught:
        write(files, helpers=[HelperFile(path, b"x")])
    assert caught.value.code in ("helper-invalid", "host-refused")


def test_an_existing_directory_is_refused(files):
    """A session's directory is made, never taken over."""
    write(files)
    with pytest.raises(AileronError) as caught:
        write(files)
    assert caught.value.code == "host-refused"


def test_tokens():
    """256 random bits; the digest is what is compared."""
    assert len({new_token() for _ in range(100)}) == 100
    assert len(new_token()) >= 43
    assert token_digest("a") != token_digest("b")


# --- log ------------------------------------------------------------------------------------------


def read(directory):
    """Every frame of a log."""
    reader = LogReader(directory)
    found = []
    while (frame := reader.next()) is not None:
        found += Decoder().feed(frame)
    reader.close()
    return found


def test_a_log_keeps_channels_and_order(tmp_path):
    """What was printed is read as it was printed."""
    log = SessionLog(tmp_path)
    log.append(1, b"out")
    log.append(2, b"err")
    log.close()
    assert read(tmp_path) == [(Frame.STDOUT, b"out"), (Frame.STDERR, b"err")]
    assert read(tmp_path / "none") == []


def test_a_log_is_bounded(tmp_path):
    """It never takes more than its limit, and the newest is kept."""
    log = SessionLog(tmp_path, largest=10_000)
    for number in range(1000):
        log.append(1, f"{number:04} {'x' * 95}".encode())
    log.close()
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert size <= 10_000
    numbers = [int(payload[:4]) for _, payload in read(tmp_path)]
    assert numbers == list(range(numbers[0], 1000))
    assert len(numbers) > 40


def test_a_torn_end_is_left_out(tmp_path):
    """A log that was cut off in the middle of a frame is read up to there."""
    log = SessionLog(tmp_path)
    log.append(1, b"whole")
    log.append(1, b"torn")
    log.close()
    path = tmp_path / "output.log"
    path.write_bytes(path.read_bytes()[:-2])
    assert read(tmp_path) == [(Frame.STDOUT, b"whole")]


def test_a_reader_follows_a_log_that_turns_over(tmp_path):
    """What is written while reading comes too, across files."""
    log = SessionLog(tmp_path, largest=2000)
    reader = LogReader(tmp_path)
    assert reader.next() is None
    found = []
    for number in range(100):
        log.append(1, f"{number:04}{'x' * 90}".encode())
        while (frame := reader.next()) is not None:
            found += [int(payload[:4]) for _, payload in Decoder().feed(frame)]
    assert found == list(range(100))
    reader.close()
    log.close()


def test_a_full_disk_loses_log_lines_only(tmp_path, monkeypatch):
    """Appending does not raise; what was lost is counted."""
    log = SessionLog(tmp_path)
    monkeypatch.setattr(os, "write", lambda fd, data: (_ for _ in ()).throw(OSError(28, "full")))
    log.append(1, b"12345")
    assert log.lost == 5


# --- probe ----------------------------------------------------------------------------------------

WANTED = probe.Wanted("/w", "rw", "claude", ("git",))
FIT = b"ok shell\nok writable\nok readable\nok bundle\nfound claude\nfound git\n"


def test_a_fit_image():
    """Everything is said; roots come after their line."""
    assert probe.judge("i", WANTED, FIT + b"roots /etc/x\n") == probe.Fitness("")


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        (b"ok shell\n", "image-unfit", "/bin/sh"),
        (b"ok writable\n", "image-unfit", "/w"),
        (b"ok bundle\n", "image-unfit", "/run/aileron"),
        (b"found claude\n", "agent-not-found", "claude"),
        (b"found git\n", "image-unfit", "git"),
    ],
)
def test_each_check_has_its_error(line, code, says):
    """Which of them fails is said, with a mend."""
    with pytest.raises(AileronError, match=says) as caught:
        probe.judge("i", WANTED, FIT.replace(line, b""))
    assert caught.value.code == code
    assert caught.value.hints


def test_a_read_only_workspace_must_be_readable_only():
    """What is asked depends on the workspace's mode."""
    said = FIT.replace(b"ok writable\n", b"")
    assert probe.judge("i", evolve(WANTED, mode="ro"), said) == probe.Fitness("")


def test_an_images_garbage_is_not_trusted():
    """Roots that are no certificates are an error, not a broken bundle."""
    with pytest.raises(AileronError):
        probe.judge("i", WANTED, FIT + b"roots /etc/x\n\0\0\0")


SPEC = SandboxSpec("s", "i", ("claude",), "/w", {"PATH": "/bin"})


def test_the_cache_depends_on_its_inputs(bench):
    """Another image, agent, program or PATH is another answer; another session is not."""
    image = ImageInfo("i", "sha256:1")

    def key(image=image, spec=SPEC, wanted=WANTED):
        return probe.cache_file(bench.paths, image, spec, wanted)

    same = key(spec=evolve(SPEC, session="other", env={"PATH": "/bin", "X": "1"}))
    assert same == key()
    others = {
        key(image=evolve(image, id="sha256:2")),
        key(spec=evolve(SPEC, env={"PATH": "/other"})),
        key(wanted=evolve(WANTED, agent="codex")),
        key(wanted=evolve(WANTED, programs=())),
    }
    assert len(others) == 4
    assert key() not in others


def test_a_broken_cache_is_no_answer(tmp_path):
    """What cannot be read is asked again."""
    (tmp_path / "x.json").write_text("{")
    assert probe.read_cache(tmp_path / "x.json") is None
    probe.write_cache(tmp_path / "a/b/x.json", probe.Fitness("r"))
    assert probe.read_cache(tmp_path / "a/b/x.json") == probe.Fitness("r")


# --- recovery -------------------------------------------------------------------------------------


async def test_nothing_to_recover_opens_no_backend(bench):
    """A first start asks no backend."""
    async with bench.running() as engine:
        assert list(await engine.recover()) == []
    assert bench.backends == []


async def killed(bench, *argv, **changes):
    """A session of a daemon that was killed: its world, files and record stay."""
    async with bench.running() as engine:
        await bench.launch("sleep", "infinity", detach=True, **changes)
        run = next(iter(engine.runs.values()))
        # As kill -9 leaves it: copies of everything that undoing will remove.
        saved = dict(bench.world.sandboxes)
        inside = bench.paths.session_runtime(run.plan.session) / "inside"
        names = sorted(path.name for path in inside.iterdir())
        stubs = (bench.paths.session_state(run.plan.session) / "stubs.json").read_bytes()
        tree = list(bench.workspace.rglob("*"))
        kinds = {path: path.is_dir() for path in tree}
        summary = run.summary
    bench.world.sandboxes.update(saved)
    inside.mkdir(parents=True)
    for name in names:
        (inside / name).touch()
    for path, is_directory in kinds.items():
        path.mkdir(exist_ok=True) if is_directory else path.touch()
    entries = [{**entry, "inode": 0, "device": 0} for entry in json.loads(stubs)]
    (bench.paths.session_state(summary.id) / "stubs.json").write_text(json.dumps(entries))
    async with bench.running() as engine:
        await engine.store.save(summary)
    return summary


async def test_what_a_killed_daemon_left_is_ended(bench):
    """Sandbox, directory and stubs are removed, the record says why, a line tells of each."""
    summary = await killed(bench)
    assert bench.left() != []
    async with bench.running() as engine:
        lines = await engine.recover()
        record = await engine.find(summary.id)
        assert (record.state, record.reason) == ("failed", "daemon ended")
        assert await engine.recover() == []
    assert bench.left() == []
    told = "\n".join(lines)
    for what in ("sandbox", "directory", ".mcp.json", summary.id):
        assert what in told


async def test_a_backend_that_does_not_answer_is_told(bench, monkeypatch):
    """The record is closed all the same, and says that the sandbox was not looked for."""
    summary = await killed(bench)
    async with bench.running() as engine:

        async def refuse(name, connection=None):
            raise aileron_error("no backend here")

        monkeypatch.setattr(type(bench.daemon), "backend", lambda self, *a: refuse(*a))
        lines = await engine.recover()
        assert "could not be looked for" in (await engine.find(summary.id)).reason
    assert any("no backend here" in line for line in lines)


async def test_stubs_stay_while_a_sandbox_may_run(bench, monkeypatch):
    """They hold its protection: they go at the first start that sees that the sandbox is gone."""
    await killed(bench)
    stub = bench.workspace / ".mcp.json"
    for _ in range(2):
        async with bench.running() as engine:
            with monkeypatch.context() as patch:

                async def refuse(*_):
                    await trio.lowlevel.checkpoint()
                    raise aileron_error("no backend here")

                patch.setattr(type(bench.daemon), "backend", refuse)
                lines = await engine.recover()
        assert any("may still run" in line for line in lines)
        assert stub.exists()
    async with bench.running() as engine:
        await engine.recover()
    assert bench.left() == []


async def test_a_sandbox_that_stays_does_not_keep_the_daemon_from_starting(bench):
    """It is told of, its record says so, its stubs stay; the next start removes all of it."""
    summary = await killed(bench)
    async with bench.running() as engine:
        backend = await bench.daemon.backend("fake")
        backend.fail("remove", aileron_error("it is busy"))
        lines = await engine.recover()
        assert "could not be removed" in (await engine.find(summary.id)).reason
        assert (bench.workspace / ".mcp.json").exists()
    assert any("cannot be removed: it is busy" in line for line in lines)
    async with bench.running() as engine:
        await engine.recover()
    assert bench.left() == []


# --- undoing --------------------------------------------------------------------------------------


async def test_undoing_goes_on_after_a_failure():
    """Newest first; what cannot be undone is named, the others are undone."""
    done = []

    def work(name, error=None):
        async def do():
            await trio.lowlevel.checkpoint()
            if error:
                raise error
            done.append(name)

        return do

    left: list[str] = []
    async with AsyncExitStack() as stack:
        undo = Undo(stack, left)
        undo.later("first", work("first"))
        undo.later("second", work("second", OSError(5, "I/O error")))
        undo.later("third", work("third"))
    assert done == ["third", "first"]
    assert len(left) == 1
    assert left[0].startswith("second")


async def test_undoing_is_not_interrupted(patient_clock):
    """A cancelled session undoes everything, and what hangs is given up on."""
    done = []

    async def slow():
        await trio.sleep(5)
        done.append("slow")

    left: list[str] = []
    with trio.CancelScope() as scope:
        async with AsyncExitStack() as stack:
            undo = Undo(stack, left)
            undo.later("slow", slow)
            undo.later("hanging", trio.sleep_forever)
            scope.cancel()
            await trio.lowlevel.checkpoint()
    assert done == ["slow"]
    assert left == ["hanging (not within 30 s)"]


def test_a_step_names_itself():
    """Whatever is raised inside becomes an error that people can read."""
    for error in (OSError(28, "No space left", "/x"), ExceptionGroup("g", [OSError(13, "no")])):
        with pytest.raises(AileronError) as caught, step("create"):
            raise error
        assert caught.value.code == "host-refused"
        assert "'create'" in caught.value.why


def test_faults_are_internal():
    """A bug is said to be one."""
    assert as_error(ValueError("x")).code == "internal"
    assert as_error(BaseExceptionGroup("g", [KeyboardInterrupt()])).code == "internal"
