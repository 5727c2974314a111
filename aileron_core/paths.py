"""Where Aileron keeps things: XDG directories, private to the user.

Source: XDG Base Directory Specification 0.8. Root has ``/run/aileron-0`` where ``XDG_RUNTIME_DIR``
is unset; every directory is 0700 and must belong to the user.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from attrs import frozen

from aileron_core.errors import EXIT_CANNOT_CREATE, EXIT_CONFIG, ErrorCode

DIRECTORY_UNSAFE = ErrorCode(
    "directory-unsafe", EXIT_CONFIG, "A private directory belongs to somebody else or is a link."
)
DIRECTORY_UNUSABLE = ErrorCode(
    "directory-unusable", EXIT_CANNOT_CREATE, "A private directory cannot be made."
)

_VARIABLES = ("XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_CACHE_HOME")

# sun_path holds 108 bytes with the terminating NUL (unix(7)); "console.sock" and friends need 32.
_LONGEST_RUNTIME = 76


@frozen
class Paths:
    """The directories of one user."""

    runtime: Path
    """Sockets, lock, per-session directories; gone after a reboot."""
    state: Path
    """Database, audit log, session logs, change sets."""
    config: Path
    """The user's ``config.toml``."""
    data: Path
    """What was installed: profiles, connectors."""
    cache: Path
    """What can be made again: plugin scan, root file systems."""
    system_config: Path = Path("/etc/aileron/config.toml")

    @property
    def socket(self) -> Path:
        """The daemon's API (HTTP over a Unix socket)."""
        return self.runtime / "daemon.sock"

    @property
    def console(self) -> Path:
        """The daemon's console socket: terminals and pipes of sessions."""
        return self.runtime / "console.sock"

    @property
    def lock(self) -> Path:
        """Held by the daemon as long as it lives (flock)."""
        return self.runtime / "daemon.lock"

    @property
    def daemon_log(self) -> Path:
        """What the daemon says of itself."""
        return self.state / "daemon.log"

    @property
    def database(self) -> Path:
        """SQLite."""
        return self.state / "aileron.db"

    @property
    def audit(self) -> Path:
        """The hash-chained log."""
        return self.state / "audit.jsonl"

    @property
    def user_config(self) -> Path:
        """The user's configuration file."""
        return self.config / "config.toml"

    def session_runtime(self, session: str) -> Path:
        """What a session has while it lives; removed at its end."""
        return self.runtime / "sessions" / session

    def session_state(self, session: str) -> Path:
        """What stays of a session: log, change set; removed by ``sessions rm``."""
        return self.state / "sessions" / session


def find_paths(environment: Mapping[str, str] | None = None) -> Paths:
    """The user's directories from the environment (XDG variables, ``HOME``)."""
    env = os.environ if environment is None else environment
    home = Path(env.get("HOME") or "/root")

    def base(variable: str, fallback: Path) -> Path:
        value = env.get(variable, "")
        return Path(value) if value.startswith("/") else fallback

    runtime_base = env.get("XDG_RUNTIME_DIR", "")
    shared = "/run" if os.getuid() == 0 else "/tmp"  # noqa: S108 - checked by make_private
    runtime = (
        Path(runtime_base) / "aileron"
        if runtime_base.startswith("/") and len(runtime_base) <= _LONGEST_RUNTIME
        else Path(f"{shared}/aileron-{os.getuid()}")
    )
    return Paths(
        runtime=runtime,
        state=base("XDG_STATE_HOME", home / ".local/state") / "aileron",
        config=base("XDG_CONFIG_HOME", home / ".config") / "aileron",
        data=base("XDG_DATA_HOME", home / ".local/share") / "aileron",
        cache=base("XDG_CACHE_HOME", home / ".cache") / "aileron",
    )


def make_private(directory: Path) -> Path:
    """The directory, 0700 and the user's own, made when absent.

    Raises:
        AileronError: ``directory-unsafe`` when it is a link or somebody else's;
            ``directory-unusable`` when it cannot be made.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise DIRECTORY_UNUSABLE(
            f"the directory {directory} cannot be made",
            why=error.strerror or str(error),
            hints=[
                f"mend that, or set {', '.join(_VARIABLES)} to directories of your own",
            ],
        ) from error
    info = os.lstat(directory)
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid():
        raise DIRECTORY_UNSAFE(
            f"{directory} is not a directory of yours",
            why="another user could read or replace what is kept there",
            hints=[f"remove {directory}, or set XDG_RUNTIME_DIR to a directory of your own"],
        )
    if stat.S_IMODE(info.st_mode) != 0o700:
        directory.chmod(0o700)
    return directory
