"""What a person has said may loosen things: a file's or directory's path with its content's hash.

A change of a single byte ends the trust, as with direnv. Records live in the user's state
directory, one small file each, so that no lock is needed.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from aileron_core.config.errors import CONFIG_UNREADABLE
from aileron_core.config.files import MOST_BYTES, read_bytes
from aileron_core.errors import AileronError
from aileron_core.paths import Paths, make_private

_MOST_FILES = 1000  # in a directory that is trusted as a whole
_MOST_TREE_BYTES = 16 << 20


def digest(content: bytes) -> str:
    """The sha256 of a file's content, in hex."""
    import hashlib  # 3 ms, and needed only where a project has something to trust

    return hashlib.sha256(content).hexdigest()


def digest_path(path: Path) -> str | None:
    """The hash of a file, or of all that a directory holds; None when there is neither.

    Raises:
        AileronError: ``config-unreadable``: links, devices, too big.
    """
    if not path.is_dir() or path.is_symlink():
        content = read_bytes(path, hostile=True)
        return None if content is None else digest(content)
    return digest("\n".join(_tree_lines(path)).encode("utf-8", "surrogateescape"))


def _tree_lines(directory: Path) -> list[str]:
    lines, total = [], 0
    for root, directories, files in os.walk(directory):
        directories.sort()
        for name in sorted([*files, *(d for d in directories if Path(root, d).is_symlink())]):
            one = Path(root, name)
            line, size = _file_line(one)
            lines.append(f"{one.relative_to(directory)}\0{line}")
            total += size
            if len(lines) > _MOST_FILES or total > _MOST_TREE_BYTES:
                raise _refuse(directory, "it holds too much to be trusted as a whole")
    return lines


def _file_line(path: Path) -> tuple[str, int]:
    info = path.lstat()
    if stat.S_ISLNK(info.st_mode):
        return f"link {os.readlink(path)}", 0
    if not stat.S_ISREG(info.st_mode) or info.st_size > MOST_BYTES:
        raise _refuse(path, "only plain files of at most 1 MiB can be trusted")
    return f"{info.st_mode & 0o111:o} {digest(path.read_bytes())}", info.st_size


def _refuse(path: Path, why: str) -> AileronError:
    return CONFIG_UNREADABLE(f"cannot trust {path}", why=why)


def is_trusted(paths: Paths, path: Path, content_digest: str | None = None) -> bool:
    """The person trusts exactly what is there (or what ``content_digest`` is of)."""
    try:
        kept = _record(paths, path).read_text().splitlines()
    except (OSError, ValueError):
        return False
    now = digest_path(path) if content_digest is None else content_digest
    return now is not None and kept[:2] == [now, _name(path)]


def trust(paths: Paths, path: Path) -> str | None:
    """Pin what is there now; returns its hash, or None when there is nothing to trust."""
    now = digest_path(path)
    if now is None:
        return None
    record = _record(paths, path)
    make_private(paths.state)
    make_private(record.parent)
    part = record.with_suffix(f".{os.getpid()}.part")
    part.touch(mode=0o600)
    part.write_text(f"{now}\n{_name(path)}\n", "utf-8", "surrogateescape")
    part.replace(record)
    return now


def distrust(paths: Paths, path: Path) -> bool:
    """Forget it; False when it was not trusted."""
    try:
        _record(paths, path).unlink()
    except FileNotFoundError:
        return False
    return True


def _name(path: Path) -> str:
    """The path that trust is bound to: links in the directories above are resolved."""
    return os.path.join(os.path.realpath(path.parent), path.name).replace("\n", "\\n")


def _record(paths: Paths, path: Path) -> Path:
    return paths.state / "trust" / digest(os.fsencode(_name(path)))[:32]
