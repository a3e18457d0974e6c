"""Reductions in vectors: along an axis that is kept, or in lanes along the axis that is reduced.

Each element of a result is computed by one thread, in pieces whose number depends on the sizes and
the vector width alone: the result is the same bits for any number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from autoglm_tvm.schedules.accesses import Accesses, accesses_of
from autoglm_tvm.schedules.kernel import constant
from autoglm_tvm.schedules.machine import Machine
from autoglm_tvm.schedules.spatial import described, run_in_parallel, worth_threads
from autoglm_tvm.schedules.split_reductions import Cut, is_plain_reduction, split_reductions

# Vectors of accumulators: a sum waits for the one before it, so several go on at once.
_ACCUMULATORS = 4
# Elements that one accumulator adds up. n numbers added one by one are off by up to n rounding
# errors (Higham, 1993, "The accuracy of floating point summation"): longer sums are made of sums of
# pieces, which also keep the threads busy where there are few results.
_PIECE = 128
# A shorter sum of columns is exact enough in order, which is also how ONNX Runtime rounds it: a
# network that subtracts two such sums from one another multiplies any difference.
_LONG = 1024


@dataclass(frozen=True)
class Plan:
    """How a reduction becomes vectors.

    Attributes
    ----------
    name
        Of its block.
    along
        `kept`: vectors along the last kept axis. `reduced`: along the last reduced one. `neither`:
        no vectors.
    vector
        Lanes of a vector.
    is_product
        Whether no operand is read once only, as in a matrix product.
    cut
        Pieces and lanes of one sum.
    """

    name: str
    along: str
    vector: int
    is_product: bool
    cut: Cut

    @property
    def parts(self) -> list[str]:
        """Names of the blocks that the reduction becomes, but the last one."""
        return self.cut.parts(self.name) if self.cut.splits else []


def plan_reductions(schedule: Any, blocks: list[Any], machine: Machine) -> dict[str, Plan]:
    """How each plain reduction becomes vectors, by the name of its block."""
    plans = [_plan(schedule, block, machine) for block in blocks]
    return {plan.name: plan for plan in plans if plan is not None}


def split(schedule: Any, plans: dict[str, Plan]) -> Any:
    """The kernel, in which only steps were inlined so far, with its reductions split."""
    return split_reductions(schedule.mod["main"], {name: plan.cut for name, plan in plans.items()})


def _plan(schedule: Any, block: Any, machine: Machine) -> Plan | None:
    """None if the block reduces nothing, or to several results at once (arg max)."""
    statement = schedule.get(block)
    kinds = [axis.iter_type == axis.DataPar for axis in statement.iter_vars]
    if all(kinds) or not is_plain_reduction(statement):
        return None
    extents = [constant(axis.dom.extent) for axis in statement.iter_vars]
    accesses = accesses_of(statement)
    if accesses is None:
        return None
    kept = [axis for axis, spatial in enumerate(kinds) if spatial and extents[axis] != 1]
    reduced = [axis for axis, spatial in enumerate(kinds) if not spatial]
    axes = _flat_axes(accesses, extents, reduced) if kinds == sorted(kinds, reverse=True) else ()
    elements = prod(extents[axis] or 1 for axis in axes)
    along = _direction(accesses, kept, [axis for axis in reduced if extents[axis] != 1])
    vector = min(machine.lanes(access.dtype) for access in accesses.all)
    product = not any(
        all(load.strides[axis] != 0 for axis in range(len(extents)) if extents[axis] != 1)
        for load in accesses.loads
    )
    # The pieces of products would take too much memory.
    if along == "kept":
        pieces = -(-elements // _PIECE) if not product and elements >= _LONG else 1
        cut = Cut(axes, pieces, pieces_first=True)
        return Plan(statement.name_hint, along, vector, product, cut)
    if along == "neither" or not axes or vector == 1 or elements < vector:
        return Plan(statement.name_hint, "neither", vector, product, Cut(()))
    lanes = vector * _ACCUMULATORS
    if elements % lanes and elements < 4 * lanes:
        lanes = vector
    widths = [lanes]
    for width in (vector, vector // 4):
        if 1 < width < widths[-1]:
            widths.append(width)
    pieces = 1 if product else -(-elements // (lanes * _PIECE))
    cut = Cut(axes, pieces, tuple(widths))
    return Plan(statement.name_hint, along, vector, product, cut)


def _direction(accesses: Accesses, kept: list[int], reduced: list[int]) -> str:
    """Along which axis vectors go; the axes of one iteration are left out."""
    if kept and accesses.store.strides[kept[-1]] == 1 and _contiguous(accesses, kept[-1]):
        return "kept"
    return "reduced" if reduced and _contiguous(accesses, reduced[-1]) else "neither"


def _contiguous(accesses: Accesses, axis: int) -> bool:
    """Whether loads along `axis` are vectors, or one element for all lanes."""
    steps = [load.strides[axis] for load in accesses.loads]
    return 1 in steps and all(step in (0, 1) for step in steps)


def _flat_axes(
    accesses: Accesses, extents: list[int | None], reduced: list[int]
) -> tuple[int, ...]:
    """The innermost reduced axes that are one axis to every load."""
    flat: list[int] = []
    inner: int | None = None
    for axis in reversed(reduced):
        extent = extents[axis]
        if extent is None or not (
            extent == 1 or inner is None or accesses.merges(axis, inner, extents[inner])
        ):
            break
        flat.insert(0, axis)
        inner = axis if extent != 1 else inner
    return tuple(flat)


def reduce(schedule: Any, plan: Plan | None, block: Any, machine: Machine) -> tuple[list[str], str]:
    """Schedule a reduction that was split, and its epilogue if it has one.

    Parameters
    ----------
    schedule
        Of the kernel that `split` returned.
    plan
        The plan of the block; None where there is none.
    block
        Its last block.
    machine
        What it runs on.

    Returns
    -------
        Names of the last block and of its epilogue, and what was done to them.
    """
    name = schedule.get(block).name_hint
    if plan is None or plan.along == "neither":
        return [name], outer_loops(schedule, block, machine)
    pieces = f" in {plan.cut.pieces} pieces" if plan.cut.pieces > 1 else ""
    if plan.along == "reduced":
        parallel = _along_reduced(schedule, block, plan, machine)
        return [name], described(f"reduced{pieces} in {plan.cut.widths[0]} lanes", parallel)
    for part in plan.parts:
        _tile_kept(schedule, schedule.get_sblock(part), plan, machine)
    writer, parallel = _tile_kept(schedule, block, plan, machine)
    text = described(f"reduced{pieces} in vectors of {plan.vector}", parallel)
    return [name, schedule.get(writer).name_hint], text


def _tile_kept(schedule: Any, block: Any, plan: Plan, machine: Machine) -> tuple[Any, bool]:
    """Reduce a tile of vectors in registers.

    Returns the block that writes the results, and whether it runs on all threads.
    """
    steps = _iterations(schedule, block) // plan.vector
    writer = epilogue(schedule, block)
    if writer is None:
        writer = schedule.cache_write(block, 0, "local")
    else:
        schedule.set_scope(block, 0, "local")
    loops = schedule.get_loops(writer)
    sizes = [constant(schedule.get(loop).extent) for loop in loops]
    last = max((axis for axis, size in enumerate(sizes) if size != 1), default=len(sizes) - 1)
    extent = sizes[last]
    vector, tile = _tile(extent, plan.vector)
    outer, inner = schedule.split(loops[last], factors=[None, tile])
    schedule.reorder(*loops[:last], *loops[last + 1 :], outer, inner)
    schedule.compute_at(block, outer, preserve_unit_loops=True)
    first = _vectorise_tile(schedule, block, vector)
    _vectors(schedule, inner, vector)
    parallel = worth_threads(steps)
    if parallel:
        run_in_parallel(schedule, [*loops[:last], *loops[last + 1 :], outer], machine)
    schedule.decompose_reduction(block, first)
    return writer, parallel


def _tile(extent: int | None, vector: int) -> tuple[int, int]:
    """Lanes of a vector and elements of a tile: several vectors if they divide the extent."""
    if extent is None:
        return vector, vector
    vector = min(vector, 1 << (extent - 1).bit_length())
    count = _ACCUMULATORS
    while count > 1 and extent % (count * vector):
        count //= 2
    return vector, count * vector


def _vectorise_tile(schedule: Any, block: Any, vector: int) -> Any:
    """Vectorise the last kept loop of a block, inside of its reduced loops; return their first."""
    statement = schedule.get(block)
    by_axis = loops_by_axis(schedule, block)
    kept, reduced = [], []
    for axis, loop in zip(statement.iter_vars, by_axis, strict=True):
        if loop is not None:
            (kept if axis.iter_type == axis.DataPar else reduced).append(loop)
    tile = kept[-1]
    schedule.reorder(*reduced, tile)
    _vectors(schedule, tile, vector)
    return reduced[0]


def _vectors(schedule: Any, loop: Any, vector: int) -> None:
    """Make a loop vectors, unrolled."""
    extent = constant(schedule.get(loop).extent)
    if extent is not None and extent > vector:
        count, loop = schedule.split(loop, factors=[None, vector])
        schedule.unroll(count)
    schedule.vectorize(loop)


def _along_reduced(schedule: Any, block: Any, plan: Plan, machine: Machine) -> bool:
    """Reduce rows, or pieces of them, in lanes and then the lanes; the pieces in a last nest.

    Returns whether that is done on all threads.
    """
    parts = [schedule.get_sblock(name) for name in plan.parts]
    ends = [*parts, block]
    row = ends.pop() if plan.cut.pieces == 1 else ends[-2]
    stages = [part for part in parts if not schedule.get(part).same_as(schedule.get(row))]
    steps = _iterations(schedule, parts[0]) // plan.cut.widths[0]
    loops = _leading_spatial(schedule, row)
    if not loops:
        loops = [schedule.add_unit_loop(schedule.get_loops(row)[0])]
    firsts = place_lanes(schedule, stages, loops[-1], plan)
    parallel = worth_threads(steps)
    if parallel:
        run_in_parallel(schedule, loops, machine)
    finish_lanes(schedule, row, stages, firsts)
    return parallel


def place_lanes(schedule: Any, stages: list[Any], loop: Any, plan: Plan) -> list[Any]:
    """Move the parts under `loop` and make them vectors; return the first reduced loop of each."""
    for stage in reversed(stages):
        schedule.compute_at(stage, loop, preserve_unit_loops=True)
        schedule.set_scope(stage, 0, "local")
    return [_vectorise_tile(schedule, stage, plan.vector) for stage in stages]


def finish_lanes(schedule: Any, row: Any, stages: list[Any], firsts: list[Any]) -> None:
    """Take the beginnings out of the reductions, and unroll the short ones."""
    for stage, first in zip(stages, firsts, strict=True):
        schedule.decompose_reduction(stage, first)
        if stage is not stages[0]:
            schedule.unroll(first)
    schedule.unroll(schedule.get_loops(row)[-1])


def epilogue(schedule: Any, block: Any) -> Any:
    """The one elementwise step that reads the results of a reduction, each where it is written."""
    consumers = schedule.get_consumers(block)
    if len(consumers) != 1:
        return None
    statement = schedule.get(consumers[0])
    if any(axis.iter_type != axis.DataPar for axis in statement.iter_vars):
        return None
    written = schedule.get(block).writes[0]
    accesses = accesses_of(statement)
    if accesses is None:
        return None
    loads = [load for load in accesses.loads if load.buffer.same_as(written.source)]
    same = all(load.strides == accesses.store.strides for load in loads)
    shapes = [list(buffer.shape) for buffer in (written.source, accesses.store.buffer)]
    constants = [[constant(extent) for extent in shape] for shape in shapes]
    # An unknown extent is taken for another one.
    equal = constants[0] == constants[1] and None not in constants[0]
    return consumers[0] if same and equal else None


def loops_by_axis(schedule: Any, block: Any) -> list[Any]:
    """For each axis of a block the innermost loop that its value depends on; None without one."""
    import tvm_ffi
    from tvm import tirx

    loops = schedule.get_loops(block)
    realize = schedule.get(loops[-1]).body
    variables = [schedule.get(loop).loop_var for loop in loops]
    result: list[Any] = []
    for value in realize.iter_values:
        found: list[Any] = []
        tvm_ffi.structural_walk(value, (tirx.Var, found.append))
        used = [
            loop
            for loop, variable in zip(loops, variables, strict=True)
            if any(node.same_as(variable) for node in found)
        ]
        result.append(used[-1] if used else None)
    return result


def _leading_spatial(schedule: Any, block: Any) -> list[Any]:
    """The loops of a block before the first over a reduced axis."""
    loops = schedule.get_loops(block)
    statement = schedule.get(block)
    reduced = [
        schedule.get(loop).loop_var
        for axis, loop in zip(statement.iter_vars, loops_by_axis(schedule, block), strict=True)
        if axis.iter_type != axis.DataPar and loop is not None
    ]
    leading = []
    for loop in loops:
        if any(schedule.get(loop).loop_var.same_as(variable) for variable in reduced):
            break
        leading.append(loop)
    return leading


def _iterations(schedule: Any, block: Any) -> int:
    sizes = [constant(axis.dom.extent) for axis in schedule.get(block).iter_vars]
    return prod(size or 1 for size in sizes)


def outer_loops(schedule: Any, block: Any, machine: Machine) -> str:
    """Run the outer loops of any block on all threads; its own loops stay as they are."""
    spatial = _leading_spatial(schedule, block)
    parallel = bool(spatial) and worth_threads(_iterations(schedule, block))
    if parallel:
        run_in_parallel(schedule, spatial, machine)
    return described("loops as they are", parallel)
