"""Find a program on the host, and what of the host it needs to run in the host tier.

Only what the program consists of is bound: its file, its package, its virtual environment, the
prefix of its interpreter. Never a home directory, nor a directory that holds keys.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from attrs import define, field, frozen

SYSTEM = tuple(Path(place) for place in ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32"))
"""What the host tier shows anyway."""

KEYS = (
    ".ssh",
    ".gnupg",
    ".aws",
    ".azure",
    ".kube",
    ".docker",
    ".netrc",
    ".password-store",
    ".git-credentials",
)
"""Names of what holds keys: nothing that an agent brings along may hold them."""

_MOST_LINKS = 40  # as the kernel: MAXSYMLINKS
_DEEPEST = 4
_VERSION_MANAGERS = frozenset({"mise", "asdf", "volta-shim", "rtx", "proto"})


@frozen
class Installed:
    """A program on the host."""

    path: Path
    """As found: absolute, links not followed."""
    binds: tuple[Path, ...] = ()
    """What lies outside the system's own directories and must be shown, outermost only."""
    links: Mapping[Path, str] = field(factory=dict)
    """Symbolic links on the way to it, with their targets: a program may look at its own path."""


@frozen
class Search:
    """Where programs are looked for."""

    directories: tuple[Path, ...]
    home: Path

    @classmethod
    def of(cls, path: str, home: Path, more: Iterable[str] = ()) -> Search:
        """From ``PATH``, with more places after it (``~/`` is the home); no relative ones."""
        extra = [str(home / place[2:]) if place.startswith("~/") else place for place in more]
        places = [Path(part) for part in (*path.split(":"), *extra) if part.startswith("/")]
        return cls(tuple(dict.fromkeys(places)), home)

    def which(self, name: str) -> Path | None:
        """The first executable file of that name."""
        for directory in self.directories:
            candidate = directory / name
            if is_program(candidate):
                return candidate
        return None


def is_program(path: Path) -> bool:
    """A regular file that this user may execute."""
    try:
        return stat.S_ISREG(path.stat().st_mode) and os.access(path, os.X_OK)
    except OSError:
        return False


def is_system(path: Path) -> bool:
    """The host tier shows it without being asked."""
    return any(path.is_relative_to(place) for place in SYSTEM)


def locate(name: str, search: Search, extra: Iterable[str] = ()) -> Installed | None:
    """The program and what it needs; None when it is not there or cannot be shown safely.

    ``extra`` are more paths that an agent's profile names; absent or unsafe ones are left out.
    """
    found = Path(name) if name.startswith("/") else search.which(name)
    if found is None or not is_program(found):
        return None
    found = unshim(found)
    if found is None:
        return None
    needed = _Needed(search)
    needed.add(found)
    if not all(is_safe(path, search.home) for path in needed.binds):
        return None
    more = [search.home / place[2:] if place.startswith("~/") else Path(place) for place in extra]
    needed.binds += [path for path in more if path.exists() and is_safe(path, search.home)]
    return needed.installed(found)


def unshim(path: Path) -> Path | None:
    """What a shim of pyenv, nodenv or rbenv stands for; other files are themselves."""
    if path.resolve().name in _VERSION_MANAGERS:
        return None
    root = path.parent.parent
    if path.parent.name != "shims" or not (root / "versions").is_dir():
        return path
    return next((item for item in _versions(root, path.name) if is_program(item)), None)


def _versions(root: Path, name: str) -> Iterator[Path]:
    """Candidates under ``versions/``: the chosen version first, then newest by name."""
    try:
        chosen = (root / "version").read_text("utf-8", errors="replace").split()
    except OSError:
        chosen = []
    for version in chosen:
        if "/" not in version and version != "..":
            yield root / "versions" / version / "bin" / name
    for directory in sorted((root / "versions").iterdir(), reverse=True):
        yield directory / "bin" / name


@define
class _Needed:
    """Collects every path that running a program touches, as far as its files tell."""

    search: Search
    binds: list[Path] = field(factory=list)
    links: dict[Path, str] = field(factory=dict)

    def add(self, path: Path, depth: int = 0) -> None:
        """A program: its links, its file, its package, its interpreter."""
        real = self.follow(path)
        self.binds.append(real)
        root = package_root(real)
        if root is not None:
            self.binds.append(root)
            self.python_home(root)
        interpreter = interpreter_of(real, self.search)
        if interpreter is not None and depth < _DEEPEST:
            self.add(interpreter, depth + 1)

    def follow(self, path: Path) -> Path:
        """The real file; the links on the way are remembered."""
        found = dict(links(path))
        self.links.update(found)
        return path.resolve()

    def python_home(self, root: Path) -> None:
        """The prefix of the interpreter that a virtual environment names."""
        home = python_home(root)
        if home is not None:
            python = self.follow(home / "python3")
            self.binds.append(package_root(python) or python)

    def installed(self, found: Path) -> Installed:
        """What was collected, without what the host tier shows anyway."""
        binds = outermost(path for path in self.binds if not is_system(path))
        shown = {
            path: target
            for path, target in sorted(self.links.items())
            if not is_system(path) and not any(path.is_relative_to(bind) for bind in binds)
        }
        return Installed(found, binds, shown)


def links(path: Path) -> Iterator[tuple[Path, str]]:
    """Each symbolic link on the way to ``path``'s file (directories too), with its target."""
    todo, here, seen = list(path.parts[1:]), Path("/"), 0
    while todo and seen <= _MOST_LINKS:
        part = todo.pop(0)
        here = here.parent if part == ".." else here / part
        if not here.is_symlink():
            continue
        target, seen = os.readlink(here), seen + 1
        yield here, target
        todo = [*(word for word in target.split("/") if word not in ("", ".")), *todo]
        here = Path("/") if target.startswith("/") else here.parent


def package_root(real: Path) -> Path | None:
    """The directory that a program's file belongs to and needs beside it.

    A Node package (outside the packages that contain it), a virtual environment, a Node or Python
    prefix; None for a file that stands alone.
    """
    if "node_modules" in real.parts:
        return _node_package(real)
    for parent in list(real.parents)[:3]:
        if (parent / "pyvenv.cfg").is_file():
            return parent
    prefix = real.parent.parent
    if real.parent.name == "bin" and (
        any(prefix.glob("lib/python3*/os.py")) or (prefix / "include/node/node.h").is_file()
    ):
        return prefix
    return None


def _node_package(real: Path) -> Path:
    """``…/node_modules/NAME`` or ``…/node_modules/@SCOPE/NAME``, outermost ``node_modules``."""
    index = real.parts.index("node_modules")
    length = index + (3 if real.parts[index + 1].startswith("@") else 2)
    return Path(*real.parts[:length])


def python_home(root: Path) -> Path | None:
    """The directory of the interpreter that a virtual environment's ``pyvenv.cfg`` names."""
    try:
        lines = (root / "pyvenv.cfg").read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines[:100]:
        key, _, value = line.partition("=")
        if key.strip() == "home" and value.strip().startswith("/"):
            return Path(value.strip())
    return None


def interpreter_of(real: Path, search: Search) -> Path | None:
    """The program that a script's ``#!`` line names, ``env NAME`` looked up on PATH."""
    try:
        with real.open("rb") as file:
            line = file.readline(1024)
    except OSError:
        return None
    if not line.startswith(b"#!"):
        return None
    words = line[2:].decode("utf-8", "replace").split()
    if words and words[0].rsplit("/", 1)[-1] == "env":
        names = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
        found = search.which(names[0]) if names else None
        return unshim(found) if found is not None else None
    return Path(words[0]) if words and words[0].startswith("/") else None


def is_safe(path: Path, home: Path) -> bool:
    """Whether showing ``path`` shows a program and nothing personal."""
    if is_system(path):
        return True
    if home.is_relative_to(path) or len(path.parts) < 3 or any(part in KEYS for part in path.parts):
        return False
    return not any((path / name).exists() for name in KEYS)


def outermost(paths: Iterable[Path]) -> tuple[Path, ...]:
    """The paths without those that lie under another of them, sorted."""
    kept = set(paths)
    return tuple(sorted(path for path in kept if not kept.intersection(path.parents)))
