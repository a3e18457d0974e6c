"""Winograd convolutions (`operators/winograd.py`), their intermediate results in a core's cache.

    parallel chunks of tiles         or: image transformed in parallel
      transform the image                parallel panels of output channels
      panels                               chunks
        products in register tiles
        each tile: transform the products, epilogue, store

Transforms are straight-line code on vectors of channels. Each result is computed by one thread in
one order, so the bits do not depend on the threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import Any

from autoglm_tvm.schedules.kernel import Block, Kernel
from autoglm_tvm.schedules.machine import Machine
from autoglm_tvm.schedules.operators import contraction
from autoglm_tvm.schedules.operators.winograd import PLAN, ROLE
from autoglm_tvm.schedules.rule import Refusal
from autoglm_tvm.schedules.rules.epilogue import Epilogue, split_epilogue
from autoglm_tvm.schedules.rules.parallel import parallel_nest
from autoglm_tvm.schedules.rules.register_tile import sum_in_registers, tile_of

# Multiply-adds below which waking other threads costs more than it brings.
MIN_PARALLEL = 1 << 15


@dataclass(frozen=True)
class _Parts:
    """The blocks by their roles, and what the plan says.

    Attributes
    ----------
    roles
        What `operators/winograd.py` named them.
    total, lhs
        The sums of products and their left operand.
    epilogue
        What follows the convolution.
    outputs, chunk, by_panels
        Rows of a tile of results, tiles in a chunk, whether panels are parallel.
    parallel
        Whether there is enough work for several threads.
    """

    roles: dict[str, Block]
    total: Block
    lhs: Block
    epilogue: Epilogue
    outputs: int
    chunk: int
    by_panels: bool
    parallel: bool


class Winograd:
    """3x3 convolutions with a transformed weight."""

    name = "winograd"

    def check(self, kernel: Kernel, machine: Machine) -> Refusal | None:
        """Refuse what `operators/winograd.py` did not make."""
        if kernel.block(PLAN) is None:
            return Refusal("no tiles of an image are transformed", met=0)
        return None

    def apply(self, kernel: Kernel, machine: Machine) -> str:
        """Schedule the transforms, the products and what follows them."""
        schedule, parts = kernel.schedule, _parts(kernel)
        tile = tile_of(parts.total)
        for block in parts.epilogue.inlined:
            schedule.compute_inline(block.handle)
        if not tile.rows_in_registers:
            schedule.compute_inline(parts.lhs.handle)
        chunk, products_at = _order_loops(schedule, parts)
        _schedule_products(schedule, parts, products_at)
        _schedule_image(schedule, parts, None if parts.by_panels else chunk, machine)
        for block in parts.epilogue.rest:
            parallel_nest(schedule, block.handle, machine)
        return (
            f"F({parts.outputs}x{parts.outputs}, 3x3), {tile.rows}x{tile.columns} tiles in "
            f"registers, chunks of {parts.chunk}, "
            f"{'panels' if parts.by_panels else 'chunks'} in parallel"
        )


def _parts(kernel: Kernel) -> _Parts:
    roles = {b.annotations[ROLE]: b for b in kernel.blocks if ROLE in b.annotations}
    sums = {b.annotations.get(contraction.ROLE): b for b in kernel.blocks}
    outputs, chunk, by_panels = (int(number) for number in roles["unpack"].annotations[PLAN])
    epilogue, total = split_epilogue(kernel, roles["unpack"]), sums["sum"]
    parallel = kernel.config.get("parallel", total.iterations >= MIN_PARALLEL)
    plan = (outputs, chunk, bool(by_panels), parallel)
    return _Parts(roles, total, sums["lhs"], epilogue, *plan)


def _order_loops(schedule: Any, parts: _Parts) -> tuple[Any, Any]:
    """Store tile by tile; returns the loop over chunks and the one that has its own products."""
    tile, outputs = tile_of(parts.total), parts.outputs
    image, row, column, channel = schedule.get_loops(parts.epilogue.last.handle)
    row, row_within = schedule.split(row, [None, outputs])
    column, column_within = schedule.split(column, [None, outputs])
    panel, vector, lane = schedule.split(channel, [None, tile.vectors, tile.lanes])
    stored = (row_within, column_within, lane)
    schedule.reorder(image, row, column, panel, vector, *stored)
    chunk, within = schedule.split(schedule.fuse(row, column), [None, parts.chunk])
    chunk = schedule.fuse(image, chunk)
    outer, inner = (panel, chunk) if parts.by_panels else (chunk, panel)
    schedule.reorder(outer, inner, within, vector, *stored)
    if parts.parallel:
        schedule.parallel(outer)
    for role in ("result", "result_columns"):
        _in_registers(schedule, parts.roles[role], vector)
    _straight(schedule, *stored)
    return chunk, inner


def _schedule_products(schedule: Any, parts: _Parts, at: Any) -> None:
    """All products of a chunk and a panel, in register tiles."""
    tile, products = tile_of(parts.total), parts.roles["products"].handle
    schedule.compute_at(products, at, preserve_unit_loops=True)
    *_, tiles, channel = schedule.get_loops(products)
    block, row = schedule.split(tiles, [None, tile.rows])
    vector, lane = schedule.split(channel, [None, tile.lanes])
    _straight(schedule, row, vector, lane)
    sum_in_registers(schedule, parts.total, parts.lhs, block)


def _schedule_image(schedule: Any, parts: _Parts, at: Any, machine: Machine) -> None:
    """Transform the image of one chunk inside loop `at`; without it, the whole image before."""
    image = parts.roles["image"]
    if at is not None:
        schedule.compute_at(image.handle, at, preserve_unit_loops=True)
    *_, batch, chunk, row, column, tile, channel = schedule.get_loops(image.handle)
    lanes = gcd(image.spatial[-1] or 1, machine.lanes(image.dtype))
    vector, lane = schedule.split(channel, [None, lanes])
    schedule.reorder(tile, vector, row, column, lane)
    if at is None and parts.parallel:
        schedule.parallel(schedule.fuse(batch, chunk, tile))
    _straight(schedule, row, column, lane)
    for role in ("image_columns", "pixels"):
        _in_registers(schedule, parts.roles[role], vector)


def _in_registers(schedule: Any, block: Block, at: Any) -> None:
    """Compute rows and columns of vectors inside loop `at`."""
    schedule.set_scope(block.handle, 0, "local")
    schedule.compute_at(block.handle, at, preserve_unit_loops=True)
    _straight(schedule, *schedule.get_loops(block.handle)[-3:])


def _straight(schedule: Any, *loops: Any) -> None:
    """Unroll all loops but the last, which becomes vectors."""
    *unrolled, lane = loops
    for loop in unrolled:
        schedule.unroll(loop)
    schedule.vectorize(lane)
