"""The real `aileron` in its own directories, and what it leaves behind: for tests of real parts."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from attrs import define, field, frozen

PASSED_ON = ("PATH", "LANG", "LC_ALL", "TERM", "CI")
"""What the isolated environment takes over from the one that runs the tests (and `COVERAGE_…`)."""

OWNER_LABEL = "io.aileron.owner"


@frozen
class AileronEnv:
    """One user's directories and environment, apart from the person's own."""

    root: Path
    variables: Mapping[str, str]

    @property
    def home(self) -> Path:
        """``HOME``; holds no agent, no key, nothing."""
        return self.root / "home"

    @property
    def workspace(self) -> Path:
        """An empty directory to launch in."""
        return self.root / "work"

    @property
    def runtime(self) -> Path:
        """The daemon's runtime directory (sockets, per-session directories)."""
        return self.root / "run" / "aileron"

    @property
    def state(self) -> Path:
        """The daemon's state directory; the owner that its containers are labelled with."""
        return self.root / "state" / "aileron"

    @property
    def user_config(self) -> Path:
        """The user's configuration file; its directory exists."""
        return self.root / "config" / "aileron" / "config.toml"


def make_env(root: Path) -> AileronEnv:
    """Directories under ``root`` (a short path: Unix sockets live there) and their variables."""
    for name in ("home", "work", "run", "state", "config/aileron", "data", "cache"):
        (root / name).mkdir(mode=0o700, parents=True)
    variables = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    variables |= {k: v for k, v in os.environ.items() if k.startswith("COVERAGE_")}
    variables |= {
        "PATH": f"{Path(sys.executable).parent}:{variables.get('PATH', os.defpath)}",
        "HOME": str(root / "home"),
        "XDG_RUNTIME_DIR": str(root / "run"),
        "XDG_STATE_HOME": str(root / "state"),
        "XDG_CONFIG_HOME": str(root / "config"),
        "XDG_DATA_HOME": str(root / "data"),
        "XDG_CACHE_HOME": str(root / "cache"),
    }
    if os.getuid() != 0:
        variables["XDG_DATA_HOME"] = _share_images(root)
    return AileronEnv(root, variables)


def _share_images(root: Path) -> str:
    """A plain user's images and Podman's settings lie in the home: use the person's own."""
    home = Path.home()
    settings = Path(os.environ.get("XDG_CONFIG_HOME", home / ".config")) / "containers"
    if settings.is_dir():
        (root / "config" / "containers").symlink_to(settings)
    return os.environ.get("XDG_DATA_HOME", str(home / ".local/share"))


def podman(*args: str, check: bool = True, **more: Any) -> subprocess.CompletedProcess[str]:
    """The real podman, as the tests' own user; its output is in the failure."""
    done = subprocess.run(["podman", *args], capture_output=True, text=True, **more)
    assert not check or done.returncode == 0, explain(done)
    return done


def explain(done: subprocess.CompletedProcess[str]) -> str:
    """Command, exit status and output of what ran, for a failing test."""
    command = " ".join(map(str, done.args))
    return f"$ {command}\nexit {done.returncode}\n{done.stdout}\n--- stderr\n{done.stderr}"


@define(eq=False)
class Aileron:
    """Runs the real command line; call it: ``aileron("sessions", "list")``."""

    env: AileronEnv
    _started: list[subprocess.Popen[Any]] = field(factory=list, init=False)

    def __call__(
        self,
        *args: str | Path,
        input: str | None = None,  # noqa: A002 - as subprocess.run names it
        cwd: str | Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = 180,
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end; nothing is checked. No input: standard input is empty."""
        return subprocess.run(
            self.argv(*args),
            input="" if input is None else input,
            cwd=cwd or self.env.workspace,
            env={**self.env.variables, **(env or {})},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
        )

    def ok(self, *args: str | Path, **more: Any) -> str:
        """Standard output of a command that must succeed."""
        done = self(*args, **more)
        assert done.returncode == 0, explain(done)
        return done.stdout

    def json(self, *args: str | Path, **more: Any) -> Any:
        """What ``aileron --json …`` prints, decoded; it must succeed."""
        return json.loads(self.ok("--json", *args, **more))

    def start(self, *args: str | Path, **more: Any) -> subprocess.Popen[Any]:
        """Start and do not wait; ended with the fixture at the latest. ``more`` goes to Popen."""
        more.setdefault("cwd", self.env.workspace)
        more["env"] = {**self.env.variables, **more.get("env", {})}
        process = subprocess.Popen(self.argv(*args), **more)
        self._started.append(process)
        return process

    @staticmethod
    def argv(*args: str | Path) -> list[str]:
        """The command line of ``aileron ARGS``."""
        return [str(Path(sys.executable).parent / "aileron"), *map(str, args)]

    def close(self) -> Leftovers:
        """End what was started, stop the daemon, and say what is there nevertheless."""
        for process in self._started:
            _end(process)
        stopped = self("daemon", "stop") if self.env.runtime.exists() else None
        left = look(self.env)
        if stopped is not None and stopped.returncode not in (0, 69):
            left.found.append(f"daemon stop failed: {explain(stopped)}")
        return left


def _end(process: subprocess.Popen[Any]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait()
    streams: list[IO[Any] | None] = [process.stdin, process.stdout, process.stderr]
    for stream in streams:
        if stream is not None:
            with contextlib.suppress(BrokenPipeError):
                stream.close()


@frozen
class Leftovers:
    """What is on the machine because of one environment; ``found`` is for people."""

    found: list[str] = field(factory=list)
    containers: list[str] = field(factory=list)
    processes: list[int] = field(factory=list)
    mounts: list[str] = field(factory=list)
    files: list[str] = field(factory=list)

    def __bool__(self) -> bool:
        """There is something."""
        return bool(self.found)

    def __str__(self) -> str:
        """One line each."""
        return "\n".join(self.found) or "nothing"


def look(env: AileronEnv, *, daemon: bool = False) -> Leftovers:
    """Containers, processes, mounts, sockets, tokens and session directories of ``env``.

    With ``daemon`` the daemon may be running: its process, sockets and Podman service are expected.
    """
    containers = _containers(env)
    processes = {p: c for p, c in _processes(env) if not (daemon and _is_daemon(c))}
    mounts = _mounts(env)
    files = _files(env, daemon=daemon)
    found = [f"container {c}" for c in containers]
    found += [f"process {p}: {c}" for p, c in processes.items()]
    found += [f"mount {m}" for m in mounts]
    found += [f"file {f}" for f in files]
    return Leftovers(found, containers, list(processes), mounts, files)


def _containers(env: AileronEnv) -> list[str]:
    listed = json.loads(podman("ps", "-a", "--format", "json").stdout or "[]") or []
    return [
        c["Id"]
        for c in listed
        if str((c.get("Labels") or {}).get(OWNER_LABEL, "")).startswith(str(env.root))
    ]


def _processes(env: AileronEnv) -> Iterator[tuple[int, str]]:
    """Processes whose environment or command line names the environment's root."""
    needle = os.fsencode(env.root)
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            command = (entry / "cmdline").read_bytes()
            if command and (needle in command or needle in (entry / "environ").read_bytes()):
                yield int(entry.name), command.replace(b"\0", b" ").decode(errors="replace").strip()


def _is_daemon(command: str) -> bool:
    return "daemon" in command or "podman system service" in command or "podman" in command


def _mounts(env: AileronEnv) -> list[str]:
    table = Path("/proc/self/mountinfo").read_text()
    return [line for line in table.splitlines() if str(env.root) in line]


def _files(env: AileronEnv, *, daemon: bool) -> list[str]:
    """What must not outlive sessions: their runtime directories, tokens; later the sockets too."""
    left = list((env.runtime / "sessions").glob("*"))
    # os.walk: what it looks at may be removed meanwhile.
    names = [Path(where, name) for where, _, files in os.walk(env.root) for name in files]
    left += [path for path in names if path.name == "token"]
    if not daemon:
        left += [path for path in names if path.suffix == ".sock" and env.runtime in path.parents]
    return sorted({str(p) for p in left})


def discard(env: AileronEnv, left: Leftovers) -> None:
    """Remove by force what a failing test left, and the environment's directories."""
    # Containers first: Podman cannot end one whose monitor was killed under it.
    for container in left.containers:
        podman("rm", "--force", "--time=0", container, check=False)
    for pid in left.processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for line in reversed(left.mounts):
        subprocess.run(["umount", "--lazy", line.split()[4]], capture_output=True)
    shutil.rmtree(env.root, ignore_errors=True)


@contextlib.contextmanager
def running() -> Iterator[Aileron]:
    """An `Aileron` of its own; at the end its daemon is stopped and nothing may be left."""
    env = make_env(Path(tempfile.mkdtemp(prefix="ail-", dir="/tmp")))
    aileron = Aileron(env)
    try:
        yield aileron
    finally:
        left = aileron.close()
        discard(env, left)
    assert not left, f"left behind after `daemon stop`:\n{left}"


def wait_until(what: str, check: Any, seconds: float = 30) -> Any:
    """The first true value of ``check()``; polls, because the thing is another program's."""
    deadline = time.monotonic() + seconds
    while True:
        value = check()
        if value:
            return value
        assert time.monotonic() < deadline, f"after {seconds} s still not: {what}"
        time.sleep(0.02)
