"""Matrix products and convolutions in register tiles (`operators/contraction.py`).

    parallel chunks of rows          or: parallel panels
      panels                               rows
        rows of the chunk
          tile of sums in registers: k, unrolled rows x vectors
          epilogue on the tile, stored once

Each element is summed by one thread in the order of k, so the bits do not depend on the threads.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from autoglm_tvm.schedules.kernel import Block, Kernel, constant
from autoglm_tvm.schedules.lowering.image_borders import COLUMNS
from autoglm_tvm.schedules.lowering.prefetch import AGAIN, STREAM
from autoglm_tvm.schedules.machine import Machine
from autoglm_tvm.schedules.operators.contraction import IMAGE, OUTER, RESULT, ROLE
from autoglm_tvm.schedules.products import refuse_unpacked
from autoglm_tvm.schedules.rule import Refusal
from autoglm_tvm.schedules.rules.bias import start_from_bias
from autoglm_tvm.schedules.rules.contraction_work import BOTH, ROWS, share_work, whole_sum
from autoglm_tvm.schedules.rules.epilogue import Epilogue, split_epilogue
from autoglm_tvm.schedules.rules.parallel import parallel_nest
from autoglm_tvm.schedules.rules.register_tile import (
    sum_in_registers,
    sum_parts_in_registers,
    tile_of,
)
from autoglm_tvm.schedules.tiles import Tile, stored_together


@dataclass(frozen=True)
class _Parts:
    """The blocks of a contraction by the part they play; the tile as summed and as unpacked."""

    total: Block
    lhs: Block
    part: Block | None
    pad: Block | None
    rhs: Block | None
    epilogue: Epilogue
    tile: Tile
    result: Tile
    outer: int


class Contraction:
    """Packed matrix products and convolutions."""

    name = "contraction"

    def check(self, kernel: Kernel, machine: Machine) -> Refusal | None:
        """Refuse what does not sum into tiles, or has nothing that unpacks them."""
        if kernel.marked(ROLE, "sum") is None:
            return refuse_unpacked(kernel)
        if kernel.marked(ROLE, "unpack") is None or kernel.marked(ROLE, "lhs") is None:
            return Refusal("its tiles are not unpacked in the same kernel", met=1)
        return None

    def apply(self, kernel: Kernel, machine: Machine) -> str:
        """Schedule the tiles, their operands and what follows them."""
        start_from_bias(kernel)
        parts = _parts(kernel)
        if None in parts.total.spatial:
            kernel.restart(kernel.schedule.mod["main"], checked=False)
            parts = _parts(kernel)
        for block in parts.epilogue.inlined:
            kernel.schedule.compute_inline(block.handle)
        if not parts.tile.rows_in_registers:
            kernel.schedule.compute_inline(parts.lhs.handle)
        parts = _flatten_rows(kernel, parts)
        how = _order_loops(kernel, parts, machine)
        for block in parts.epilogue.rest:
            parallel_nest(kernel.schedule, block.handle, machine)
        grouped = parts.part is not None and STREAM in parts.part.annotations
        groups = " for each group of the weight" if grouped else ""
        return f"{parts.tile.rows}x{parts.tile.columns} tiles in registers{groups}, {how}"


def _parts(kernel: Kernel) -> _Parts:
    total, lhs, unpack = (kernel.marked(ROLE, role) for role in ("sum", "lhs", "unpack"))
    assert total is not None and lhs is not None and unpack is not None  # noqa: PT018
    tile = tile_of(total)
    rows, vectors, lanes = (int(n) for n in total.annotations[RESULT])
    return _Parts(
        total,
        lhs,
        kernel.marked(ROLE, "part"),
        kernel.marked(ROLE, "pad"),
        kernel.marked(ROLE, "rhs"),
        split_epilogue(kernel, unpack),
        tile,
        replace(tile, rows=rows, vectors=vectors, lanes=lanes),
        int(total.annotations[OUTER]),
    )


def _flatten_rows(kernel: Kernel, parts: _Parts) -> _Parts:
    """Make one axis of the row axes of the last block, and of its outer ones another.

    Loops alone could be fused, but where a tile goes over the end of a row of pixels, TVM would not
    find out that it is one tile that is read. Returns the parts in the changed kernel.
    """
    from tvm import tirx

    last, depth = parts.epilogue.last, parts.outer
    extents = last.spatial
    if None not in extents:

        def flat(*at: Any) -> tuple[Any, ...]:
            groups = [(0, depth), (depth, len(at) - 1)]
            return (*(_flat(at[i:j], extents[i:j]) for i, j in groups if i < j), at[-1])

        index_map = tirx.IndexMap.from_func(flat, ndim=len(extents), index_dtype="int64")
        kernel.schedule.transform_block_layout(last.handle, index_map)
        kernel.simplify()
    epilogue = Epilogue((), kernel.named(last), tuple(kernel.named(b) for b in parts.epilogue.rest))
    lhs = parts.lhs if not parts.tile.rows_in_registers else kernel.named(parts.lhs)
    part, pad, rhs = (block and kernel.named(block) for block in (parts.part, parts.pad, parts.rhs))
    total = kernel.named(parts.total)
    return replace(parts, total=total, lhs=lhs, part=part, pad=pad, rhs=rhs, epilogue=epilogue)


def _flat(at: tuple[Any, ...], extents: tuple[Any, ...]) -> Any:
    row: Any = 0
    for index, extent in zip(at, extents, strict=True):
        row = row * extent + index
    return row


def _order_loops(kernel: Kernel, parts: _Parts, machine: Machine) -> str:
    """Tile the last block of the epilogue and put the sums and their operands into its loops."""
    schedule, tile = kernel.schedule, parts.result
    outer, row, column = _loops(schedule, parts)
    row_block, row_within = schedule.split(row, [None, tile.rows])
    together = _stored_together(parts, machine)
    sizes = [None, tile.vectors // together, tile.lanes * together]
    panel, vector, lane = schedule.split(column, sizes)
    if outer is not None and parts.pad is None:
        row_block, outer = schedule.fuse(outer, row_block), None
    shared = row_block if outer is None else outer
    unit = None if outer is None else parts.total.spatial[parts.outer - 1]
    extent = constant(schedule.get(shared).extent)
    work = share_work(whole_sum(kernel), parts.tile, (extent, unit), machine, kernel.config)
    chunked, chunk = schedule.split(shared, [None, work.size])
    inner = [row_block] if outer is not None else []
    if work.share == ROWS:
        order, again = [chunked, panel, chunk, *inner], chunk
    else:
        order, again = [panel, chunked, chunk, *inner], chunked
    schedule.reorder(*order, row_within, vector, lane)

    parallel = order[0]
    if work.share == BOTH:
        parallel, again = schedule.fuse(panel, chunked), chunk
    if work.parallel:
        schedule.parallel(parallel)
    if parts.rhs is not None:
        parallel_nest(schedule, parts.rhs.handle, machine)
    if work.fetched:
        schedule.annotate(again, AGAIN, 1)
    if parts.part is not None:
        sum_parts_in_registers(schedule, parts.total, parts.part, parts.lhs, order[-1])
    else:
        sum_in_registers(schedule, parts.total, parts.lhs, order[-1], fetched=work.fetched)
    if parts.pad is not None:
        _schedule_pad(schedule, parts.pad, parallel if work.share == ROWS else None, machine)
    schedule.unroll(row_within)
    schedule.unroll(vector)
    schedule.vectorize(lane)
    return work.description


def _stored_together(parts: _Parts, machine: Machine) -> int:
    """Vectors of sums that become one of a result of fewer bits.

    They have to fill it: of ragged vectors, elements would be stored one by one.
    """
    tile, columns = parts.result, parts.epilogue.last.spatial[-1]
    if columns is None:
        return 1
    return stored_together(tile.vectors, tile.lanes, columns, parts.epilogue.last.dtype, machine)


def _loops(schedule: Any, parts: _Parts) -> tuple[Any, Any, Any]:
    """Loops over the outer axes (None if there are none), the rows and the columns."""
    last = parts.epilogue.last
    *others, column = schedule.get_loops(last.handle)
    # Symbolic axes are still apart.
    split = parts.outer if None in last.spatial else min(parts.outer, 1)
    row = _fused(schedule, others[split:])
    if row is None:
        row = schedule.add_unit_loop(column)
    return _fused(schedule, others[:split]), row, column


def _schedule_pad(schedule: Any, pad: Block, at: Any, machine: Machine) -> None:
    """Pad for one chunk inside its loop; without a loop, the whole image before all others."""
    if at is None:
        parallel_nest(schedule, pad.handle, machine)
        return
    schedule.compute_at(pad.handle, at, preserve_unit_loops=True)
    channel = schedule.get_loops(pad.handle)[-1]
    channels, lanes = pad.spatial[-1], machine.lanes(pad.dtype)
    if IMAGE in pad.annotations:
        schedule.annotate(channel, COLUMNS, list(pad.annotations[IMAGE]))
    elif channels is not None and channels % lanes == 0:
        _, lane = schedule.split(channel, [None, lanes])
        schedule.vectorize(lane)


def _fused(schedule: Any, loops: list[Any]) -> Any:
    if len(loops) > 1:
        return schedule.fuse(*loops)
    return loops[0] if loops else None
