"""The register tile of a contraction: rows x columns of the result that one inner loop adds up.

The inner loop multiplies, for one step of the reduced axis, a column of `rows` scalars with a row
of `vectors` vectors. Its accumulators, and what it loads, have to fit into the vector registers
(Goto and van de Geijn, 2008, "Anatomy of high-performance matrix multiplication").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from autoglm_tvm.schedules.machine import Machine

# Multiply-adds that are started in the cycles that one takes, on two pipes: fewer accumulators
# leave the pipes waiting.
_IN_FLIGHT = 8
_MAX_ROWS = 14
_MAX_VECTORS = 8
# Steps of the reduced axis in one pass of the inner loop, where rows are loaded as vectors.
_STEPS = 4
# Instructions of one tile beside its inner loop: clearing, epilogue, addresses, for each vector.
_PER_VECTOR = 6
_NEAR = 1.03


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
    lanes = _lanes_for(columns, machine.lanes(dtype), whole)
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
    costs = {tile: _cost(tile, rows or 1 << 20, columns, reduced, loads) for tile in tiles}
    least = min(costs.values())
    if in_registers:
        # Of near equals the one with the most sums: they hide the latency of the loads. For a
        # Cortex-A76, llvm-mca sees 97 % of the multiply-adds that are possible with 7 x 3 vectors,
        # 91 % with 4 x 5 and with 8 x 2.
        near = [tile for tile in tiles if costs[tile] <= least * _NEAR]
        return max(near, key=lambda tile: (tile.rows * tile.vectors, tile.rows))
    return min(tiles, key=lambda tile: (costs[tile], -tile.rows))


def tuned_tile(tile: Tile, config: Mapping[str, Any]) -> Tile:
    """`tile` with the `rows`, `vectors` and `steps` that `config` names."""
    chosen = {name: int(config[name]) for name in ("rows", "vectors", "steps") if name in config}
    return replace(tile, **chosen)


def tile_shapes(tile: Tile, machine: Machine, most_rows: int) -> list[tuple[int, int]]:
    """Every (rows, vectors) that fits into the registers as `tile` does."""
    return [
        (rows, vectors)
        for rows in range(1, min(most_rows, _MAX_ROWS) + 1)
        for vectors in range(1, _MAX_VECTORS + 1)
        if _fits(rows, vectors, tile.rows_in_registers, machine)
    ]


def _lanes_for(columns: int, lanes: int, whole: bool) -> int:
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


def _cost(tile: Tile, rows: int, columns: int, reduced: int, row_loads: float) -> float:
    """Instructions for the whole result, where a step takes no less than its longest chain.

    `row_loads` are those of a row that is kept in registers, for each step.
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
    return count * (max(step, _IN_FLIGHT) * reduced + _PER_VECTOR * multiply_adds)
