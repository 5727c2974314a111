"""Finding, importing and asking plugins.

`load_hooks` is the way to get a `Hooks`; nothing else in the tree touches ``pm.hook``.
"""

from __future__ import annotations

from aileron_core.plugins.facade import Hooks
from aileron_core.plugins.loader import load_hooks

__all__ = ["Hooks", "load_hooks"]
