"""Paths that must not come into being: something is put there while a session runs.

A mount needs something to sit on, so a protected path that is absent gets an empty stub in the
workspace (or in the upper directory of an overlay). What will be made is written to a journal
first, so that whoever finds the journal after a crash can remove it; what changed is left alone.

The workspace is hostile ground: every component is opened relative to the one before, links are
refused and never followed, so nothing outside the workspace can be touched.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from attrs import asdict, define, evolve, field, frozen

from aileron_core.errors import EXIT_CONFIG, ErrorCode
from aileron_core.sessions.files import host_errors

WORKSPACE_HOSTILE = ErrorCode(
    "workspace-hostile",
    EXIT_CONFIG,
    "A protected path of the workspace is a link or no plain file.",
)

CONTENTS = {".git/commondir": b".\n", "commondir": b".\n"}
"""What a stub file holds when it may not be empty: Git reads this one whenever it exists, and "."
is the directory that it would take anyway."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@frozen
class Stub:
    """Something that was put where nothing was. ``inode`` is 0 until it has been made."""

    root: str
    """Directory that ``path`` is relative to."""
    path: str
    directory: bool
    device: int = 0
    inode: int = 0

    @property
    def key(self) -> tuple[str, str]:
        """What makes two sessions' stubs the same one."""
        return self.root, self.path


@define(eq=False)
class StubKeeper:
    """Makes and removes stubs for all sessions; those in one workspace share them."""

    _holders: dict[tuple[str, str], set[str]] = field(factory=dict)
    _made: dict[tuple[str, str], Stub] = field(factory=dict)

    def make(
        self,
        session: str,
        root: Path,
        protected: Iterable[str],
        *,
        owner: tuple[int, int],
        journal: Path,
        below: Path | None = None,
    ) -> tuple[str, ...]:
        """Put a stub at each protected path that is absent; the paths that got one.

        Args:
            session: who needs them.
            root: the workspace, or an overlay's upper directory.
            protected: relative paths; with a slash at the end they become directories.
            owner: host uid and gid that the stubs get.
            journal: file that is written before anything is made.
            below: the workspace under an overlay: what exists there needs no stub.

        Raises:
            AileronError: ``workspace-hostile`` for a link on the way, ``host-refused``.
        """
        with host_errors(f"protect paths of {root}"):
            shared, wanted = self._wanted(root, protected, below)
            self._hold(session, [*shared, *wanted])
            _write_journal(journal, [*shared, *wanted])
            made = filter(None, [_make(stub, owner) for stub in wanted])
            self._made.update((stub.key, stub) for stub in made)
            held = [stub for stub in self._made.values() if session in self._holders[stub.key]]
            _write_journal(journal, held)
        return tuple(stub.path for stub in held)

    def release(self, session: str, journal: Path) -> tuple[str, ...]:
        """Remove this session's stubs that no other holds; the paths that had changed and stay."""
        stubs = read_journal(journal)
        last = [stub for stub in stubs if self._let_go(session, stub)]
        left = remove_stubs(last)
        journal.unlink(missing_ok=True)
        return left

    def _wanted(
        self, root: Path, protected: Iterable[str], below: Path | None
    ) -> tuple[list[Stub], list[Stub]]:
        """Stubs that another session has made already, and those that must be made."""
        shared: dict[tuple[str, str], Stub] = {}
        wanted: dict[tuple[str, str], Stub] = {}
        for text in protected:
            for stub in _missing(root, text, below):
                wanted[stub.key] = stub
            for stub in _chain(root, text):
                if stub.key in self._made:
                    shared[stub.key] = self._made[stub.key]
        return list(shared.values()), list(wanted.values())

    def _hold(self, session: str, stubs: Iterable[Stub]) -> None:
        for stub in stubs:
            self._holders.setdefault(stub.key, set()).add(session)

    def _let_go(self, session: str, stub: Stub) -> bool:
        """Stop holding the stub; true when nobody holds it any more."""
        holders = self._holders.get(stub.key, set())
        holders.discard(session)
        if holders:
            return False
        self._holders.pop(stub.key, None)
        self._made.pop(stub.key, None)
        return True


# --- the journal ------------------------------------------------------------------------------


def read_journal(journal: Path) -> list[Stub]:
    """The stubs of a journal; none when there is no journal or it is not whole."""
    try:
        return [Stub(**entry) for entry in json.loads(journal.read_bytes())]
    except (OSError, ValueError, TypeError):
        return []


def _write_journal(journal: Path, stubs: Iterable[Stub]) -> None:
    """Replace the journal in one step: a reader sees the old one or the new one."""
    entries: list[dict[str, Any]] = [asdict(stub) for stub in stubs]
    fresh = journal.with_suffix(".new")
    fresh.write_text(json.dumps(entries))
    fresh.replace(journal)


def remove_stubs(stubs: Iterable[Stub]) -> tuple[str, ...]:
    """Remove stubs that nobody touched, deepest first; the paths of those that stay."""
    left = []
    for stub in sorted(stubs, key=lambda stub: -len(PurePosixPath(stub.path).parts)):
        if not _remove(stub):
            left.append(stub.path)
    return tuple(left)


# --- looking and making -----------------------------------------------------------------------


def check_workspace(root: Path, protected: Iterable[str]) -> None:
    """Refuse links at protected paths and on the way to them.

    Raises:
        AileronError: ``workspace-hostile``.
    """
    for text in protected:
        for _ in _missing(root, text, None):
            pass


def effective(root: Path, protected: Iterable[str]) -> tuple[str, ...]:
    """The protected paths as they can be mounted: below a *file* nothing exists, so the file is it.

    In a worktree ``.git`` is a file that names the repository; it is protected as a whole.
    """
    found: dict[str, None] = {}
    for text in protected:
        found[_as_file(root, text) or text] = None
    return tuple(found)


def _as_file(root: Path, text: str) -> str | None:
    parts = PurePosixPath(text).parts
    for end in range(1, len(parts)):
        head = PurePosixPath(*parts[:end])
        info = _lstat(root, head)
        if info is not None and stat.S_ISREG(info.st_mode):
            return str(head)
    return None


def _lstat(root: Path, path: PurePosixPath) -> os.stat_result | None:
    try:
        with _opened(root, path.parent) as parent:
            return os.stat(path.name, dir_fd=parent, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _chain(root: Path, text: str) -> Iterator[Stub]:
    """A stub for each component of the path, outermost first."""
    parts = PurePosixPath(text).parts
    for end in range(1, len(parts) + 1):
        is_directory = end < len(parts) or text.endswith("/")
        yield Stub(str(root), str(PurePosixPath(*parts[:end])), is_directory)


def _missing(root: Path, text: str, below: Path | None) -> Iterator[Stub]:
    """The components of a protected path that do not exist.

    Under an overlay a component that exists below is made in the upper directory only when
    something absent must be made in it.
    """
    absent = []
    lower_absent = False
    for stub in _chain(root, text):
        info = _look(root, stub)
        lower = _look(below, stub) if below is not None else None
        if info is None:
            absent.append(stub)
            lower_absent = lower_absent or lower is None
    if below is None or lower_absent:
        yield from absent


def _look(root: Path, stub: Stub) -> os.stat_result | None:
    try:
        info = _lstat(root, PurePosixPath(stub.path))
    except OSError as error:
        raise _hostile(root, stub.path, error.strerror or str(error)) from error
    if info is None:
        return None
    if stat.S_ISLNK(info.st_mode):
        raise _hostile(root, stub.path, "it is a symbolic link")
    if not (stat.S_ISDIR(info.st_mode) or stat.S_ISREG(info.st_mode)):
        raise _hostile(root, stub.path, "it is neither a file nor a directory")
    return info


def _hostile(root: Path, path: str, why: str) -> Exception:
    return WORKSPACE_HOSTILE(
        f"the protected path {path} in {root} cannot be protected",
        why=why,
        hints=[
            f"replace {path} by a plain file or directory, or remove it",
            "or take it off the protected paths in your configuration",
        ],
    )


@contextmanager
def _opened(root: Path, relative: PurePosixPath) -> Iterator[int]:
    """A descriptor of a directory under ``root``, no link followed on the way."""
    descriptor = os.open(root, _DIRECTORY)
    try:
        for part in relative.parts:
            inner = os.open(part, _DIRECTORY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def _make(stub: Stub, owner: tuple[int, int]) -> Stub | None:
    """The stub as it was made; None when somebody else made something there meanwhile."""
    path = PurePosixPath(stub.path)
    with _opened(Path(stub.root), path.parent) as parent:
        try:
            descriptor = _create(path.name, parent, directory=stub.directory)
        except FileExistsError:
            return None
        try:
            os.fchmod(descriptor, 0o755 if stub.directory else 0o644)  # whatever our umask
            info = os.fstat(descriptor)
            if owner != (info.st_uid, info.st_gid):
                os.fchown(descriptor, *owner)
            if stub.path in CONTENTS:
                os.write(descriptor, CONTENTS[stub.path])
        finally:
            os.close(descriptor)
    return evolve(stub, device=info.st_dev, inode=info.st_ino)


def _create(name: str, parent: int, *, directory: bool) -> int:
    if not directory:
        return os.open(name, _NEW_FILE, 0o644, dir_fd=parent)
    os.mkdir(name, 0o755, dir_fd=parent)
    return os.open(name, _DIRECTORY, dir_fd=parent)


def _remove(stub: Stub) -> bool:
    """Remove an untouched stub; true when nothing of it is left."""
    path = PurePosixPath(stub.path)
    with suppress(FileNotFoundError, NotADirectoryError):
        try:
            with _opened(Path(stub.root), path.parent) as parent:
                info = os.stat(path.name, dir_fd=parent, follow_symlinks=False)
                if not _is_untouched(stub, info):
                    return False
                if stub.directory:
                    os.rmdir(path.name, dir_fd=parent)
                else:
                    os.unlink(path.name, dir_fd=parent)
        except (FileNotFoundError, NotADirectoryError):
            raise
        except OSError:  # not empty, a link on the way, a read-only file system: it is not ours now
            return False
    return True


def _is_untouched(stub: Stub, info: os.stat_result) -> bool:
    if stub.directory:
        return stat.S_ISDIR(info.st_mode) and stub.inode in (0, info.st_ino)
    if not stat.S_ISREG(info.st_mode) or info.st_size not in (0, len(CONTENTS.get(stub.path, b""))):
        return False
    # Inode 0: the daemon died between the journal and the file; an empty file is the one meant.
    return stub.inode == 0 or (stub.device, stub.inode) == (info.st_dev, info.st_ino)
