"""Rows that are reduced and used again: softmax, layer norm, RMS norm, instance norm.

    parallel rows
      largest element, in lanes     the row comes from memory once and stays in the first cache;
      exponentials, sum in lanes    what is computed from it has room for one row
      quotients

Each row is computed by one thread, so the bits do not depend on the threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from autoglm_tvm.schedules.inlining import math_calls
from autoglm_tvm.schedules.kernel import Kernel, constant
from autoglm_tvm.schedules.machine import Machine
from autoglm_tvm.schedules.nests import inline_steps
from autoglm_tvm.schedules.reducing import (
    Plan,
    finish_lanes,
    place_lanes,
    plan_reductions,
    split,
)
from autoglm_tvm.schedules.rule import Refusal
from autoglm_tvm.schedules.spatial import run_in_parallel, side_by_side, worth_threads

# Bytes of a row that lie on the stack; a longer one comes from the pool for each row.
_LARGEST_ON_STACK = 8192
# Rounds over a row, for the decision whether threads are worth it.
_STEPS = 8


@dataclass(frozen=True)
class _Parts:
    """The blocks of a kernel by name, and how its reductions become vectors.

    Attributes
    ----------
    inner
        The blocks before the last one, in order.
    last
        The block that writes the result.
    rows
        Its leading loops over rows.
    plans
        The reductions among the inner blocks.
    """

    inner: tuple[str, ...]
    last: str
    rows: int
    plans: dict[str, Plan]


class Rows:
    """One pass over the rows of a matrix, each reduced and used again."""

    name = "rows"

    def check(self, kernel: Kernel, machine: Machine) -> Refusal | None:
        """Refuse what does not reduce the end of the shape that the last block writes."""
        reductions = [block for block in kernel.blocks if not block.is_spatial]
        if not reductions:
            return Refusal("it reduces nothing", met=0)
        last = kernel.blocks[-1]
        if not last.is_spatial:
            return Refusal("it ends with a reduction", met=0)
        rows = _row_loops(last.spatial, [block.spatial for block in reductions])
        if rows is None:
            return Refusal("its reductions are not over the same rows", met=0)
        inner = (*last.spatial[rows:], *(size for block in reductions for size in block.reduced))
        if None in inner:
            return Refusal("the length of a row is symbolic", met=0)
        if prod(extent or 1 for extent in last.spatial[rows:]) < 2:
            return Refusal("it writes no rows, but what they were reduced to", met=0)
        trial = Kernel(kernel.schedule.mod["main"])
        names = inline_steps(trial)
        blocks = [trial.schedule.get_sblock(name) for name in names]
        plans = plan_reductions(trial.schedule, blocks, machine)
        if len(plans) < len(reductions) or any(
            plan.along != "reduced" or plan.cut.pieces > 1 for plan in plans.values()
        ):
            return Refusal("its rows are not contiguous, or too long for a cache", met=1)
        return None

    def apply(self, kernel: Kernel, machine: Machine) -> str:
        """Compute everything that a row needs within one loop over the rows."""
        *inner, last = inline_steps(kernel)
        schedule = kernel.schedule
        blocks = [schedule.get_sblock(name) for name in inner]
        plans = plan_reductions(schedule, blocks, machine)
        shapes = [block.spatial for block in kernel.blocks if not block.is_spatial]
        rows = _row_loops(kernel.blocks[-1].spatial, shapes) or 0
        kernel.restart(split(schedule, plans))
        _schedule(kernel.schedule, _Parts(tuple(inner), last, rows, plans), machine)
        return f"{len(plans)} reductions of each row in lanes, {len(inner) + 1} steps in one loop"


def _row_loops(
    written: tuple[int | None, ...], reduced: list[tuple[int | None, ...]]
) -> int | None:
    """How many leading axes of what is written are rows; None if the reductions disagree."""
    rows = {tuple(extent for extent in shape if extent != 1) for shape in reduced}
    if len(rows) != 1:
        return None
    expected = list(rows.pop())
    for count in range(len(written) + 1):
        if [extent for extent in written[:count] if extent != 1] == expected:
            return count
    return None


def _schedule(schedule: Any, parts: _Parts, machine: Machine) -> None:
    last = schedule.get_sblock(parts.last)
    stages = {
        name: [schedule.get_sblock(part) for part in plan.parts]
        for name, plan in parts.plans.items()
    }
    if not parts.rows:
        schedule.add_unit_loop(schedule.get_loops(last)[0])
    rows = schedule.get_loops(last)[: max(1, parts.rows)]
    steps = _iterations(schedule, last) * _STEPS // machine.lanes("float32")
    firsts = {}
    for name in reversed(parts.inner):
        block = schedule.get_sblock(name)
        schedule.compute_at(block, rows[-1], preserve_unit_loops=True)
        if name in parts.plans:
            schedule.set_scope(block, 0, "local")
            firsts[name] = place_lanes(schedule, stages[name], rows[-1], parts.plans[name])
    for name in (*parts.inner, parts.last):
        block = schedule.get_sblock(name)
        if name not in parts.plans:
            _vectorise_row(schedule, block, len(rows), machine)
            if name != parts.last and _row_bytes(schedule, block, len(rows)) <= _LARGEST_ON_STACK:
                schedule.set_scope(block, 0, "local")
    if worth_threads(steps):
        run_in_parallel(schedule, rows, machine)
    for name in parts.plans:
        finish_lanes(schedule, schedule.get_sblock(name), stages[name], firsts[name])


def _vectorise_row(schedule: Any, block: Any, rows: int, machine: Machine) -> None:
    loops = schedule.get_loops(block)[rows:]
    extent = prod(constant(schedule.get(loop).extent) or 1 for loop in loops)
    if extent == 1:
        return
    loop = schedule.fuse(*loops) if len(loops) > 1 else loops[0]
    statement = schedule.get(block)
    lanes = machine.lanes(str(statement.writes[0].source.dtype))
    lanes = min(lanes * side_by_side(math_calls(statement), machine), extent)
    lanes = 1 << (lanes.bit_length() - 1)
    if lanes > 1:
        _, lane = schedule.split(loop, factors=[None, lanes])
        schedule.vectorize(lane)


def _row_bytes(schedule: Any, block: Any, rows: int) -> int:
    import tvm

    loops = schedule.get_loops(block)
    extents = [constant(schedule.get(loop).extent) or 1 for loop in loops[rows:]]
    dtype = str(schedule.get(block).writes[0].source.dtype)
    return prod(extents) * tvm.DataType(dtype).itemsize


def _iterations(schedule: Any, block: Any) -> int:
    return prod(constant(axis.dom.extent) or 1 for axis in schedule.get(block).iter_vars)
