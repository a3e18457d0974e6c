"""What tuning chose for the operators of a graph, and how to make their loop nests otherwise.

A workload is a text that says what is computed, as in `matmul float32 196x96 * 96x576`. The size of
the register tile decides how a weight is packed, so it has to be known when an operator becomes
loops; everything else is decided when these are scheduled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

# Value of each knob that was chosen, by its name.
Config = Mapping[str, Any]


@dataclass(frozen=True)
class Lowering:
    """An operator as a tensor expression.

    Attributes
    ----------
    body
        Function of the operands, the weight last, that returns the `te.Tensor`.
    weight
        The packed constant; None where all operands are computed.
    function
        The ``PrimFunc``, where nothing is ever fused behind the operator; there is no `body` then.
    """

    body: Callable[..., Any] | None = None
    weight: np.ndarray | None = None
    function: Any = None


@dataclass(frozen=True)
class Anchor:
    """An operator whose loop nest depends on a configuration.

    Attributes
    ----------
    lower
        The operator for a configuration; what it leaves open is decided by default.
    operands
        Shape and dtype of each computed operand.
    algorithms
        What knob `algorithm` may be; the first is the plain sum of products.
    columns
        Columns of the result that tiles have to divide, as those of a group of channels; 0 where
        they may go over the end.
    """

    lower: Callable[[Config], Lowering]
    operands: tuple[tuple[tuple[int, ...], str], ...]
    algorithms: tuple[str, ...] = ()
    columns: int = 0


@dataclass
class Choices:
    """Configurations by workload, and the anchors that were met while a graph was lowered."""

    configs: Mapping[str, Config] = field(default_factory=dict)
    anchors: dict[str, Anchor] = field(default_factory=dict)

    def of(self, workload: str) -> Config:
        """What was chosen for a workload; empty where nothing was."""
        return self.configs.get(workload, {})

    def lower(self, workload: str, anchor: Anchor) -> Lowering:
        """Lower an operator as it was chosen, and remember how; `workload` may be unknown, ``""``.

        Anchors of one workload differ in their weights at most. One that cannot be lowered is not
        remembered.
        """
        if not workload:
            return anchor.lower({})
        lowering = anchor.lower(self.of(workload))
        if lowering.body is not None or lowering.function is not None:
            self.anchors.setdefault(workload, anchor)
        return lowering
