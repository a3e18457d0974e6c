"""The rule for every loop nest: inline elementwise steps, run the outer loops on all cores.

Each element of a result is computed by one thread, in the order of the unscheduled loops, so the
result is the same bits for any number of threads.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from autoglm_tvm.schedules.long_reduction import split_long_reductions

if TYPE_CHECKING:
    from tvm import tirx

# Iterations of a whole nest below which waking other threads costs more than it brings.
_MIN_ITERATIONS = 1 << 15
# Pieces of work for each thread, so that an uneven machine still balances.
_CHUNKS_PER_THREAD = 4


def schedule_outer_parallel(function: tirx.PrimFunc, threads: int) -> tuple[tirx.PrimFunc, str]:
    """Return the scheduled kernel and a description of what was done.

    A kernel whose structure TVM's schedules cannot describe (sorting, hand-written TIR) comes back
    unchanged.
    """
    from tvm import s_tir

    try:
        schedule = s_tir.Schedule(function)
        root = schedule.get_sblock("root")
        blocks = schedule.get_child_blocks(root)
    except Exception as error:
        return function, f"unscheduled: {_first_line(error)}"
    blocks = split_long_reductions(schedule, _inline_spatial(schedule, blocks))
    parallel = sum(_parallelise(schedule, block, threads) for block in blocks)
    scheduled = schedule.mod["main"]
    return scheduled, f"outer-parallel: {parallel} of {len(blocks)} loop nests on all threads"


def _inline_spatial(schedule: Any, blocks: list[Any]) -> list[Any]:
    """Compute elementwise steps where their one reader is; it must not be a reduction.

    Inlined into a reduction, a step would be computed anew in every one of its iterations.
    """
    from tvm import s_tir

    kept = []
    for block in blocks:
        consumers = schedule.get_consumers(block)
        if len(consumers) == 1 and _is_spatial(schedule, consumers[0]):
            try:
                schedule.compute_inline(block)
                continue
            except s_tir.ScheduleError:
                pass
        kept.append(block)
    return kept


def _is_spatial(schedule: Any, block: Any) -> bool:
    return all(item.iter_type == item.DataPar for item in schedule.get(block).iter_vars)


def _parallelise(schedule: Any, block: Any, threads: int) -> bool:
    """Fuse enough of the leading data-parallel loops and mark the result parallel."""
    from tvm import tirx

    loops = schedule.get_loops(block)
    extents = [schedule.get(loop).extent for loop in loops]
    # A symbolic extent counts as large.
    sizes = [int(e) if isinstance(e, tirx.IntImm) else _MIN_ITERATIONS for e in extents]
    if prod(sizes) < _MIN_ITERATIONS:
        return False
    # TVM refuses to run a reduction's loop in parallel; then fewer loops are tried.
    for count in range(_enough(sizes, threads * _CHUNKS_PER_THREAD), 0, -1):
        if prod(sizes[:count]) > 1 and _fits(schedule.copy(), loops[:count]):
            return _fits(schedule, loops[:count])
    return False


def _enough(sizes: list[int], pieces: int) -> int:
    """Count the leading loops that together have so many iterations; all of them if too few."""
    for count in range(1, len(sizes)):
        if prod(sizes[:count]) >= pieces:
            return count
    return len(sizes)


def _fits(schedule: Any, loops: list[Any]) -> bool:
    from tvm import s_tir

    try:
        schedule.parallel(schedule.fuse(*loops) if len(loops) > 1 else loops[0])
    except s_tir.ScheduleError:
        return False
    return True


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
