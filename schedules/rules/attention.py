"""Attention with the scores of a block of rows in a cache (`operators/attention.py`).

    parallel key heads                            or: keys and values of all heads in panels
      keys and values of the head in panels           parallel heads and blocks of rows
      query heads, blocks of rows
        scores in register tiles, scaled and masked where they are stored
        for each row: the largest, e^(score - largest), their sum
        weights times values in register tiles, divided by the sum, in the order of the graph

Each row is computed by one thread in one order, so the bits do not depend on the threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from autoglm_tvm.schedules.kernel import Block, Kernel
from autoglm_tvm.schedules.machine import Machine
from autoglm_tvm.schedules.operators.attention import BLOCK, PART
from autoglm_tvm.schedules.operators.contraction import ROLE
from autoglm_tvm.schedules.rule import Refusal
from autoglm_tvm.schedules.rules.attention_panels import (
    divisor,
    lie_in_vectors,
    pack_keys,
    pack_values,
)
from autoglm_tvm.schedules.rules.parallel import parallel_nest
from autoglm_tvm.schedules.rules.register_tile import sum_in_registers, tile_of
from autoglm_tvm.schedules.tiles import Tile

# Key heads for each thread, so that uneven cores still balance.
_HEADS_PER_THREAD = 4
# Vectors of weights that are computed side by side.
_UNROLLED_VECTORS = 4
# Multiply-adds below which waking other threads costs more than it brings.
_MIN_PARALLEL = 1 << 16


@dataclass(frozen=True)
class _Product:
    """One of the two products: what sums it, what reads its rows."""

    total: Block
    lhs: Block

    @property
    def tile(self) -> Tile:
        return tile_of(self.total)


class Attention:
    """softmax(Q K^T) V in one kernel."""

    name = "attention"

    def check(self, kernel: Kernel, machine: Machine) -> Refusal | None:
        """Refuse what `operators/attention.py` did not make."""
        return None if kernel.block(BLOCK) else Refusal("no attention", met=0)

    def apply(self, kernel: Kernel, machine: Machine) -> str:
        """Schedule all parts of the kernel, from the last to the first."""
        schedule = kernel.schedule
        parts = {
            block.annotations[PART]: block for block in kernel.blocks if PART in block.annotations
        }
        scores, values = _products(kernel)
        for product in (scores, values):
            if not product.tile.rows_in_registers:
                schedule.compute_inline(product.lhs.handle)
        result = parts["result"]
        size = int(result.annotations[BLOCK])
        *groups, shared, row, column = schedule.get_loops(result.handle)
        group = schedule.fuse(*groups) if len(groups) > 1 else groups[0]
        block, within = schedule.split(row, [None, size])
        tiles = _tile_loops(schedule, within, column, values.tile)
        schedule.reorder(group, shared, block, *tiles)
        parallel = _work(result, scores, values) >= _MIN_PARALLEL
        by_head = not parallel or _by_head(result, machine)
        if not by_head:
            block = group = schedule.fuse(group, shared, block)
        if parallel:
            schedule.parallel(group)
        sum_in_registers(schedule, values.total, values.lhs, tiles[1])
        _softmax(schedule, parts, block, scores.tile)
        panel = _scores(schedule, parts, block, scores)
        if result.spatial[-3] == 1 and (result.spatial[-2] or 0) <= size:
            # A head is one block, so each panel is read once: soon after it was packed.
            pack_keys(schedule, parts["keys"], panel, machine)
            if lie_in_vectors(parts["values"], result.spatial[-1]):
                schedule.compute_inline(parts["values"].handle)
            else:
                pack_values(schedule, parts["values"], block, values.tile, machine)
        else:
            at = group if by_head else None
            pack_keys(schedule, parts["keys"], at, machine)
            pack_values(schedule, parts["values"], at, values.tile, machine)
        for mask in (block for block in kernel.blocks if block.annotations.get(PART) == "mask"):
            parallel_nest(schedule, mask.handle, machine)
        pieces = ("key heads" if by_head else "blocks of rows") if parallel else "nothing"
        return (
            f"{size} rows at a time, {scores.tile.rows}x{scores.tile.columns} and "
            f"{values.tile.rows}x{values.tile.columns} tiles in registers, {pieces} in parallel"
        )


def _products(kernel: Kernel) -> tuple[_Product, _Product]:
    totals, operands = (
        [block for block in kernel.blocks if block.annotations.get(ROLE) == role]
        for role in ("sum", "lhs")
    )
    first, second = map(_Product, totals, operands)
    return first, second


def _by_head(result: Block, machine: Machine) -> bool:
    """Whether threads take whole key heads, which then stay in their caches."""
    heads = prod(extent or 1 for extent in result.spatial[:-3])
    return heads % machine.threads == 0 or heads >= machine.threads * _HEADS_PER_THREAD


def _work(result: Block, scores: _Product, values: _Product) -> int:
    *rows, width = (extent or 1 for extent in result.spatial)
    (depth,), (keys,) = scores.total.reduced, values.total.reduced
    return prod(rows) * (keys or 1) * ((depth or 1) + width)


def _tile_loops(schedule: Any, row: Any, column: Any, tile: Tile) -> list[Any]:
    """Panels, tiles of rows, and one tile unrolled in vectors."""
    tiles, within = schedule.split(row, [None, tile.rows])
    panel, vector, lane = schedule.split(column, [None, tile.vectors, tile.lanes])
    schedule.reorder(panel, tiles, within, vector, lane)
    schedule.unroll(within)
    schedule.unroll(vector)
    schedule.vectorize(lane)
    return [panel, tiles, within, vector, lane]


def _softmax(schedule: Any, parts: dict[str, Block], at: Any, tile: Tile) -> None:
    """The largest of each row in lanes; then row by row the weights and, with them, their sum.

    Several rows or vectors at a time: one waits for its own latency.
    """
    top, tops, weights, sums = (parts[n].handle for n in ("top", "tops", "weights", "sums"))
    for handle in (parts["inverse"].handle, sums, weights):
        schedule.compute_at(handle, at, preserve_unit_loops=True)
    *_, row, column = schedule.get_loops(weights)
    vectors = (parts["weights"].spatial[-1] or 1) // tile.lanes
    factors = [None, divisor(vectors, _UNROLLED_VECTORS), tile.lanes]
    vector, unrolled, lane = schedule.split(column, factors)
    schedule.unroll(unrolled)
    schedule.vectorize(lane)
    schedule.compute_at(top, row, preserve_unit_loops=True)
    schedule.compute_at(tops, at, preserve_unit_loops=True)
    for handle in (top, tops):
        schedule.set_scope(handle, 0, "local")
    *_, row, lane, step = schedule.get_loops(tops)
    row, unrolled_row = schedule.split(row, [None, tile.rows])
    schedule.reorder(row, step, unrolled_row, lane)
    schedule.unroll(unrolled_row)
    schedule.vectorize(lane)
    *_, unrolled_row, lane = schedule.get_loops(schedule.decompose_reduction(tops, step))
    schedule.unroll(unrolled_row)
    schedule.vectorize(lane)
    schedule.set_scope(sums, 0, "local")
    schedule.reverse_compute_at(sums, unrolled)
    schedule.vectorize(schedule.get_loops(sums)[-1])
    first = schedule.decompose_reduction(sums, vector)
    schedule.vectorize(schedule.get_loops(first)[-1])


def _scores(schedule: Any, parts: dict[str, Block], at: Any, product: _Product) -> Any:
    """The scores of a block, and the queries that they need, inside loop `at`.

    Returns the loop over panels of keys.
    """
    scores, queries = parts["scores"].handle, parts["queries"].handle
    schedule.compute_at(scores, at, preserve_unit_loops=True)
    *_, row, column = schedule.get_loops(scores)
    tiles = _tile_loops(schedule, row, column, product.tile)
    sum_in_registers(schedule, product.total, product.lhs, tiles[1])
    schedule.compute_at(queries, at, preserve_unit_loops=True)
    return tiles[0]
