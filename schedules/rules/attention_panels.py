"""Keys and values of an attention in panels, as the inner loops of its products read them."""

from __future__ import annotations

from typing import Any

from autoglm_tvm.schedules.kernel import Block, constant
from autoglm_tvm.schedules.machine import Machine
from autoglm_tvm.schedules.rules.parallel import parallel_nest
from autoglm_tvm.schedules.tiles import Tile

# Side of the squares in which keys are transposed.
_SQUARE = 8


def pack_keys(schedule: Any, keys: Block, at: Any, machine: Machine) -> None:
    """Pack panels of keys inside loop `at`; without a loop, of all heads before.

    Where the elements of a key lie together, squares are transposed: some elements of one key are
    loaded as a vector, and LLVM stores the same element of neighbouring keys as one.
    """
    if at is None:
        *outer, element, column = schedule.get_loops(keys.handle)
        schedule.parallel(schedule.fuse(*outer))
    else:
        schedule.compute_at(keys.handle, at, preserve_unit_loops=True)
        *_, element, column = schedule.get_loops(keys.handle)
    extents = [constant(schedule.get(loop).extent) or 1 for loop in (element, column)]
    if _is_contiguous(keys):
        _, lane = schedule.split(column, [None, divisor(extents[1], machine.lanes(keys.dtype))])
        schedule.vectorize(lane)
        return
    elements, lane = schedule.split(element, [None, _power_of_2(extents[0], _SQUARE)])
    columns, unrolled = schedule.split(column, [None, _power_of_2(extents[1], _SQUARE)])
    schedule.reorder(columns, elements, unrolled, lane)
    schedule.unroll(unrolled)
    schedule.vectorize(lane)


def _is_contiguous(keys: Block) -> bool:
    """Whether neighbouring keys are neighbours in memory, rather than the elements of one key."""
    from tvm import tirx

    last = keys.statement.reads[0].region[-1].min
    key = keys.statement.iter_vars[-1].var
    return any(key.same_as(used) for used in tirx.analysis.undefined_vars(last))


def pack_values(schedule: Any, values: Block, at: Any, tile: Tile, machine: Machine) -> None:
    """Pack panels of values inside loop `at`; without a loop, of all heads before."""
    if at is None:
        parallel_nest(schedule, values.handle, machine)
        return
    schedule.compute_at(values.handle, at, preserve_unit_loops=True)
    *_, column = schedule.get_loops(values.handle)
    _, lane = schedule.split(column, [None, tile.lanes])
    schedule.vectorize(lane)


def lie_in_vectors(values: Block, width: int | None) -> bool:
    """Whether columns of a panel lie together in memory, and nothing has to be done to them."""
    from tvm import ir, tirx

    load = values.statement.body.value
    panels, _, columns = values.spatial[-3:]
    if not isinstance(load, ir.expr.TensorLoad) or (panels or 0) * (columns or 0) != width:
        return False
    column = values.statement.iter_vars[-1].var
    *elsewhere, last = [
        any(column.same_as(used) for used in tirx.analysis.undefined_vars(index))
        for index in load.indices
    ]
    return last and not any(elsewhere)


def divisor(extent: int, most: int) -> int:
    """The largest divisor of `extent` that is at most `most`."""
    return next(size for size in range(most, 0, -1) if extent % size == 0)


def _power_of_2(extent: int, most: int) -> int:
    """The largest one up to `most` that divides."""
    while extent % most:
        most //= 2
    return most
