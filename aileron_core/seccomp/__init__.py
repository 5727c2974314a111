"""The seccomp profile of a sandbox: a base allow-list, made stricter by what plugins contribute.

Pure: no I/O but the base list, which ships beside this module. docs/seccomp.md explains each part.
"""

from __future__ import annotations

from aileron_core.seccomp.profile import MACHINE_UNSUPPORTED, build_profile

__all__ = ["MACHINE_UNSUPPORTED", "build_profile"]
