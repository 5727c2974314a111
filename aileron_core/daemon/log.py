"""The daemon's own log: one JSON line for each thing said, in `Paths.daemon_log`, bounded."""

from __future__ import annotations

import logging
import logging.handlers
from pathlib import Path

import structlog

LARGEST = 8 << 20
"""Bytes after which the log is turned over; one older file is kept."""


def _handler(path: Path) -> logging.Handler:
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=LARGEST, backupCount=1)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
            foreign_pre_chain=_common(),
        )
    )
    return handler


def _common() -> list[structlog.typing.Processor]:
    return [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]


def write_log_to(path: Path) -> logging.Handler:
    """Send structlog's and the standard library's logging to ``path``, and nowhere else."""
    handler = _handler(path)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    structlog.configure(
        processors=[*_common(), structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    return handler
