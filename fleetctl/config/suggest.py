"""The nearest known name to a mistyped one. Says nothing rather than something far-fetched."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name that `word` was most likely meant to be; absent where none is close."""
    names = sorted(known)
    folded = {name.lower(): name for name in reversed(names)}
    close = get_close_matches(word, names, n=1) or get_close_matches(word.lower(), sorted(folded), n=1)
    return folded.get(close[0].lower(), close[0]) if close else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` (did you mean "replicas"?)`, or nothing: made to be put behind a message."""
    name = nearest(word, known)
    return f' (did you mean "{name}"?)' if name is not None else ""
