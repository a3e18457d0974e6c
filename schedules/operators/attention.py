"""Scaled dot-product attention as one tensor expression (Vaswani et al., 2017).

    softmax(scores(Q K^T)) V

A block of query rows meets all keys: its scores stay in a cache until they are multiplied with the
values (Rabe and Staats, 2021, "Self-attention does not need O(n^2) memory"). Keys and values are
packed into panels once per head. Both products are contractions in register tiles. The operands are
read through functions, so heads need no transposes, and query heads may share keys and values.

Columns of panels past the end read the last key or element again: their scores are replaced by
minus infinity, their results are dropped. (Zeros would need a `Select`, under whose condition TVM
simplifies the clamped index to one out of bounds.)

    outer = (*batch, key heads, query heads of one key head); blocks of rows
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from autoglm_tvm.schedules.attention_plan import Plan
from autoglm_tvm.schedules.operators.contraction import contract, wide
from autoglm_tvm.schedules.workload import WORKLOAD

# Name of the block that stores the result.
RESULT = "attention"
# Annotation of each block beside those of the contractions: the part it plays.
PART = "attention.part"
# e^x is a normal number of float32 from here on; weights below do not count beside one of 1.
_LEAST_EXPONENT = -87.0
# Annotation of the result: rows of a block.
BLOCK = "attention.block"


@dataclass(frozen=True)
class MaskSource:
    """A tensor that the scores are masked with.

    Attributes
    ----------
    shape
        Its extents; the last is that of the keys, or 1.
    read
        Function of its indices.
    index
        Function of (outer indices, row, key) that returns its indices.
    """

    shape: tuple[int, ...]
    read: Callable[..., Any]
    index: Callable[..., list[Any]]


@dataclass(frozen=True)
class Sources:
    """Where the operands lie.

    Attributes
    ----------
    query
        Function of (outer indices, row, element).
    key, value
        Functions of (indices of the group, key, element).
    score
        Function of (sum of products, values of the masks): scale, mask and the like.
    masks
        What `score` needs beside the sum.
    nan_is_zero
        Whether rows whose softmax is NaN, for want of a key, give zeros.
    is_zero
        Function of (outer indices, row) that tells rows that give zeros.
    """

    query: Callable[..., Any]
    key: Callable[..., Any]
    value: Callable[..., Any]
    score: Callable[[Any, list[Any]], Any]
    masks: tuple[MaskSource, ...] = ()
    nan_is_zero: bool = False
    is_zero: Callable[[Sequence[Any], Any], Any] | None = None


def attention(sources: Sources, plan: Plan, dtype: str, workload: str = "") -> Any:
    """Return the result in shape (\\*groups, shared, rows, width).

    `workload` is what records know it by.
    """
    from tvm import tirx

    outer = (*plan.groups, plan.shared, plan.blocks)
    scores = _scores(sources, plan, outer)
    weights, inverse = _softmax(scores, plan, outer)
    panels = -(-plan.width // plan.values.columns)
    padded = panels * plan.values.columns

    def value(*at: Any) -> Any:
        *group, panel, key, column = at
        element = panel * plan.values.columns + column
        loaded = sources.value(group, key, _clamp(element, plan.width, padded)).astype("float32")
        if plan.summed == plan.keys:
            return loaded
        return tirx.if_then_else(key < plan.keys, loaded, tirx.const(0, "float32"))

    packed = _compute(
        (*plan.groups, panels, plan.summed, plan.values.columns),
        value,
        name="values",
        attrs={PART: "values"},
    )
    depth = len(plan.groups)
    tiles = contract(
        lambda before, row, _panel, at: weights(*before, row, *at),
        lambda before, panel, at, column: packed(*before[:depth], panel, *at, column),
        [wide(plan.summed)],
        [wide(extent) for extent in outer],
        plan.block,
        wide(panels),
        plan.values,
        "float32",
    )

    def element(*at: Any) -> Any:
        *heads, row, column = at
        block, within = row // plan.block, row % plan.block
        tile = (within // plan.values.rows, column // plan.values.columns)
        place = (within % plan.values.rows, column % plan.values.columns)
        total = tiles(*heads, block, *tile, *place)
        share = inverse(*heads, block, within)
        value, zero = total * share, tirx.const(0, "float32")
        if sources.nan_is_zero:
            value = tirx.Select(tirx.isnan(share), zero, value)
        if sources.is_zero is not None:
            value = tirx.Select(sources.is_zero(heads, row), zero, value)
        return value.astype(dtype)

    marks: dict[str, Any] = {PART: "result", BLOCK: plan.block}
    marks |= {WORKLOAD: workload} if workload else {}
    shape = (*plan.groups, plan.shared, plan.rows, plan.width)
    return _compute(shape, element, name=RESULT, attrs=marks)


def _scores(sources: Sources, plan: Plan, outer: tuple[int, ...]) -> Any:
    from tvm import tirx

    depth, columns = len(plan.groups), plan.scores.columns
    panels = -(-plan.keys // columns)

    def query(*at: Any) -> Any:
        *heads, block, row, element = at
        row = _clamp(block * plan.block + row, plan.rows, plan.blocks * plan.block)
        return sources.query(heads, row, element).astype("float32")

    queries = _compute(
        (*outer, plan.block, plan.depth), query, name="queries", attrs={PART: "queries"}
    )

    def key(*at: Any) -> Any:
        *group, panel, element, column = at
        which = panel * columns + column
        last = _clamp(which, plan.keys, panels * columns)
        return sources.key(group, last, element).astype("float32")

    packed = _compute(
        (*plan.groups, panels, plan.depth, columns), key, name="keys", attrs={PART: "keys"}
    )
    tiles = contract(
        lambda before, row, _panel, at: queries(*before, row, *at),
        lambda before, panel, at, column: packed(*before[:depth], panel, *at, column),
        [wide(plan.depth)],
        [wide(extent) for extent in outer],
        plan.block,
        wide(panels),
        plan.scores,
        "float32",
    )

    masks = [_padded(mask, plan.keys, panels * columns) for mask in sources.masks]

    def score(*at: Any) -> Any:
        *heads, block, row, which = at
        tile = (row // plan.scores.rows, which // columns)
        total = tiles(*heads, block, *tile, row % plan.scores.rows, which % columns)
        at_row = _clamp(block * plan.block + row, plan.rows, plan.blocks * plan.block)
        values = [mask.read(*mask.index(heads, at_row, which)) for mask in masks]
        result = sources.score(total, values).astype("float32")
        if panels * columns == plan.keys:
            return result
        return tirx.Select(which < plan.keys, result, tirx.const(float("-inf"), "float32"))

    shape = (*outer, plan.block, panels * columns)
    return _compute(shape, score, name="scores", attrs={PART: "scores"})


def _padded(mask: MaskSource, keys: int, columns: int) -> MaskSource:
    """The mask with a last axis as long as a row of scores, so that vectors of it can be read."""
    if columns == keys or mask.shape[-1:] != (keys,):
        return mask
    tensor = _compute(
        (*mask.shape[:-1], columns),
        lambda *at: mask.read(*at[:-1], _clamp(at[-1], keys, columns)),
        name="mask",
        attrs={PART: "mask"},
    )
    return MaskSource((*mask.shape[:-1], columns), tensor, mask.index)


def _softmax(scores: Any, plan: Plan, outer: tuple[int, ...]) -> tuple[Any, Any]:
    """Return e^(score - largest), and one over their sum, row by row."""
    from tvm import te, tirx

    lanes = plan.scores.lanes
    largest = te.comm_reducer(
        lambda a, b: tirx.max(a, b), lambda kind: tirx.const(float("-inf"), kind), name="max"
    )

    def by_lane(source: Any, combine: Any, name: str) -> Any:
        vector: Any = te.reduce_axis((0, wide(plan.vectors)), "vector")
        return _compute(
            (*outer, plan.block, lanes),
            lambda *at: combine(source(*at[:-1], vector * lanes + at[-1]), axis=[vector]),
            name=name,
            attrs={PART: name},
        )

    def of_row(source: Any, combine: Any, name: str) -> Any:
        def element(*at: Any) -> Any:
            return combine([source(*at, lane) for lane in range(lanes)])

        return _compute((*outer, plan.block), element, name=name, attrs={PART: name})

    tops = by_lane(scores, largest, "tops")
    top = of_row(tops, lambda parts: _tree(parts, tirx.max), "top")
    weights = _compute(
        (*outer, plan.block, plan.vectors * lanes),
        lambda *at: _weight(scores(*at) - top(*at[:-1])),
        name="weights",
        attrs={PART: "weights"},
    )
    sums = by_lane(weights, te.sum, "sums")
    one = tirx.const(1.0, "float32")
    inverse = of_row(sums, lambda parts: one / _tree(parts, lambda a, b: a + b), "inverse")
    return weights, inverse


def _weight(difference: Any) -> Any:
    """e^difference; zero where it would be a denormal, on which CPUs take many times as long."""
    from tvm import tirx

    least = tirx.const(_LEAST_EXPONENT, "float32")
    tiny = difference < least
    power = tirx.exp(tirx.Select(tiny, least, difference))
    return tirx.Select(tiny, tirx.const(0, "float32"), power)


def _tree(parts: list[Any], combine: Callable[[Any, Any], Any]) -> Any:
    """Combine the first half with the second, and again: LLVM makes vectors of it."""
    while len(parts) > 1:
        half = len(parts) // 2
        parts = [combine(a, b) for a, b in zip(parts[:half], parts[half:], strict=True)]
    return parts[0]


def _clamp(index: Any, extent: int, padded: int) -> Any:
    from tvm import te

    return index if extent == padded else te.min(index, extent - 1)


def _compute(shape: tuple[int, ...], *arguments: Any, **attributes: Any) -> Any:
    """`te.compute` with indices of 64 bits, as the graph's shapes have them."""
    from tvm import te

    return te.compute([wide(extent) for extent in shape], *arguments, **attributes)
