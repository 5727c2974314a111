"""What a session printed, on disk and bounded: two files of frames, the older one thrown away.

A frame is that of the console (`aileron_core.sessions.frames`), so that replaying the log keeps
standard output and standard error apart.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import structlog

from aileron_core.sessions.frames import HEADER, Frame, encode

LARGEST = 16 << 20
"""Bytes of one session's log, both files together."""

log = structlog.get_logger("aileron.sessions")


class SessionLog:
    """The log of one session; appending never fails the session.

    A full disk loses log lines, not the agent's work: ``lost`` then says how many bytes, and the
    daemon's log that it has begun.
    """

    def __init__(self, directory: Path, largest: int = LARGEST) -> None:
        self._current, self._older = _files(directory)
        self._half = largest // 2
        self._size = 0
        self._file: int | None = None
        self.lost = 0

    def append(self, channel: int, data: bytes) -> None:
        """Add output of channel 1 or 2."""
        frame = encode(Frame.STDERR if channel == 2 else Frame.STDOUT, data)
        try:
            self._write(frame)
        except OSError as error:
            if not self.lost:
                log.warning("output is not logged", file=str(self._current), error=str(error))
            self.lost += len(data)
            self.close()

    def close(self) -> None:
        """Let go of the file; appending opens it again."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _write(self, frame: bytes) -> None:
        if self._size + len(frame) > self._half:
            self._turn_over()
        if self._file is None:
            self._current.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            self._file = os.open(self._current, flags, 0o600)
            self._size = os.fstat(self._file).st_size
        before = self._size
        self._size += os.write(self._file, frame)
        if self._size - before != len(frame):  # a torn frame would make the rest unreadable
            os.ftruncate(self._file, before)
            raise OSError("short write")

    def _turn_over(self) -> None:
        self.close()
        with suppress(FileNotFoundError):
            self._current.replace(self._older)
        self._size = 0


class LogReader:
    """Reads a session's log from its beginning, frame by frame, while it may still grow."""

    def __init__(self, directory: Path) -> None:
        self._current, self._older = _files(directory)
        self._file: BinaryIO | None = None
        self._is_first = True

    def next(self) -> bytes | None:
        """The next whole frame, or None when there is no more for now."""
        while True:
            if self._file is None and not self._open():
                return None
            assert self._file is not None
            frame = _read_frame(self._file)
            if frame is not None:
                return frame
            if self._is_current(self._file):
                return None
            self.close()

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> bool:
        """The older file at first, afterwards always the one that is being written."""
        paths = [self._older, self._current] if self._is_first else [self._current]
        self._is_first = False
        for path in paths:
            with suppress(FileNotFoundError):
                self._file = path.open("rb")
                return True
        return False

    def _is_current(self, file: BinaryIO) -> bool:
        """The file was not turned over since it was opened."""
        with suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(file.fileno()), self._current.stat())
        return True


def _read_frame(file: BinaryIO) -> bytes | None:
    """The next frame; the file stays where it was when the frame is not whole."""
    start = file.tell()
    head = file.read(HEADER.size)
    if len(head) == HEADER.size:
        length = HEADER.unpack(head)[1]
        payload = file.read(length)
        if len(payload) == length:
            return head + payload
    file.seek(start)
    return None


def _files(directory: Path) -> tuple[Path, Path]:
    return directory / "output.log", directory / "output.1.log"
