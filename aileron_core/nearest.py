"""The right name for a wrong one: what "did you mean" is made of."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """The choice that looks most like ``word``, or None when none does."""
    import difflib  # 7 ms, and needed only when something is wrong

    known = sorted(set(choices))
    folded = {choice.lower().replace("_", "-"): choice for choice in reversed(known)}
    found = difflib.get_close_matches(word.lower().replace("_", "-"), list(folded), 1, 0.6)
    return folded[found[0]] if found else None


def did_you_mean(word: str, choices: Iterable[str], *, what: str = "choices") -> str:
    """A hint: the nearest name when there is one, else all there are (at most 12)."""
    known = sorted(set(choices))
    found = nearest(word, known)
    if found is not None:
        return f"did you mean {found!r}?"
    shown = ", ".join(known[:12]) + (", …" if len(known) > 12 else "")
    return f"{what}: {shown or 'none'}"
