"""Why an island stays in float."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Refusal:
    """What a rule returns where it cannot be applied: the reason, for people."""

    reason: str
