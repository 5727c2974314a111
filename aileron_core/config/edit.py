"""Changing the user's own file: comments and order stay, and it is never half written."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import tomlkit
from tomlkit.items import Array, Table

from aileron_core.config.errors import CONFIG_UNWRITABLE, CONFIG_VALUE
from aileron_core.config.files import parse, read_bytes
from aileron_core.errors import AileronError


def change_disabled(file: Path, change: Callable[[list[str]], None], start: list[str]) -> bool:
    """Change the list ``[plugins] disable`` of a file; made when absent, with ``start`` in it.

    Returns:
        Whether anything changed.

    Raises:
        AileronError: ``config-…``; the file is then as it was.
    """
    with _locked(file):
        content = read_bytes(file) or b""
        parse(file, content)  # tomlkit's own errors name no file
        document = tomlkit.parse(content.decode())
        names = _names(file, document, start)
        before = [str(name) for name in names]
        after = list(before)
        change(after)
        if after == before:
            return False
        _apply(names, after)
        write_private(file, tomlkit.dumps(document).encode())
        return True


def _names(file: Path, document: tomlkit.TOMLDocument, start: list[str]) -> Array:
    table = document.setdefault("plugins", tomlkit.table())
    if not isinstance(table, (Table, dict)):
        raise CONFIG_VALUE(f"plugins in {file} is not a table")
    if "disable" not in table:
        table["disable"] = tomlkit.array()
        table["disable"].extend(start)
    names = table["disable"]
    if not isinstance(names, Array):
        raise CONFIG_VALUE(f"plugins.disable in {file} is not a list")
    return names


def _apply(names: Array, after: list[str]) -> None:
    """Change the array item by item, so that the comments between them stay."""
    for index in reversed(range(len(names))):
        if str(names[index]) not in after:
            del names[index]
    present = [str(name) for name in names]
    for name in after:
        if name not in present:
            names.append(name)


def write_private(file: Path, content: bytes) -> None:
    """Replace a file at once (0600); a link keeps pointing where it points.

    Raises:
        AileronError: ``config-unwritable``.
    """
    real = Path(os.path.realpath(file))
    part = real.with_name(f".{real.name}.{os.getpid()}.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(descriptor)
        part.replace(real)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise _unwritable(file, error) from error


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Two commands that change the file take turns."""
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _unwritable(file, error) from error
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


def _unwritable(file: Path, error: OSError) -> AileronError:
    return CONFIG_UNWRITABLE(f"cannot write {file}", why=str(error.strerror))
