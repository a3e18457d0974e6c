"""The register tile of a contraction: rows x columns of the result that one inner loop adds up.

The inner loop multiplies, for one step of the reduced axis, a column of `rows` scalars with a row
of `vectors` vectors. Its accumulators, and what it loads, have to fit into the vector registers
(Goto and van de Geijn, 2008, "Anatomy of high-performance matrix multiplication").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import TYPE_CHECKING, Any

from autoglm_tvm.schedules.machine import Machine

if TYPE_CHECKING:
    import numpy as np

# Multiply-adds that are started in the cycles that one takes, on two pipes: fewer accumulators
# leave the pipes waiting.
_IN_FLIGHT = 8
_MAX_ROWS = 14
_MAX_VECTORS = 8
# Steps of the reduced axis in one pass of the inner loop, where rows are loaded as vectors.
_STEPS = 4
# Instructions of one tile beside its inner loop: clearing, epilogue, addresses, for each vector.
_PER_VECTOR = 6
# The same of sums that are requantized to bytes, by the vectors that are stored together; first,
# of others.
_PER_NARROW = {0: _PER_VECTOR, 1: 13, 2: 8, 4: 7}
_NEAR = 1.03
# Products of halves that are summed as halves.
_LONGEST_CHUNK, _SHORTEST_CHUNK = 128, 16
# Sum of a chunk's weights: float16 ends at 65504.
_HEAVIEST_CHUNK = 32


@dataclass(frozen=True)
class Tile:
    """Shape of a register tile.

    Attributes
    ----------
    rows
        Rows of the result.
    vectors
        Vectors in each row.
    lanes
        Elements in a vector.
    steps
        Steps of the reduced axis that are unrolled.
    rows_in_registers
        Whether rows are loaded as vectors along the reduced axis, of which lanes are operands.
    """

    rows: int
    vectors: int
    lanes: int
    steps: int
    rows_in_registers: bool

    @property
    def columns(self) -> int:
        """Columns of the result."""
        return self.vectors * self.lanes


def choose_tile(
    rows: int | None,
    columns: int,
    reduced: int,
    machine: Machine,
    dtype: str = "float32",
    *,
    whole: bool = False,
    paired: bool = False,
) -> Tile:
    """The tile that needs the fewest instructions for a result of `rows` x `columns`.

    Parameters
    ----------
    rows
        None where symbolic, which counts as many.
    columns
        Of the result; in a grouped convolution, of one group.
    reduced
        Length of the contiguous part of the reduced axis.
    machine
        Its vectors and registers.
    dtype
        Of the accumulators.
    whole
        Whether tiles have to end with the columns, as those of a group of channels do.
    paired
        Whether a row is two rows of the left operand, and the result's vectors come in pairs.
    """
    lanes = lanes_for(columns, machine.lanes(dtype), whole)
    whole_vectors = lanes == machine.lanes(dtype) and reduced % _STEPS == 0
    in_registers = paired or (machine.lane_operand and whole_vectors)
    steps = _STEPS if in_registers and not paired else _unroll(reduced)
    tiles = [
        Tile(height, vectors, lanes, steps, in_registers)
        for vectors in range(1 + paired, _MAX_VECTORS + 1, 1 + paired)
        for height in range(1, _MAX_ROWS + 1)
        if _fits(height, vectors, in_registers, machine)
        and not (whole and columns % (vectors * lanes))
    ]
    loads = 2.0 if paired else 1 / steps
    # Sums of bytes become bytes again, as a rule: one instruction narrows several vectors.
    narrow = {
        vectors: stored_together(vectors, lanes, columns, "int8", machine)
        if dtype == "int32" and machine.lane_operand
        else 0
        for vectors in range(1, _MAX_VECTORS + 1)
    }
    costs = {
        tile: _cost(
            tile, rows or 1 << 20, columns, reduced, loads, _PER_NARROW[narrow[tile.vectors]]
        )
        for tile in tiles
    }
    least = min(costs.values())
    if in_registers:
        # Of near equals the one with the most sums: they hide the latency of the loads. For a
        # Cortex-A76, llvm-mca sees 97 % of the multiply-adds that are possible with 7 x 3 vectors,
        # 91 % with 4 x 5 and with 8 x 2.
        near = [tile for tile in tiles if costs[tile] <= least * _NEAR]
        return max(near, key=lambda tile: (tile.rows * tile.vectors, tile.rows))
    return min(tiles, key=lambda tile: (costs[tile], -tile.rows))


def half_chunk(dtype: str, matrix: np.ndarray, run: int, machine: Machine) -> int:
    """How many products of halves are summed as halves before the sums are added in float32.

    Vectors of halves hold twice as many sums. A sum of 128 is off by about 0.2 % of its length,
    rounding by 0.03 %. It must not become infinite, either, where the sum of all is small: the
    weights of a chunk add up to no more than 32 in any column, so that data to about 2000 are
    safe, and larger weights get shorter chunks. 0 where 16 products are too many, the machine has
    no such vectors, the operands are no halves, or a vector would not be filled.

    Parameters
    ----------
    dtype
        Of the data.
    matrix
        The weight [K, N].
    run
        Length of the contiguous part of the reduced axis, which chunks divide; it divides K.
    machine
        Its vectors.
    """
    import numpy as np

    reduced, columns = matrix.shape
    if dtype != "float16" or not machine.half_arithmetic or columns < machine.lanes(dtype):
        return 0
    magnitudes = np.abs(matrix.astype(np.float32))
    most = min(run, _LONGEST_CHUNK)
    for size in range(most - most % _STEPS, _SHORTEST_CHUNK - 1, -_STEPS):
        if run % size == 0:
            chunks = magnitudes.reshape(reduced // size, size, columns).sum(axis=1)
            if chunks.max() <= _HEAVIEST_CHUNK:
                return size
    return 0


def stored_together(vectors: int, lanes: int, columns: int, dtype: str, machine: Machine) -> int:
    """How many of a tile's `vectors` make one full vector of `dtype`, or half of one.

    `columns` are those of the result, which such vectors have to divide.
    """
    fitting = max(1, machine.lanes(dtype) // lanes)
    sizes = (size for size in (4, 2) if size <= fitting)
    return next((n for n in sizes if vectors % n == 0 and columns % (lanes * n) == 0), 1)


def tuned_tile(tile: Tile, config: Mapping[str, Any], *, pair: int = 1, columns: int = 0) -> Tile:
    """`tile` with the `rows`, `vectors` and `steps` that `config` names.

    `tile` itself where these vectors are not `ends_whole`: older records may hold such.
    """
    chosen = {name: int(config[name]) for name in ("rows", "vectors", "steps") if name in config}
    tuned = replace(tile, **chosen)
    return tuned if ends_whole(tuned.vectors, tuned.lanes, pair, columns) else tile


def ends_whole(vectors: int, lanes: int, pair: int, columns: int) -> bool:
    """Whether tiles of so many vectors are made of whole pairs, and end where they have to.

    `pair` is 2 where an instruction takes two rows, and two columns, at once; `columns` are those
    that tiles have to divide, 0 where they may go over the end.
    """
    return vectors % pair == 0 and columns * pair % (vectors * lanes) == 0


def tile_shapes(tile: Tile, machine: Machine, most_rows: int) -> list[tuple[int, int]]:
    """Every (rows, vectors) that fits into the registers as `tile` does."""
    return [
        (rows, vectors)
        for rows in range(1, min(most_rows, _MAX_ROWS) + 1)
        for vectors in range(1, _MAX_VECTORS + 1)
        if _fits(rows, vectors, tile.rows_in_registers, machine)
    ]


def lanes_for(columns: int, lanes: int, whole: bool = False) -> int:
    """Narrower vectors where the result is narrower than one, or where they have to divide it."""
    while (lanes > 4 and lanes // 2 >= columns) or (whole and columns % lanes):
        lanes //= 2
    return lanes


def _unroll(reduced: int) -> int:
    """Two steps in one pass save half of the loop's own instructions."""
    return next(steps for steps in (2, 1) if reduced % steps == 0)


def _fits(rows: int, vectors: int, in_registers: bool, machine: Machine) -> bool:
    operands = vectors + (rows if in_registers else 1)
    return rows * vectors + operands <= machine.vector_registers


def _cost(
    tile: Tile, rows: int, columns: int, reduced: int, row_loads: float, per_vector: float
) -> float:
    """Instructions for the whole result, where a step takes no less than its longest chain.

    `row_loads` are those of a row that is kept in registers, for each step; `per_vector` are those
    beside the inner loop.
    """
    count = ceil(rows / tile.rows) * ceil(columns / tile.columns)
    multiply_adds = tile.rows * tile.vectors
    if tile.rows_in_registers:
        # Vectors of the other operand come in pairs (`ldp`).
        loads = tile.rows * row_loads + tile.vectors / 2
        step = multiply_adds + loads + 3 / tile.steps
    else:
        # A load and a multiply-add go out in the same cycle, two of each.
        step = max(multiply_adds, tile.rows + tile.vectors) + 3 / tile.steps / 2
    return count * (max(step, _IN_FLIGHT) * reduced + per_vector * multiply_adds)
