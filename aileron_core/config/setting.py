"""`setting`: how a plugin (or the core) declares one key of its configuration table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar

import attrs
from attrs import frozen

T = TypeVar("T")
Project = Literal["never", "tighten", "free"]
Merge = Literal["replace", "append"]

_KEY = "aileron"


@frozen
class Setting:
    """What is known of a key besides its type and default."""

    doc: str = ""
    project: Project = "never"
    tighter: Callable[[Any, Any], bool] | None = None
    merge: Merge = "replace"
    secret: bool = False


def setting(
    default: T,
    doc: str,
    *,
    project: Project = "never",
    tighter: Callable[[Any, Any], bool] | None = None,
    merge: Merge = "replace",
    secret: bool = False,
) -> T:
    """A field of an attrs class that is a configuration table.

    Args:
        default: the built-in value; a list or dict is copied for each instance.
        doc: one sentence for ``docs/settings.md``, ending with a full stop.
        project: what a project's own file may do with the key before the person trusts it:
            ``never`` set it; ``tighten`` it, which ``tighter`` judges; or set it ``free``-ly, for
            what protects nothing.
        tighter: called with the value so far and the project's value (converted); True when the
            project's is at least as strict. Required for ``tighten``. With ``merge="append"`` the
            project's value is what it *adds*.
        merge: whether a higher layer's list or table replaces the lower one's, or is added to it
            (lists: the higher layer's items first).
        secret: never show the value (``config show`` prints ``(set)``).
    """
    if (project == "tighten") != (tighter is not None):
        raise TypeError("project='tighten' and tighter= belong together")
    known = Setting(doc, project, tighter, merge, secret)
    metadata = {_KEY: known}
    if isinstance(default, (list, dict)):
        kind = type(default)
        copied: T = attrs.field(factory=lambda: kind(default), metadata=metadata)
        return copied
    made: T = attrs.field(default=default, metadata=metadata)
    return made


def required(doc: str, *, secret: bool = False) -> Any:
    """A key that must be given: for nested tables only, since a plugin's table may be absent."""
    return attrs.field(metadata={_KEY: Setting(doc, secret=secret)})


def setting_of(field: attrs.Attribute[Any]) -> Setting:
    """What `setting` recorded about a field; a plain attrs field has the strict defaults."""
    found: Setting = field.metadata.get(_KEY, Setting())
    return found
