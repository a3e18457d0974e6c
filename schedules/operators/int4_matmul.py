"""Matrix product with a weight of few bits, quantised in groups along the reduced axis.

    sum[m, n] = sum over groups g of scale[g, n] * (part[m, g, n] + offset[g, n] * rows[m, g])
    part[m, g, n] = sum over k of group g of data[m, k] * q[k, n]       rows = sums of data

q is a signed number of 4 bits (or 2, or 8); the weight is scale * (q + offset). Words of 32 bits
hold neighbours of one column, and neighbouring words are of neighbouring columns: one vector load
has the next eight steps of K for all its lanes, whose numbers are taken out in registers. Nothing
of the weight is ever a float in memory, and a group's scale is read and multiplied once.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any

from autoglm_tvm.schedules.intrinsics.operators import field
from autoglm_tvm.schedules.machine import Machine
from autoglm_tvm.schedules.operators.grouped_sums import Shape, group_sums, scale_groups
from autoglm_tvm.schedules.operators.matmul import pack_panels
from autoglm_tvm.schedules.tiles import Tile, lanes_for

if TYPE_CHECKING:
    import numpy as np

_WORD_BITS = 32
# Multiply-adds that are started in the cycles that one takes, on two pipes.
_IN_FLIGHT = 8
_MAX_ROWS = 14
_VECTORS = (1, 2, 3, 4, 6, 8)


def pack_fields(blocks: np.ndarray, bits: int, columns: int) -> np.ndarray:
    """Bytes of MatMulNBits to signed words [panels, groups, words of a group, columns].

    `blocks` is uint8 [N, groups, bytes of a group], neighbours of K in it from the lowest bits on.
    A number q there stands for q minus half of its range, which is its highest bit turned over.
    """
    import numpy as np

    width, groups, _ = blocks.shape
    highest = sum(1 << (at + bits - 1) for at in range(0, _WORD_BITS, bits))
    words = np.ascontiguousarray(blocks).view("<u4") ^ np.uint32(highest)
    steps = words.reshape(width, -1).T.view(np.int32)
    panels = pack_panels(steps, columns)
    return panels.reshape(len(panels), groups, -1, columns)


def choose_int4_tile(
    rows: int | None,
    columns: int,
    machine: Machine,
    *,
    steps: int,
    operands: int = 1,
    unpacking: float = 2.5,
) -> Tile:
    """The tile for a result of `rows` x `columns`.

    Every row of a tile uses the unpacked vector again. A single row has as many vectors as hide the
    latency of their sums, as far as that leaves panels for all threads.

    Parameters
    ----------
    rows
        None where symbolic, which counts as many.
    columns
        Of the result.
    machine
        Its vectors, registers and threads.
    steps
        Of the reduced axis that are unrolled: whole words of the weight.
    operands
        Multiplications, each with a sum of its own, that an element of a row takes.
    unpacking
        Instructions that make operands of a vector of fields.
    """
    lanes = lanes_for(columns, machine.lanes("float32"))
    many = rows or 1 << 20
    threads = machine.threads if many == 1 else 1
    best: tuple[float, int, Tile] | None = None
    for vectors in _VECTORS:
        rounds = ceil(ceil(columns / (vectors * lanes)) / threads)
        for height in range(1, min(many, _MAX_ROWS) + 1):
            tile = Tile(height, vectors, lanes, steps, machine.lane_operand)
            if _registers(tile, operands) > machine.vector_registers:
                continue
            loads = height * operands / (lanes if machine.lane_operand else 2)
            step = height * vectors * operands + unpacking * vectors + loads
            cost = ceil(many / height) * rounds * max(step, _IN_FLIGHT)
            if best is None or (cost, -vectors) < best[:2]:
                best = (cost, -vectors, tile)
    assert best is not None
    return best[2]


def _registers(tile: Tile, operands: int) -> int:
    """Vector registers that hold sums, words, what is unpacked, and rows."""
    rows = tile.rows * operands
    # The sums over all groups of a single row stay in registers too.
    sums = (rows + (tile.rows == 1)) * tile.vectors
    return sums + tile.vectors + 2 + (rows if tile.rows_in_registers else 1)


def int4_matmul(
    data: Any, words: Any, scales: Any, *offsets: Any, columns: int, bits: int, tile: Tile
) -> Any:
    """`data` [..., M, K] times a weight of few bits: [..., M, columns] of the type of `data`.

    Parameters
    ----------
    data
        K is that of the packed weight.
    words
        What `pack_fields` made: [panels, groups, words, tile.columns].
    scales
        [panels, groups, tile.columns], floats of any width.
    offsets
        Nothing, or the numbers [panels, groups, tile.columns] that are added to the fields and the
        sums of the groups of `data` [..., M, groups].
    columns
        Of the result.
    bits
        Of a field.
    tile
        The register tile.
    """
    *leading, _ = data.shape
    each = _WORD_BITS // bits
    shape = Shape.of(leading, words, columns, tile)

    def left(row: list[Any], group: Any, step: Any) -> Any:
        return data(*row, group * (shape.words * each) + step).astype("float32")

    def multiply(value: Any, word: Any, at: Any) -> Any:
        return value * field(word, at * bits, bits)

    parts = group_sums(left, multiply, words, shape, (tile.rows, each), "float32")

    def total(block: Any, panel: Any, within: Any, group: Any, column: Any) -> Any:
        return parts(block, panel, within, column, group)

    return scale_groups(total, scales, offsets, shape, str(data.dtype))


def group_totals(data: Any, group: int) -> Any:
    """The sums of the groups of `data` [..., K]: [..., K / group], float32."""
    from tvm import te, tirx

    *leading, reduced = data.shape
    step = te.reduce_axis((0, tirx.IntImm("int64", group)), "k")

    def total(*at: Any) -> Any:
        *row, which = at
        return te.sum(data(*row, which * group + step).astype("float32"), axis=[step])

    return te.compute((*leading, reduced // group), total, name="group_totals")
