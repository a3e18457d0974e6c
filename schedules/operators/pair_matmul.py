"""Matrix product of small integers by instructions that take two rows and two columns at once.

A vector of sums is [row 0 column 0, row 0 column 1, row 1 column 0, row 1 column 1], so that tiles
of `contraction.py` have half of the rows and twice the columns.
"""

from __future__ import annotations

from math import prod
from typing import Any

from autoglm_tvm.schedules.intrinsics.dot_product import DotProduct
from autoglm_tvm.schedules.intrinsics.operators import dot
from autoglm_tvm.schedules.kernel import constant
from autoglm_tvm.schedules.operators.contraction import ROLE, contract, wide
from autoglm_tvm.schedules.operators.dot_matmul import reader
from autoglm_tvm.schedules.operators.matmul import flatten
from autoglm_tvm.schedules.tiles import Tile

_WORD_BYTES = 4


def pair_matmul(
    data: Any,
    weight: Any,
    columns: int,
    tile: Tile,
    instruction: DotProduct,
    workload: str = "",
) -> Any:
    """`data` [..., M, K] times [panels, K / group, tile.columns] of words: int32 [..., M, columns].

    As `dot_matmul`; `tile` counts pairs of rows, and two of its columns for each of the result.
    """
    from tvm import te, tirx

    *leading, reduced = data.shape
    leading = [constant(extent) or extent for extent in leading]
    rows = prod(leading)
    read = reader(data, leading, instruction)
    width = tile.columns // 2

    def lhs(_outer: Any, pair: Any, _panel: Any, at: Any) -> Any:
        group, which, half = at
        # An odd number of rows has the last one twice.
        row = te.min(pair * 2 + which, rows - 1)
        return read(row, group * instruction.group + half * _WORD_BYTES)

    def rhs(_outer: Any, panel: Any, at: Any, column: Any) -> Any:
        return weight(panel, *at, column)

    def element(*indices: Any) -> Any:
        row, column = flatten(indices[:-1], leading), indices[-1] % width
        lane = column // 2 * 4 + row % 2 * 2 + column % 2
        pair, panel = row // 2, indices[-1] // width
        return tiles(pair // tile.rows, panel, pair % tile.rows, lane)

    tiles = contract(
        lhs,
        rhs,
        [reduced // instruction.group],
        [],
        tirx.ceildiv(rows, 2) if not isinstance(rows, int) else -(-rows // 2),
        weight.shape[0],
        tile,
        "int32",
        lambda left, right: dot(instruction, left, right),
        result=(tile.rows * 2, tile.vectors // 2, tile.lanes),
        pieces=(2, 2),
        workload=workload,
    )
    extents = [wide(extent) for extent in (*leading, columns)]
    return te.compute(extents, element, name="unpack", attrs={ROLE: "unpack"})
