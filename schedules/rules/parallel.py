"""Loop nests without tricks: outer loops on all threads, the innermost as vectors."""

from __future__ import annotations

from math import prod
from typing import Any

from autoglm_tvm.schedules.kernel import constant
from autoglm_tvm.schedules.machine import Machine

# Elements below which waking other threads costs more than it brings.
_MIN_ELEMENTS = 1 << 14


def parallel_nest(schedule: Any, block: Any, machine: Machine) -> None:
    """Run a data-parallel block with its outer loops in parallel and its innermost in vectors."""
    *outer, inner = schedule.get_loops(block)
    extents = [constant(schedule.get(loop).extent) for loop in (*outer, inner)]
    lanes = machine.lanes(str(schedule.get(block).writes[0].source.dtype))
    if extents[-1] is not None and extents[-1] % lanes == 0 and lanes > 1:
        _, lane = schedule.split(inner, [None, lanes])
        schedule.vectorize(lane)
    if outer and prod(extent or 1 << 10 for extent in extents) >= _MIN_ELEMENTS:
        schedule.parallel(schedule.fuse(*outer) if len(outer) > 1 else outer[0])
