"""What an attention that was found in a graph consists of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from autoglm_tvm.compiler.passes.views import IndexMap, View


@dataclass(frozen=True)
class Operand:
    """A tensor that is read through views and scaled.

    Attributes
    ----------
    view
        Where its elements lie.
    scales
        Constants that each element is multiplied with, in order.
    """

    view: View
    scales: tuple[float, ...] = ()


@dataclass(frozen=True)
class Mask:
    """A tensor that takes part in the scores, broadcast to them.

    Attributes
    ----------
    shape
        Its extents.
    view
        Where its elements lie.
    index
        From the indices of the softmax to its own.
    """

    shape: tuple[int, ...]
    view: View
    index: IndexMap


@dataclass(frozen=True)
class Step:
    """An elementwise operator on the scores.

    Attributes
    ----------
    operator
        Its name.
    operands
        None for the scores, a number, or a `Mask`.
    dtype
        Of the result.
    """

    operator: str
    operands: tuple[float | Mask | None, ...]
    dtype: str


@dataclass(frozen=True)
class Attention:
    """What was found.

    Attributes
    ----------
    results
        Calls that the kernel may replace: the second product, and the views of it one after the
        other, each with the map from (\\*batch, row, column) of the product to its own indices.
    batch, rows, keys, depth, width
        Extents of softmax (\\*batch, rows, keys), of the first and of the second product.
    query, key, value
        Operands of the products, indexed as the softmax is: (\\*batch, row, depth),
        (\\*batch, depth, key), (\\*batch, key, width).
    steps
        What happens to the scores before the softmax.
    zeroed
        Which rows of weights are replaced by zeros: those that are NaN, for want of a key, or those
        that a mask of one column names.
    """

    results: tuple[tuple[Any, IndexMap], ...]
    batch: tuple[int, ...]
    rows: int
    keys: int
    depth: int
    width: int
    query: Operand
    key: Operand
    value: Operand
    steps: tuple[Step, ...]
    zeroed: Literal["none", "nan"] | Mask
