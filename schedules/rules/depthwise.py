"""Depthwise convolution of channels-last data (`operators/depthwise.py`).

    parallel images x bands of rows x groups of channels
      rows of the band
        tiles of a row
          vectors of the group
            kernel rows that lie in the image
              unrolled pixels x kernel columns: sums of the tile in registers
            epilogue on the tile, stored once

One column of the image is loaded once for all kernel columns that read it. The image is not padded:
of the tiles of a row the first and the last are compiled apart, with the columns of zeros left out,
and kernel rows outside of the image are skipped (`depthwise_borders.py`).

Each element is summed by one thread in the order of the kernel's rows and columns, so the bits do
not depend on the threads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from autoglm_tvm.schedules.kernel import Block, Kernel, constant
from autoglm_tvm.schedules.machine import Machine
from autoglm_tvm.schedules.operators.depthwise import COLUMNS, REPEATS, ROLE
from autoglm_tvm.schedules.rule import Refusal
from autoglm_tvm.schedules.rules.depthwise_borders import (
    KERNEL_ROWS,
    ROWS,
    TILES,
    cut_borders,
)
from autoglm_tvm.schedules.rules.depthwise_channels import overlap_last_vector
from autoglm_tvm.schedules.rules.epilogue import Epilogue, split_epilogue
from autoglm_tvm.schedules.rules.parallel import parallel_nest

# Pieces of work for each thread, so that uneven cores still balance.
_CHUNKS_PER_THREAD = 4
# Multiply-adds below which waking other threads costs more than it brings.
MIN_PARALLEL = 1 << 15
# Rows of the result in a piece of work: fewer read the rows at its border too often, more let the
# neighbouring channels fall out of the cache that came with the same memory page.
_MIN_ROWS, _MAX_ROWS = 4, 16
# What one core reads together. Bytes.
_CACHE_LINE = 64
# Sums in registers: more of them leave LLVM's scheduler without room on 32 registers.
_MAX_COLUMNS = 16
# A kernel row wider than this is a loop.
_MAX_UNROLLED = 16


@dataclass(frozen=True)
class DepthwiseTile:
    """How the result is cut.

    Attributes
    ----------
    lanes
        Channels in a vector.
    vectors, columns
        Of the sums that are in registers at once: vectors of channels, pixels of a row.
    group
        Times `vectors` vectors that one thread goes through for the same pixels.
    rows
        Rows that one thread goes through for the same channels.
    """

    lanes: int
    vectors: int
    columns: int
    group: int
    rows: int


@dataclass(frozen=True)
class _Parts:
    """The blocks of a depthwise convolution by the part they play."""

    total: Block
    pad: Block | None
    repeat: Block | None
    epilogue: Epilogue


class Depthwise:
    """Depthwise convolutions."""

    name = "depthwise"

    def check(self, kernel: Kernel, machine: Machine) -> Refusal | None:
        """Refuse what sums something else, or whose channels or kernel are not known."""
        total = kernel.marked(ROLE, "sum")
        if total is None:
            return Refusal("no depthwise sum of products", met=0)
        if kernel.marked(ROLE, "result") is None:
            return Refusal("its sums are not stored in the same kernel", met=1)
        if None in (total.spatial[-1], *total.reduced):
            return Refusal("its channels or its kernel are symbolic", met=2)
        return None

    def apply(self, kernel: Kernel, machine: Machine) -> str:
        """Schedule the tiles and what follows them."""
        parts = _parts(kernel)
        tile = tuned_tile(choose_tile(parts.total, machine), kernel.config)
        schedule = kernel.schedule
        if parts.pad is not None:
            schedule.compute_inline(parts.pad.handle)
        for block in parts.epilogue.inlined:
            schedule.compute_inline(block.handle)
        _order_loops(kernel, parts, tile)
        if parts.repeat is not None:
            _schedule_repeat(schedule, parts.repeat)
        for block in parts.epilogue.rest:
            parallel_nest(schedule, block.handle, machine)
        segments = _segments(_image_width(parts), parts.total, tile)
        update = schedule.get(parts.total.handle)
        function = cut_borders(schedule.mod["main"], update, segments)
        channels = parts.total.spatial[-1] or 0
        if channels % tile.lanes:
            function = overlap_last_vector(function, channels, tile.lanes)
        kernel.restart(function)
        return (
            f"{tile.columns} pixels x {tile.vectors} vectors of {tile.lanes} in registers, "
            f"bands of {tile.rows} rows"
        )


def choose_tile(total: Block, machine: Machine) -> DepthwiseTile:
    """The tile for the sums `total`: [B, OH, OW, channels] over [KH, KW]."""
    batch, height, width, channels = total.spatial
    kernel_width = total.reduced[-1]
    assert channels is not None and kernel_width is not None  # noqa: PT018
    lanes = _lanes(channels, machine.lanes(total.dtype))
    count = ceil(channels / lanes)
    columns = _columns(width, _most_columns(kernel_width, machine))
    vectors = _vectors(count, columns, kernel_width, machine)
    line = _CACHE_LINE // (machine.vector_bytes * vectors)
    group = max(size for size in range(1, max(1, line) + 1) if count // vectors % size == 0)
    pieces = (batch or 1) * (count // vectors // group)
    rows = _rows(height, ceil(machine.threads * _CHUNKS_PER_THREAD / max(1, pieces)))
    return DepthwiseTile(lanes, vectors, columns, group, rows)


def tuned_tile(tile: DepthwiseTile, config: Mapping[str, Any]) -> DepthwiseTile:
    """`tile` with the `columns`, `vectors`, `group` and `rows` that `config` names."""
    names = ("columns", "vectors", "group", "rows")
    return replace(tile, **{name: int(config[name]) for name in names if name in config})


def _lanes(channels: int, lanes: int) -> int:
    """Lanes of a vector of channels, so that few vectors are needed; the last may overlap."""
    sizes = [2**power for power in range(lanes.bit_length()) if 2**power <= min(lanes, channels)]
    return min(sizes, key=lambda size: ceil(channels / size))


def _most_columns(kernel_width: int, machine: Machine) -> int:
    """Pixels whose sums fit into registers beside a kernel row and the pixels it reads.

    On x86-64 a multiply-add can read the kernel from memory instead.
    """
    operands = _unrolled(kernel_width) * (2 if machine.lane_operand else 1) + 3
    return min(_MAX_COLUMNS, max(4, machine.vector_registers - operands))


def _unrolled(kernel_width: int) -> int:
    """Kernel columns in one pass of the innermost loop."""
    return kernel_width if kernel_width <= _MAX_UNROLLED else 1


def _columns(width: int | None, most: int) -> int:
    """Pixels of a tile so that a row needs few tiles, and few pixels beyond its end."""
    if width is None or width <= most:
        return width or most
    return min(
        range(most // 2, most + 1), key=lambda size: (ceil(width / size) * (size + 1), -size)
    )


def _vectors(count: int, columns: int, kernel_width: int, machine: Machine) -> int:
    """Vectors of channels in a tile: more than one where a row has few pixels."""

    def fits(vectors: int) -> bool:
        sums = vectors * columns
        operands = _unrolled(kernel_width) * (vectors + 1 if machine.lane_operand else 1)
        return sums <= _MAX_COLUMNS and sums + operands + 2 <= machine.vector_registers

    sizes = [size for size in range(1, _MAX_COLUMNS + 1) if count % size == 0 and fits(size)]
    return max(sizes, default=1)


def _rows(height: int | None, pieces: int) -> int:
    """Rows of a band, so that there are `pieces` bands if possible."""
    if height is None:
        return _MAX_ROWS
    bands = max(ceil(height / _MAX_ROWS), min(pieces, height // _MIN_ROWS), 1)
    return max(1, ceil(height / bands))


def _segments(image_width: int | None, total: Block, tile: DepthwiseTile) -> list[tuple[int, int]]:
    """Tiles at the left border of a row, in its middle and at its right border: (first, count).

    Empty where the width is symbolic: every tile then asks whether it is at a border.
    """
    width, kernel_width = total.spatial[2], total.reduced[-1]
    if width is None or kernel_width is None or image_width is None:
        return []
    stride, dilation, left = (int(number) for number in total.annotations[COLUMNS])
    count = ceil(width / tile.columns)

    def inside(at: int) -> bool:
        first, last = at * tile.columns, (at + 1) * tile.columns - 1
        end = last * stride + dilation * (kernel_width - 1) - left
        return first * stride >= left and last < width and end < image_width

    middle = [at for at in range(count) if inside(at)] or [count]
    pieces = [(0, middle[0]), (middle[0], len(middle)), (middle[-1] + 1, count - middle[-1] - 1)]
    if middle == [count]:
        pieces = [(0, 1), (1, count - 2), (count - 1, 1)] if count > 1 else [(0, 1)]
    return [(first, number) for first, number in pieces if number > 0]


def _image_width(parts: _Parts) -> int | None:
    reader = parts.total if parts.pad is None else parts.pad
    return constant(reader.statement.reads[0].source.ty.shape[2])


def _parts(kernel: Kernel) -> _Parts:
    total, result = kernel.marked(ROLE, "sum"), kernel.marked(ROLE, "result")
    assert total is not None and result is not None  # noqa: PT018
    pad, repeat = kernel.marked(ROLE, "pad"), kernel.marked(ROLE, "repeat")
    return _Parts(total, pad, repeat, split_epilogue(kernel, result))


def _order_loops(kernel: Kernel, parts: _Parts, tile: DepthwiseTile) -> None:
    """Tile the last block of the epilogue and put the sums into its loops."""
    schedule = kernel.schedule
    last = parts.epilogue.last.handle
    batch, row, column, channel = schedule.get_loops(last)
    group, within, vector, lane = schedule.split(
        channel, [None, tile.group, tile.vectors, tile.lanes]
    )
    band, row = schedule.split(row, [None, tile.rows])
    tiles, pixel = schedule.split(column, [None, tile.columns])
    schedule.reorder(batch, band, group, row, tiles, within, pixel, vector, lane)
    outer = schedule.fuse(batch, band, group)
    if kernel.config.get("parallel", parts.total.iterations >= MIN_PARALLEL):
        schedule.parallel(outer)
    if _calls_functions(schedule.get(last)):
        _copy_sums(schedule, parts, within, tile)
        if tile.vectors == 1 and tile.columns % 2 == 0:
            _, pair = schedule.split(pixel, [None, 2])
            schedule.unroll(pair)
        schedule.unroll(vector)
    else:
        schedule.unroll(pixel)
        schedule.unroll(vector)
    _schedule_sum(schedule, parts, within, tile)
    schedule.vectorize(lane)
    schedule.annotate(row, ROWS, 1)
    schedule.annotate(tiles, TILES, 1)


def _schedule_sum(schedule: Any, parts: _Parts, at: Any, tile: DepthwiseTile) -> None:
    """Sum one tile inside loop `at`, in registers.

    Pixels go before kernel columns: of the pixels of the image only those that the next sums need
    are in registers.
    """
    total = parts.total.handle
    schedule.set_scope(total, 0, "local")
    schedule.compute_at(total, at, preserve_unit_loops=True)
    _, row, pixel, channel, kernel_row, kernel_column = schedule.get_loops(total)[-6:]
    vector, lane = schedule.split(channel, [None, tile.lanes])
    if _unrolled(parts.total.reduced[-1] or 0) > 1:
        schedule.reorder(row, kernel_row, pixel, kernel_column, vector, lane)
        schedule.unroll(kernel_column)
    else:
        schedule.reorder(row, kernel_row, kernel_column, pixel, vector, lane)
    schedule.vectorize(lane)
    for loop in (pixel, vector):
        schedule.unroll(loop)
    first = schedule.decompose_reduction(total, kernel_row)
    *_, pixel, vector, lane = schedule.get_loops(first)
    schedule.unroll(pixel)
    schedule.unroll(vector)
    schedule.vectorize(lane)
    schedule.annotate(kernel_row, KERNEL_ROWS, 1)


def _schedule_repeat(schedule: Any, repeat: Block) -> None:
    """Write the repetitions of a channel next to each other: LLVM interleaves vectors for it."""
    *pixels, channel = schedule.get_loops(repeat.handle)
    _, count = schedule.split(channel, [None, int(repeat.annotations[REPEATS])])
    schedule.unroll(count)
    schedule.parallel(schedule.fuse(*pixels))


def _calls_functions(block: Any) -> bool:
    """Whether it computes more than arithmetic: one function is as long as a tile's sums."""
    import tvm_ffi
    from tvm import ir

    names: list[str] = []
    tvm_ffi.structural_walk(block.body, (ir.Call, lambda call: names.append(call.op.name)))
    return any(name != "prim.if_then_else" for name in names)


def _copy_sums(schedule: Any, parts: _Parts, at: Any, tile: DepthwiseTile) -> None:
    """Write the sums of a tile to memory, so that a long epilogue can be a loop over pixels."""
    last = parts.epilogue.last.handle
    sums = schedule.get(parts.total.handle).writes[0].source
    read = [region.source.same_as(sums) for region in schedule.get(last).reads].index(True)
    copy = schedule.cache_read(last, read, "local")
    schedule.compute_at(copy, at, preserve_unit_loops=True)
    *_, pixel, channel = schedule.get_loops(copy)
    vector, lane = schedule.split(channel, [None, tile.lanes])
    schedule.unroll(pixel)
    schedule.unroll(vector)
    schedule.vectorize(lane)
