"""Change sets of ``--workspace overlay``: what a session changed, shown, applied or thrown away.

The kernel kept the changes in an overlay's upper directory, which the agent wrote: everything in it
is hostile. No link is followed, no path is opened twice by name, nothing is run.
"""

from aileron_launch.changes.apply import ApplyResult, apply_changes, discard_changes
from aileron_launch.changes.diff import render_diff
from aileron_launch.changes.scan import CHANGES_UNREADABLE, Change, Changes, scan_changes

__all__ = [
    "CHANGES_UNREADABLE",
    "ApplyResult",
    "Change",
    "Changes",
    "apply_changes",
    "discard_changes",
    "render_diff",
    "scan_changes",
]
