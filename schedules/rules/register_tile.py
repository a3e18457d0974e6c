"""The inner loop of every sum of products: one tile of sums in registers."""

from __future__ import annotations

from typing import Any

from autoglm_tvm.schedules.kernel import Block
from autoglm_tvm.schedules.lowering.prefetch import PANEL
from autoglm_tvm.schedules.operators.contraction import TILE
from autoglm_tvm.schedules.tiles import Tile


def tile_of(total: Block) -> Tile:
    """The tile that `contract` wrote on the block that sums."""
    rows, vectors, lanes, steps, in_registers = (int(n) for n in total.annotations[TILE])
    return Tile(rows, vectors, lanes, steps, bool(in_registers))


def sum_in_registers(schedule: Any, total: Block, lhs: Block, at: Any, *, fetched: int = 0) -> None:
    """Sum one tile of `total` inside loop `at`; `lhs` must be inlined unless rows are loaded.

    `fetched` is the size of the panel, in elements, where the next one is to be fetched meanwhile.
    """
    tile, reduced = tile_of(total), len(total.reduced)
    schedule.set_scope(total.handle, 0, "local")
    schedule.compute_at(total.handle, at, preserve_unit_loops=True)
    loops = schedule.get_loops(total.handle)
    row, column = loops[-reduced - 2 : -reduced]
    *slow, step = loops[-reduced:]
    vector, lane = schedule.split(column, [None, tile.lanes])
    step, unrolled = schedule.split(step, [None, tile.steps])
    if fetched:
        schedule.annotate(step, PANEL, fetched)
    schedule.reorder(*slow, step, unrolled, row, vector, lane)
    if tile.rows_in_registers:
        schedule.set_scope(lhs.handle, 0, "local")
        schedule.compute_at(lhs.handle, step, preserve_unit_loops=True)
        around = len(loops) - reduced - 2 + len([*slow, step])
        *lhs_outer, lhs_step = schedule.get_loops(lhs.handle)[around:]
        schedule.vectorize(lhs_step)
        for loop in lhs_outer:
            schedule.unroll(loop)
    for loop in (unrolled, row, vector):
        schedule.unroll(loop)
    schedule.vectorize(lane)
    first = schedule.decompose_reduction(total.handle, (slow or [step])[0])
    *_, row, vector, lane = schedule.get_loops(first)
    schedule.unroll(row)
    schedule.unroll(vector)
    schedule.vectorize(lane)
