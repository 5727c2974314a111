"""Reading one TOML file without trusting it."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from attrs import define, field

from aileron_core.config.errors import CONFIG_SYNTAX, CONFIG_UNREADABLE
from aileron_core.errors import AileronError

MOST_BYTES = 1 << 20  # of a configuration file
_LINE = re.compile(r"\(at line (\d+), column (\d+)\)")


@define(eq=False, slots=False)
class Document:
    """A TOML file as it was at one moment."""

    path: Path
    content: bytes = field(repr=False)
    data: dict[str, Any] = field(repr=False)

    @cached_property
    def _lines(self) -> dict[tuple[str | int, ...], int]:
        from aileron_core.config.scanner import find_lines

        return find_lines(self.content.decode())

    def where(self, path: Sequence[str | int]) -> str:
        """``file:line`` of a key."""
        from aileron_core.config.scanner import line_of

        return f"{self.path}:{line_of(self._lines, path)}"


def read_document(path: Path, *, hostile: bool = False) -> Document | None:
    """The file, or None when there is none.

    Args:
        path: absolute.
        hostile: somebody else wrote it (a repository): not even a link is followed.

    Raises:
        AileronError: ``config-unreadable`` (no regular file, too big, no permission) or
            ``config-syntax``.
    """
    content = read_bytes(path, hostile=hostile)
    return None if content is None else Document(path, content, parse(path, content))


def read_bytes(path: Path, *, hostile: bool = False) -> bytes | None:
    """The bytes of a regular file of at most 1 MiB; never waits on a FIFO or device."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    try:
        descriptor = os.open(path, flags | (os.O_NOFOLLOW if hostile else 0))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise _unreadable(path, _refusal(error)) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _unreadable(path, "it is not a regular file")
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise _unreadable(path, f"it is bigger than {MOST_BYTES} bytes")
    return content


def _refusal(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.ELOOP:
        return "it is a symbolic link"
    if isinstance(error, OSError) and error.errno == errno.ENXIO:
        return "it is not a regular file"
    return str(error.strerror if isinstance(error, OSError) else error)


def _unreadable(path: Path, why: str) -> AileronError:
    return CONFIG_UNREADABLE(
        f"cannot read {path}", why=why, hints=[f"make {path} a plain file, or remove it"]
    )


def parse(path: Path, content: bytes) -> dict[str, Any]:
    """The TOML, or ``config-syntax`` with the line."""
    import tomllib  # 10 ms with what follows, and many people have no file at all

    from aileron_core.config.scanner import has_endless_key

    try:
        text = content.decode()
        if has_endless_key(text):
            raise ValueError("a dotted key has more than 64 parts")
        return tomllib.loads(text)
    except RecursionError:
        raise _malformed(path, "it is nested too deeply") from None
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise _malformed(f"{path}:{line}", "it is not UTF-8") from error
    except ValueError as error:
        found = _LINE.search(str(error))
        at = f"{path}:{found.group(1)}" if found else path
        raise _malformed(at, _LINE.sub("", str(error)).strip()[:200]) from error


def _malformed(at: Path | str, why: str) -> AileronError:
    return CONFIG_SYNTAX(f"{at} is not valid TOML", why=why, hints=["correct the file"])
