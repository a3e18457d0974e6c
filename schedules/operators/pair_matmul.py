"""Matrix product of small integers by instructions that take two rows and two columns at once.

A vector of sums is [row 0 column 0, row 0 column 1, row 1 column 0, row 1 column 1], so that tiles
of `contraction.py` have half of the rows and twice the columns.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from autoglm_tvm.schedules.intrinsics.dot_product import DotProduct
from autoglm_tvm.schedules.intrinsics.operators import dot
from autoglm_tvm.schedules.kernel import constant
from autoglm_tvm.schedules.operators.contraction import add_bias, contract, unpack_marks, wide
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
    bias: Any = None,
) -> Any:
    """`data` [..., M, K] times [panels, K / group, tile.columns] of words: int32 [..., M, columns].

    As `dot_matmul`; `tile` counts pairs of rows, and two of its columns for each of the result.
    """
    *leading, reduced = data.shape
    leading = [constant(extent) or extent for extent in leading]
    read = reader(data, leading, instruction)

    def word_at(_outer: Any, row: Any, _panel: Any, at: Any, element: Any) -> Any:
        return read(row, at[0] * instruction.group + element)

    tiles = contract_pairs(
        word_at,
        weight,
        [reduced // instruction.group],
        [],
        prod(leading),
        tile,
        instruction,
        workload,
    )
    shape = [*leading, columns]
    return unpack_pairs(tiles, shape, lambda *at: ((), flatten(at, leading)), tile, bias)


def contract_pairs(
    word_at: Callable[..., Any],
    weight: Any,
    reduced: list[Any],
    outer: list[Any],
    rows: Any,
    tile: Tile,
    instruction: DotProduct,
    workload: str,
) -> Any:
    """`contract` for pairs of rows.

    Parameters
    ----------
    word_at
        Function of (outer indices, row, panel, reduced indices, element) that reads the word of the
        left operand which begins that many elements behind the reduced indices.
    weight
        Words [panels, \\*reduced axes, tile.columns].
    reduced, outer, rows
        Extents of the reduced axes, of the outer ones, and of the rows.
    tile, instruction, workload
        As for `pair_matmul`.
    """
    from tvm import te, tirx

    def lhs(before: Any, pair: Any, panel: Any, at: Any) -> Any:
        *steps, which, half = at
        # An odd number of rows has the last one twice.
        row = te.min(pair * 2 + which, rows - 1)
        return word_at(before, row, panel, steps, half * _WORD_BYTES)

    def rhs(_outer: Any, panel: Any, at: Any, column: Any) -> Any:
        return weight(panel, *at, column)

    return contract(
        lhs,
        rhs,
        reduced,
        outer,
        tirx.ceildiv(rows, 2) if not isinstance(rows, int) else -(-rows // 2),
        weight.shape[0],
        tile,
        "int32",
        lambda left, right: dot(instruction, left, right),
        result=(tile.rows * 2, tile.vectors // 2, tile.lanes),
        pieces=(2, 2),
        workload=workload,
    )


def unpack_pairs(
    tiles: Any, shape: list[Any], row_of: Callable[..., Any], tile: Tile, bias: Any
) -> Any:
    """Read the result of `contract_pairs` in the layout of the graph.

    `row_of` is a function of all indices but the last: (outer indices, row). `bias` as in `unpack`.
    """
    from tvm import te

    width = tile.columns // 2

    def element(*indices: Any) -> Any:
        outer, row = row_of(*indices[:-1])
        column = indices[-1] % width
        lane = column // 2 * 4 + row % 2 * 2 + column % 2
        pair, panel = row // 2, indices[-1] // width
        value = tiles(*outer, pair // tile.rows, panel, pair % tile.rows, lane)
        return add_bias(value, bias, indices[-1])

    extents = [wide(extent) for extent in shape]
    return te.compute(extents, element, name="unpack", attrs=unpack_marks(bias))
