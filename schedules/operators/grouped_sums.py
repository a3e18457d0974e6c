"""Sums over groups of a reduced axis, each with a scale: what products of few bits share.

    sum[m, n] = sum over groups g of scale[g, n] * (part[m, g, n] + offset[g, n] * rows[m, g])

The part of a group is summed in a register tile of its own, which is then added to that of all
groups: a scale is read and multiplied once. `Contraction` schedules both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from autoglm_tvm.schedules.kernel import constant
from autoglm_tvm.schedules.lowering.prefetch import STREAM
from autoglm_tvm.schedules.operators.contraction import OUTER, RESULT, ROLE, TILE, unpack, wide
from autoglm_tvm.schedules.operators.matmul import flatten, unflatten
from autoglm_tvm.schedules.tiles import Tile


@dataclass(frozen=True)
class Shape:
    """Sizes of a product.

    Attributes
    ----------
    leading
        Axes of the result but the last; all of them are rows.
    columns
        The last.
    panels, groups, words
        Of the packed weight.
    tile
        The register tile.
    """

    leading: tuple[Any, ...]
    columns: int
    panels: int
    groups: int
    words: int
    tile: Tile

    @staticmethod
    def of(leading: Sequence[Any], words: Any, columns: int, tile: Tile) -> Shape:
        """Take the sizes of the packed weight; symbolic rows stay what they are."""
        panels, groups, count, _ = (int(extent) for extent in words.shape)
        known = tuple(constant(extent) or extent for extent in leading)
        return Shape(known, columns, panels, groups, count, tile)

    @property
    def blocks(self) -> Any:
        """Tiles one below the other."""
        from tvm import tirx

        return tirx.ceildiv(wide(prod(self.leading)), self.tile.rows)

    def row(self, block: Any, within: Any) -> list[Any]:
        """The leading indices of a row of a tile; rows past the end are the last one again."""
        from tvm import te

        rows = prod(self.leading)
        at = block * self.tile.rows + within
        ragged = not (isinstance(rows, int) and rows % self.tile.rows == 0)
        return unflatten(te.min(at, rows - 1) if ragged else at, list(self.leading))


def group_sums(
    left: Callable[..., Any],
    multiply: Callable[[Any, Any, Any], Any],
    words: Any,
    shape: Shape,
    counts: tuple[int, int],
    dtype: str,
) -> Any:
    """The sums of each group apart: [blocks, panels, rows, columns of a tile, groups].

    Parameters
    ----------
    left
        Function of (leading indices, group, step in the group): an operand. With more rows in
        `counts` than the tile has, each of its rows has several operands, whose number is then the
        last of the indices.
    multiply
        Function of the operand, the weight's word, and the step in the word.
    words
        The packed weight.
    shape
        Its sizes.
    counts
        Rows of the sums of a tile, and steps in a word.
    dtype
        Of the sums.
    """
    from tvm import te

    height, each = counts
    copies = height // shape.tile.rows
    panels, groups = wide(shape.panels), wide(shape.groups)
    steps = wide(shape.words * each)

    def read(block: Any, _panel: Any, within: Any, group: Any, step: Any) -> Any:
        row = shape.row(block, within // copies)
        return left([*row, within % copies] if copies > 1 else row, group, step)

    operand: Any = te.compute(
        (shape.blocks, panels, wide(height), groups, steps), read, name="lhs", attrs={ROLE: "lhs"}
    )
    step: Any = te.reduce_axis((0, steps), "step")

    def product(block: Any, panel: Any, within: Any, column: Any, group: Any) -> Any:
        value = operand(block, panel, within, group, step)
        stored = words(panel, group, step // each, column)
        return te.sum(multiply(value, stored, step % each).astype(dtype), axis=[step])

    extents = (shape.blocks, panels, wide(height), wide(shape.tile.columns), groups)
    return te.compute(extents, product, name="group_sum", attrs={ROLE: "part", STREAM: 1})


def scale_groups(
    total: Callable[..., Any], scales: Any, offsets: Sequence[Any], shape: Shape, dtype: str
) -> Any:
    """Sum the groups, each times its scale: [..., M, columns].

    Parameters
    ----------
    total
        Function of (block, panel, row of the tile, group, column): the sum of a group.
    scales, offsets
        As of `int4_matmul`.
    shape
        Of the product.
    dtype
        Of the result.
    """
    from tvm import te

    tile = shape.tile
    group = te.reduce_axis((0, wide(shape.groups)), "group")

    def scaled(block: Any, panel: Any, within: Any, column: Any) -> Any:
        value = total(block, panel, within, group, column)
        if offsets:
            offset, sums = offsets
            row_sum = sums(*shape.row(block, within), group)
            value = value + offset(panel, group, column).astype("float32") * row_sum
        scale = scales(panel, group, column).astype("float32")
        return te.sum(value * scale, axis=[group])

    numbers = [tile.rows, tile.vectors, tile.lanes, tile.steps, int(tile.rows_in_registers)]
    marks = {ROLE: "sum", TILE: numbers, OUTER: 0, RESULT: numbers[:3]}
    extents = (shape.blocks, wide(shape.panels), wide(tile.rows), wide(tile.columns))
    tiles = te.compute(extents, scaled, name="contraction", attrs=marks)
    leading = list(shape.leading)
    return unpack(
        tiles,
        [*leading, shape.columns],
        lambda *at: ((), flatten(at, leading)),
        lambda column: (column // tile.columns, column % tile.columns),
        tile,
        dtype,
    )
