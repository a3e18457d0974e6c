"""Near matches for a name that the user misspelt."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def near_matches(name: str, known: Iterable[str], limit: int = 5) -> list[str]:
    """Up to `limit` of the `known` names that look like `name`, best first, ignoring case."""
    by_lower = {candidate.lower(): candidate for candidate in sorted(known)}
    found = difflib.get_close_matches(name.lower(), by_lower, n=limit, cutoff=0.6)
    return [by_lower[lower] for lower in found]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'a', 'b'?`, or an empty string when nothing is near."""
    matches = near_matches(name, known)
    if not matches:
        return ""
    return "; did you mean " + ", ".join(f"'{match}'" for match in matches) + "?"
