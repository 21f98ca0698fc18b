"""What may have been meant by a word that nobody knows: how every refusal proposes another. Pure."""

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Final

LIKELY: Final = 0.6
"""How alike (difflib's ratio) a word must be to be proposed for one that is wrong."""
_COMPARED_CHARS: Final = 60
"""Comparing takes the square of the length, and words come from strangers."""


def did_you_mean(
    word: str,
    known: Iterable[str],
    *,
    alike: float = LIKELY,
    most: int = 1,
    said: Callable[[str], str] = repr,
) -> str:
    """Return `; did you mean 'x'?`, ready to stand after a sentence; an empty text when nothing is alike.

    Args:
        word: what was given.
        known: what would be right.
        alike: from 0 to 1; more is stricter.
        most: how many may be proposed.
        said: how a proposal is written; in quotes, unless what was given stands without.
    """
    found = get_close_matches(word[:_COMPARED_CHARS], sorted(known), n=most, cutoff=alike)
    return f"; did you mean {' or '.join(map(said, found))}?" if found else ""
