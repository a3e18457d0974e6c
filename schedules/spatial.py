"""Loops over independent elements: merged where they can be, in vectors, on all threads."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from autoglm_tvm.schedules.accesses import Accesses, accesses_of
from autoglm_tvm.schedules.inlining import math_calls
from autoglm_tvm.schedules.kernel import constant
from autoglm_tvm.schedules.machine import Machine

# Vector steps below which waking the other threads (3 microseconds) costs more than it brings.
_MIN_STEPS = 1 << 13
# Steps that a call of an elementary function counts as.
_CALL_STEPS = 8
# Pieces of work for each thread, so that sizes that do not divide still balance.
_PIECES_PER_THREAD = 4
# A tile that is transposed in registers: it is read in vectors of so many elements, and written in
# vectors of so many. Measured on 64 x 3136 and back; more columns take more shuffles for each.
_TILE_ROWS = 16
_TILE_COLUMNS = 4
# What a symbolic extent counts as.
_UNKNOWN = 1 << 10


@dataclass(frozen=True)
class Axis:
    """One loop of a nest, or several that are one loop to every access.

    Attributes
    ----------
    loop
        The schedule's handle.
    extent
        Its iterations; None where symbolic.
    strides
        Of the store and then of each load: by how many elements the address moves.
    innermost
        Extent of the innermost of several loops; None for a single one.
    """

    loop: Any
    extent: int | None
    strides: tuple[int | None, ...]
    innermost: int | None = None

    def tile(self, largest: int) -> int:
        """The largest tile that stays within an innermost loop; 1 if there is none."""
        tile = largest
        while tile > 1 and self.innermost is not None and self.innermost % tile:
            tile //= 2
        return tile if self.size >= _TILE_COLUMNS else 1

    @property
    def size(self) -> int:
        """Iterations, a guess where they are symbolic."""
        return _UNKNOWN if self.extent is None else self.extent


def spread(schedule: Any, block: Any, machine: Machine) -> str:
    """Schedule a block that reduces nothing; say what was done."""
    statement = schedule.get(block)
    accesses = accesses_of(statement)
    if accesses is None:
        return _as_it_is(schedule, block, machine)
    calls = math_calls(statement)
    steps = 1 + _CALL_STEPS * calls
    axes = merge_axes(schedule, block, accesses)
    if not axes:
        return "one element"
    *outer, inner = axes
    across = _contiguous_across(axes, accesses)
    if across is not None:
        return _transpose(schedule, block, axes, across, accesses, machine)
    lanes = lanes_along(inner, accesses, machine, side_by_side(calls, machine))
    parallel = worth_threads(prod(axis.size for axis in axes) * steps // lanes)
    loop = inner.loop
    if lanes > 1:
        loop, lane = schedule.split(loop, factors=[None, lanes])
        schedule.vectorize(lane)
    if parallel:
        run_in_parallel(schedule, [*(axis.loop for axis in outer), loop], machine)
    return described(f"vectors of {lanes}" if lanes > 1 else "scalars", parallel)


def described(what: str, parallel: bool) -> str:
    """Add whether a nest runs on all threads to what was done to it."""
    return f"{what} on all threads" if parallel else what


def _contiguous_across(axes: list[Axis], accesses: Accesses) -> int | None:
    """The axis along which those loads are contiguous that are not along the innermost one."""
    *outer, inner = axes
    crossing = [i for i, stride in enumerate(inner.strides) if stride not in (0, 1)]
    if inner.strides[0] != 1 or not crossing or inner.tile(_TILE_COLUMNS) < _TILE_COLUMNS:
        return None
    loads = accesses.all
    if any(_reads(accesses, loads[i].buffer) > 1 for i in crossing):
        return None
    # How much of it a tile reads would not be constant (resizing).
    if any(inner.strides[i] is None for i in crossing):
        return None
    for number, axis in enumerate(outer):
        tile = axis.tile(_TILE_ROWS)
        if all(axis.strides[i] == 1 for i in crossing) and tile >= _TILE_COLUMNS:
            return number
    return None


def _reads(accesses: Accesses, buffer: Any) -> int:
    return sum(load.buffer.same_as(buffer) for load in accesses.loads)


def _transpose(
    schedule: Any, block: Any, axes: list[Axis], across: int, accesses: Accesses, machine: Machine
) -> str:
    """Copy tiles by way of registers: vectors one way in, vectors the other way out."""
    inner = axes[-1]
    crossing = [
        load.buffer
        for load, stride in zip(accesses.loads, inner.strides[1:], strict=True)
        if stride not in (0, 1)
    ]
    others = [axis.loop for number, axis in enumerate(axes[:-1]) if number != across]
    tile = axes[across].tile(_TILE_ROWS)
    rows, row = schedule.split(axes[across].loop, factors=[None, tile])
    columns, column = schedule.split(inner.loop, factors=[None, _TILE_COLUMNS])
    schedule.reorder(*others, rows, columns, row, column)
    for buffer in crossing:
        sources = [region.source for region in schedule.get(block).reads]
        index = next(i for i, source in enumerate(sources) if source.same_as(buffer))
        copy = schedule.cache_read(block, index, "local")
        schedule.compute_at(copy, columns, preserve_unit_loops=True)
        extents = [constant(schedule.get(loop).extent) for loop in schedule.get_loops(copy)]
        inside = schedule.get_loops(copy)[len(others) + 2 :]
        for loop, extent in zip(inside[:-1], extents[len(others) + 2 : -1], strict=True):
            if extent != 1:
                schedule.unroll(loop)
        schedule.vectorize(inside[-1])
    schedule.unroll(row)
    schedule.vectorize(column)
    elements = prod(axis.size for axis in axes)
    parallel = worth_threads(elements // _TILE_COLUMNS)
    if parallel:
        run_in_parallel(schedule, [*others, rows], machine)
    return described(f"{tile}x{_TILE_COLUMNS} tiles transposed", parallel)


def _as_it_is(schedule: Any, block: Any, machine: Machine) -> str:
    """Run the loops of a block of which nothing is known on all threads."""
    loops = schedule.get_loops(block)
    parallel = worth_threads(prod(constant(schedule.get(loop).extent) or 1 for loop in loops))
    if parallel:
        run_in_parallel(schedule, loops, machine)
    return described("loops as they are", parallel)


def worth_threads(steps: int) -> bool:
    """Whether so many vector steps are worth waking the other threads."""
    return steps >= _MIN_STEPS


def merge_axes(schedule: Any, block: Any, accesses: Accesses) -> list[Axis]:
    """Fuse neighbouring loops of a block wherever memory is walked as by one loop."""
    loops = schedule.get_loops(block)
    extents = [constant(schedule.get(loop).extent) for loop in loops]
    everything = accesses.all
    groups: list[list[int]] = []
    for axis, extent in enumerate(extents):
        # An axis of one iteration goes with any other.
        last = next((i for i in reversed(groups[-1]) if extents[i] != 1), None) if groups else None
        joins = extent == 1 or last is None or accesses.merges(last, axis, extent)
        if groups and joins:
            groups[-1].append(axis)
        else:
            groups.append([axis])
    merged = []
    for group in groups:
        fused = [loops[axis] for axis in group]
        sizes = [extents[axis] for axis in group]
        loop = schedule.fuse(*fused) if len(fused) > 1 else fused[0]
        known = [size for size in sizes if size is not None]
        extent = prod(known) if len(known) == len(sizes) else None
        innermost = next((axis for axis in reversed(group) if extents[axis] != 1), group[-1])
        strides = tuple(item.strides[innermost] for item in everything)
        several = sum(size != 1 for size in sizes) > 1
        merged.append(Axis(loop, extent, strides, extents[innermost] if several else None))
    return merged


def side_by_side(calls: int, machine: Machine) -> int:
    """How many vectors are computed together in a step with so many elementary functions.

    Each is a long chain of multiply-adds. The small cores of phones run two chains at once only if
    they stand side by side; with 32 registers there is room for two and the coefficients.
    """
    return 2 if calls and machine.arch == "aarch64" else 1


def lanes_along(axis: Axis, accesses: Accesses, machine: Machine, vectors: int = 1) -> int:
    """How many elements of `axis` some vectors take; 1 where memory is not contiguous along it."""
    if axis.strides[0] != 1 or any(stride is None for stride in axis.strides):
        return 1
    moving = zip(accesses.all, axis.strides, strict=True)
    lanes = vectors * min(machine.lanes(access.dtype) for access, stride in moving if stride)
    return lanes if axis.extent is None else min(lanes, 1 << (axis.extent - 1).bit_length())


def run_in_parallel(schedule: Any, loops: list[Any], machine: Machine) -> None:
    """Run the leading loops on all threads: as many of them as give each thread a few pieces."""
    sizes = [constant(schedule.get(loop).extent) or _UNKNOWN for loop in loops]
    pieces = machine.threads * _PIECES_PER_THREAD
    count = 1
    while count < len(loops) and prod(sizes[:count]) < pieces:
        count += 1
    before = prod(sizes[: count - 1])
    last = loops[count - 1]
    if count > 1 and before * sizes[count - 1] > 4 * pieces:
        # Fusing all of a long loop would divide in every iteration of it.
        last, _ = schedule.split(last, factors=[-(-pieces // before), None])
    chosen = [*loops[: count - 1], last]
    schedule.parallel(schedule.fuse(*chosen) if len(chosen) > 1 else last)
