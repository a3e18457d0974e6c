"""Depthwise convolution of bytes by dot products (`operators/dot_depthwise.py`).

    parallel images x bands of rows x groups of channels
      rows of the result that the same words give
        words of the group's channels, in the first cache
        pieces of the group
          tiles of a row
            sums of the tile in registers: unrolled kernel columns x rows x pixels x vectors
            epilogue on the tile, stored once

Integers are summed exactly, so the bits depend on nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any

from autoglm_tvm.schedules.kernel import Block, Kernel
from autoglm_tvm.schedules.lowering.image_borders import COLUMNS
from autoglm_tvm.schedules.machine import Machine
from autoglm_tvm.schedules.operators.conv2d import Window
from autoglm_tvm.schedules.operators.dot_depthwise import BORDER, ROLE, TILE, DotTile, row_plan
from autoglm_tvm.schedules.rule import Refusal
from autoglm_tvm.schedules.rules.depthwise import MIN_PARALLEL
from autoglm_tvm.schedules.rules.epilogue import Epilogue, split_epilogue
from autoglm_tvm.schedules.rules.parallel import parallel_nest

# Pieces of work for each thread, so that uneven cores still balance.
_CHUNKS_PER_THREAD = 4
# Rows of the result in a piece of work.
_MIN_ROWS, _MAX_ROWS = 4, 16
# Bytes of words that are made at once, so that they stay in the first cache; and so that at least
# all channels of a cache line are. They lie on the stack (`lowering/registers.py`).
_SOME_WORDS, _MOST_WORDS = 8192, 16384
_LINE = 64
# A store of fewer channels than this takes as many instructions.
_MIN_CHANNELS = 8
# Channels that are made words by one step.
_STEP = 16
# Sums of a tile: more of them leave LLVM's scheduler without room on 32 registers.
_MOST_SUMS = 16


@dataclass(frozen=True)
class _Parts:
    """The blocks of a convolution by the part they play, and its tile."""

    total: Block
    words: Block
    epilogue: Epilogue
    tile: DotTile


class DotDepthwise:
    """Depthwise convolutions of bytes."""

    name = "dot-depthwise"

    def check(self, kernel: Kernel, machine: Machine) -> Refusal | None:
        """Refuse what sums something else, or does not store its sums."""
        if kernel.marked(ROLE, "sum") is None:
            return Refusal("no depthwise sum of dot products", met=0)
        if kernel.marked(ROLE, "result") is None or kernel.marked(ROLE, "words") is None:
            return Refusal("its sums are not stored in the same kernel", met=1)
        return None

    def apply(self, kernel: Kernel, machine: Machine) -> str:
        """Schedule the words, the sums and what follows them."""
        parts = _parts(kernel)
        schedule = kernel.schedule
        for block in parts.epilogue.inlined:
            schedule.compute_inline(block.handle)
        group, rows = _shares(parts, machine)
        _order_loops(kernel, parts, group, rows)
        for block in parts.epilogue.rest:
            parallel_nest(schedule, block.handle, machine)
        tile = parts.tile
        return (
            f"{tile.rows}x{tile.columns} pixels x {tile.channels} channels in registers, "
            f"words of {group * tile.channels} channels, bands of {rows * tile.rows} rows"
        )


def choose_dot_tile(window: Window, width: int, channels: int, machine: Machine) -> DotTile:
    """The tile for a result of `width` pixels a row and `channels`."""
    rows, words = row_plan(window)
    lanes = machine.lanes("int32")
    while lanes > 4 and lanes // 2 >= channels:
        lanes //= 2
    together = max(lanes, _MIN_CHANNELS)
    vectors = together // lanes
    spare = 2 + (vectors if machine.lane_operand else 1)
    most = max(1, min(_MOST_SUMS, machine.vector_registers - spare) // (rows * vectors))
    kernel_width, stride = window.kernel[1], window.strides[1]

    def cost(columns: int) -> tuple[float, int]:
        sums = rows * columns * kernel_width
        loads = (columns - 1) * stride + kernel_width + rows * kernel_width / 2
        return ceil(width / columns) * (sums + loads), -columns

    columns = min(range(1, min(most, width) + 1), key=cost)
    return DotTile(rows, words, columns, together, lanes)


def _parts(kernel: Kernel) -> _Parts:
    total, words, result = (kernel.marked(ROLE, role) for role in ("sum", "words", "result"))
    assert total is not None and words is not None and result is not None  # noqa: PT018
    rows, columns, channels, lanes = (int(n) for n in total.annotations[TILE])
    down = total.reduced[0] or 1
    tile = DotTile(rows, down, columns, channels, lanes)
    return _Parts(total, words, split_epilogue(kernel, result), tile)


def _shares(parts: _Parts, machine: Machine) -> tuple[int, int]:
    """Pieces of channels in a group, and bands of rows of a piece of work."""
    batch, bands, pieces, *_ = parts.total.spatial
    _, _, words, columns, _ = parts.words.spatial
    channels = parts.tile.channels
    of_piece = (words or 1) * (columns or 1) * channels * 4

    def worth(size: int) -> tuple[bool, bool, int]:
        few = size * of_piece <= _SOME_WORDS
        whole = size * channels % _STEP == 0
        return few or size * channels <= _LINE, whole, size

    sizes = [size for size in range(1, (pieces or 1) + 1) if (pieces or 1) % size == 0]
    group = max((size for size in sizes if size * of_piece <= _MOST_WORDS), key=worth, default=1)
    count = (batch or 1) * (pieces or 1) // group
    wanted = ceil(machine.threads * _CHUNKS_PER_THREAD / max(1, count))
    height = (bands or 1) * parts.tile.rows
    chunks = max(ceil(height / _MAX_ROWS), min(wanted, height // _MIN_ROWS), 1)
    return group, max(1, ceil((bands or 1) / chunks))


def _order_loops(kernel: Kernel, parts: _Parts, group: int, rows: int) -> None:
    """Tile the last block of the epilogue and put words and sums into its loops."""
    schedule, tile = kernel.schedule, parts.tile
    last = parts.epilogue.last.handle
    batch, row, column, channel = schedule.get_loops(last)
    groups, piece, lane = schedule.split(channel, [None, group, tile.channels])
    band, inner_band, row = schedule.split(row, [None, rows, tile.rows])
    block, pixel = schedule.split(column, [None, tile.columns])
    schedule.reorder(batch, band, groups, inner_band, piece, block, row, pixel, lane)
    outer = schedule.fuse(batch, band, groups)
    if kernel.config.get("parallel", parts.total.iterations >= MIN_PARALLEL):
        schedule.parallel(outer)
    _schedule_sums(schedule, parts, block)
    _schedule_words(schedule, parts, inner_band, group)
    schedule.unroll(row)
    schedule.unroll(pixel)
    schedule.vectorize(lane)


def _schedule_sums(schedule: Any, parts: _Parts, at: Any) -> None:
    """Sum one tile inside loop `at`, in registers."""
    total, tile = parts.total.handle, parts.tile
    schedule.set_scope(total, 0, "local")
    schedule.compute_at(total, at, preserve_unit_loops=True)
    *_, row, pixel, channel, down, across = schedule.get_loops(total)
    vector, lane = schedule.split(channel, [None, tile.lanes])
    schedule.reorder(down, across, row, pixel, vector, lane)
    whole = tile.unrolls(parts.total.reduced[1] or 1)
    for loop in (*((down, across) if whole else ()), row, pixel, vector):
        schedule.unroll(loop)
    schedule.vectorize(lane)
    first = schedule.decompose_reduction(total, down)
    *_, row, pixel, vector, lane = schedule.get_loops(first)
    for loop in (row, pixel, vector):
        schedule.unroll(loop)
    schedule.vectorize(lane)


def _schedule_words(schedule: Any, parts: _Parts, at: Any, group: int) -> None:
    """Make the words of one group of channels inside loop `at`."""
    words, channels = parts.words.handle, group * parts.tile.channels
    schedule.compute_at(words, at, preserve_unit_loops=True)
    *_, column, channel = schedule.get_loops(words)
    size = 4 * channels
    for extent in parts.words.spatial[2:4]:
        size *= extent or 1
    if size <= _MOST_WORDS:
        schedule.set_scope(words, 0, "local")
    step = _STEP
    while channels % step:
        step //= 2
    _, lane = schedule.split(channel, [None, step])
    schedule.vectorize(lane)
    schedule.annotate(column, COLUMNS, list(parts.words.annotations[BORDER]))
