"""The nearest known name to a mistyped one. Says nothing rather than something far-fetched."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name that `word` was most likely meant to be; absent where none is close."""
    names = sorted(known)
    slips = [name for name in names if name.lower() == word.lower()] or [name for name in names if is_slip(word, name)]
    close = slips or get_close_matches(word, names, n=1)
    return close[0] if close else None


def is_slip(word: str, name: str) -> bool:
    """Whether one letter too many, too few, wrong or swapped makes the one of the other."""
    longest = max(len(word), len(name))
    if abs(len(word) - len(name)) > 1 or longest < 2:  # of a single letter anything would be a slip
        return False
    same = next((i for i, (a, b) in enumerate(zip(word, name, strict=False)) if a != b), min(len(word), len(name)))
    rest, other = word[same:], name[same:]
    swapped = len(rest) > 1 and rest[:2] == other[1::-1] and rest[2:] == other[2:]
    replaced = longest > 2 and rest[1:] == other[1:]
    return swapped or replaced or rest[1:] == other or rest == other[1:]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` (did you mean "replicas"?)`, or nothing: made to be put behind a message."""
    name = nearest(word, known)
    return f' (did you mean "{name}"?)' if name is not None else ""
