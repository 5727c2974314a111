"""The core's own checks, one for each protection that a sandbox has without any other plugin."""

from __future__ import annotations

from aileron_core.doctor.checks import files, limits, network, privileges
from aileron_core.records import Check

CHECKS: tuple[Check, ...] = (
    *network.CHECKS,
    *files.CHECKS,
    *privileges.CHECKS,
    *limits.CHECKS,
)
