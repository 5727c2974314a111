"""``[daemon]``: the settings of the daemon itself."""

from __future__ import annotations

from attrs import frozen

from aileron_core.config.setting import setting


@frozen
class DaemonSettings:
    """``[daemon]``: read once, when the daemon starts."""

    stop_deadline: float = setting(
        10.0, "Seconds that sessions may go on when the daemon gets a signal to stop."
    )
