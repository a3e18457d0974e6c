"""How one node of a quantized model runs: what `explain`, the manifest and the report show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

INTEGER, INT4, HALF, FLOAT = "integer", "int4", "half", "float"
_SHOWN_NAMES = 3
#: Best first; also the order in which tables show them.
WAYS = (INTEGER, INT4, HALF, FLOAT)


@dataclass(frozen=True)
class NodeExecution:
    """How one node of the Q/DQ model runs.

    Attributes
    ----------
    name, op_type
        The node's, as in the Q/DQ model.
    runs
        ``integer``, ``int4`` (weights of four bits, float arithmetic), ``half`` or ``float``.
    reason
        Why it was refused as integers; empty where it runs so, or was never meant to.
    multiply_adds
        In one run; 0 where it is no contraction, None where a size is not known.
    """

    name: str
    op_type: str
    runs: str
    reason: str = ""
    multiply_adds: int | None = 0

    @staticmethod
    def from_json(fields: Mapping[str, Any]) -> NodeExecution:
        """Read what `to_json` made."""
        return NodeExecution(**fields)

    def to_json(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)


@dataclass(frozen=True)
class Share:
    """Nodes that run in one way: how many, and their part of all multiply-adds (None: unknown)."""

    runs: str
    nodes: int
    of_multiply_adds: float | None


def shares(nodes: Sequence[NodeExecution]) -> tuple[Share, ...]:
    """Return one row for each way that at least one node runs in, in the order of `WAYS`."""
    work = {way: sum(node.multiply_adds or 0 for node in nodes if node.runs == way) for way in WAYS}
    total = sum(work.values())
    found = {way: [node for node in nodes if node.runs == way] for way in WAYS}
    return tuple(
        Share(way, len(found[way]), work[way] / total if total else None)
        for way in WAYS
        if found[way]
    )


@dataclass(frozen=True)
class Refused:
    """Nodes of one operator that stay out of integers for the same reason."""

    runs: str
    op_type: str
    reason: str
    names: tuple[str, ...]
    multiply_adds: int

    def __str__(self) -> str:
        shown, more = ", ".join(self.names[:_SHOWN_NAMES]), len(self.names) - _SHOWN_NAMES
        listed = f"{shown} and {more} more" if more > 0 else shown
        return f"{self.runs}: {len(self.names)} {self.op_type} ({listed}): {self.reason}"


def refused(nodes: Sequence[NodeExecution]) -> tuple[Refused, ...]:
    """Return the nodes that have a reason, by operator and reason; the most work first."""
    groups: dict[tuple[str, str, str], list[NodeExecution]] = {}
    for node in nodes:
        if node.reason:
            groups.setdefault((node.runs, node.op_type, node.reason), []).append(node)
    found = [
        Refused(*key, tuple(n.name for n in group), sum(n.multiply_adds or 0 for n in group))
        for key, group in groups.items()
    ]
    return tuple(sorted(found, key=lambda each: (-each.multiply_adds, -len(each.names))))
