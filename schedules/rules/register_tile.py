"""The inner loop of every sum of products: one tile of sums in registers."""

from __future__ import annotations

from typing import Any

from autoglm_tvm.schedules.kernel import Block
from autoglm_tvm.schedules.lowering.prefetch import PANEL, STREAM
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


def sum_parts_in_registers(schedule: Any, total: Block, part: Block, lhs: Block, at: Any) -> None:
    """Sum one tile of `total` inside loop `at`, and what it sums, `part`, for each of its steps.

    `lhs` must be inlined unless rows are loaded as vectors. A part that is marked as a stream has
    what it reads in vectors fetched from memory long before (`lowering/prefetch.py`).
    """
    tile, slow_axes = tile_of(total), len(total.reduced)
    for block in (total, part):
        schedule.set_scope(block.handle, 0, "local")
    schedule.compute_at(total.handle, at, preserve_unit_loops=True)
    row, column, *slow = schedule.get_loops(total.handle)[-slow_axes - 2 :]
    vector, lane = schedule.split(column, [None, tile.lanes])
    schedule.reorder(*slow, row, vector, lane)
    schedule.compute_at(part.handle, slow[-1], preserve_unit_loops=True)
    part_row, part_column, *units, step = schedule.get_loops(part.handle)[-slow_axes - 3 :]
    part_vector, part_lane = schedule.split(part_column, [None, tile.lanes])
    step, unrolled = schedule.split(step, [None, tile.steps])
    schedule.reorder(*units, step, unrolled, part_row, part_vector, part_lane)
    if STREAM in part.annotations:
        schedule.annotate(step, STREAM, 1)
    if tile.rows_in_registers:
        around = len(schedule.get_loops(part.handle)) - 4
        schedule.set_scope(lhs.handle, 0, "local")
        schedule.compute_at(lhs.handle, step, preserve_unit_loops=True)
        *lhs_outer, lhs_step = schedule.get_loops(lhs.handle)[around:]
        schedule.vectorize(lhs_step)
        for loop in lhs_outer:
            schedule.unroll(loop)
    schedule.unroll(unrolled)
    for loops in ((row, vector, lane), (part_row, part_vector, part_lane)):
        _in_vectors(schedule, *loops)
    for block, first in ((total, slow[0]), (part, step)):
        cleared = schedule.decompose_reduction(block.handle, first)
        _in_vectors(schedule, *schedule.get_loops(cleared)[-3:])


def _in_vectors(schedule: Any, row: Any, vector: Any, lane: Any) -> None:
    schedule.unroll(row)
    schedule.unroll(vector)
    schedule.vectorize(lane)
