"""The schedules that MetaSchedule chooses from: how a kernel may be tiled, placed and marked.

A design space is a schedule whose primitives are fixed and whose tile sizes, places and unrolling
are sampled: TVM's search replays it with other samples. A kernel has a few of them:

    reductions   as they are | in tiles, results kept in registers until the end of either tile
    last block   as it is | in tiles
    threads      one | all, where either may be faster

Sums keep the order and the pieces in which `metaschedule_workload.prepare` left them. TVM's own
rules are left out: `AddRFactor`, because it changes both and `prepare` has split what is long;
`MultiLevelTilingWithIntrin` ("dotprod", "neon", "vnni"), because the integer intrinsics of 0.27 are
silently wrong on some layouts and take 20 s to import (our contractions have intrinsics of their
own); `AutoInline`, as `prepare` has inlined already; `RewriteLayout`, as weights are packed before.
`MultiLevelTiling` takes only operands that are read several times, so the tiles are made here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from autoglm_tvm.schedules.accesses import accesses_of
from autoglm_tvm.schedules.machine import Machine
from autoglm_tvm.schedules.reducing import epilogue
from autoglm_tvm.schedules.search.metaschedule_workload import MAIN, Workload, sizes

if TYPE_CHECKING:
    from tvm import s_tir

# Vectors of float32 in the longest loop that becomes one vector; LLVM cuts it.
_VECTORS = 4
# Elements of the innermost tile of any other axis.
_LARGEST_TILE = 64
# Iterations of an unrolled loop nest. More take longer to compile than they bring.
_UNROLLED = (0, 16, 64)
# Pieces of work for each thread to begin with, and at most.
_JOBS, _MOST_JOBS = 4, 16
# Vector steps of a kernel that is not worth a second thread, and of one that surely is.
_SERIAL, _PARALLEL = 1 << 10, 1 << 16
# How often each kind of choice is changed in a mutation.
_TILE, _PLACE, _UNROLL, _THREADS = 0.7, 0.15, 0.1, 0.05


@dataclass(frozen=True)
class _Variant:
    """One design space.

    Attributes
    ----------
    tile
        At the end of which tile the results of a reduction leave the registers, 1 or 2; 0 for no
        tiles.
    output
        Whether the last block is cut into tiles.
    parallel
        Whether all threads run it.
    """

    tile: int
    output: bool
    parallel: bool


def design_spaces(workload: Workload, machine: Machine, seed: int) -> list[s_tir.Schedule]:
    """The design spaces of a workload, those that are the same left out.

    Runs inside of the target's context. `seed` is of the first samples.
    """
    from tvm import s_tir

    spaces: dict[str, s_tir.Schedule] = {}
    for number, variant in enumerate(_variants(workload, machine)):
        schedule: Any = s_tir.Schedule(
            workload.module, seed=seed + number, error_render_level="none"
        )
        try:
            _apply(schedule, workload, variant, machine)
        except s_tir.ScheduleError:
            continue
        spaces.setdefault(_primitives(schedule), schedule)
    return list(spaces.values())


def mutators() -> dict[Any, float]:
    """What changes a sampled choice, with its probability."""
    from tvm.s_tir.meta_schedule import mutator

    return {
        mutator.MutateTileSize(): _TILE,
        mutator.MutateComputeLocation(): _PLACE,
        mutator.MutateUnroll(): _UNROLL,
        mutator.MutateParallel(_MOST_JOBS): _THREADS,
    }


def _variants(workload: Workload, machine: Machine) -> Iterator[_Variant]:
    steps = workload.iterations // machine.lanes("float32")
    threads = [steps >= _SERIAL] if not _SERIAL <= steps < _PARALLEL else [True, False]
    if machine.threads == 1:
        threads = [False]
    for tile, output, parallel in product((0, 1, 2), (False, True), threads):
        yield _Variant(tile, output, parallel)


def _primitives(schedule: Any) -> str:
    """The primitives of a schedule without what was sampled."""
    trace = schedule.trace.simplified(True)
    return str(type(trace)(trace.insts, {}))


def _apply(schedule: Any, workload: Workload, variant: _Variant, machine: Machine) -> None:
    placed: set[str] = set()
    for name in reversed(workload.blocks):
        if name in placed or not _reduces(schedule, name):
            continue
        if not _walks_last_kept(schedule, name):
            continue
        if variant.tile:
            placed |= _tile_reduction(schedule, name, variant.tile, machine)
        else:
            _reduce_outside(schedule, name)
    last = workload.blocks[-1]
    if variant.output and last not in placed and not _reduces(schedule, last):
        _tile_output(schedule, last, machine)
    _mark(schedule, variant, machine)
    for name in reversed(workload.blocks):
        block = schedule.get_sblock(name)
        if name not in placed and schedule.get_consumers(block):
            _place(schedule, block)


def _tile_reduction(schedule: Any, name: str, level: int, machine: Machine) -> set[str]:
    """Cut the kept loops twice and reduce between the second and the third tile.

    Returns the blocks whose place is decided.
    """
    block = schedule.get_sblock(name)
    writer = epilogue(schedule, block)
    if writer is None:
        writer = schedule.cache_write(block, 0, "local")
    else:
        schedule.set_scope(block, 0, "local")
    tiles: list[list[Any]] = [[], [], []]
    reduced = []
    loops = schedule.get_loops(block)
    for axis, loop in zip(schedule.get(block).iter_vars, loops, strict=True):
        if axis.iter_type != axis.DataPar:
            reduced.append(loop)
            continue
        for tile, part in zip(tiles, _cut(schedule, loop, 3, machine), strict=False):
            tile.append(part)
    schedule.reorder(*tiles[0], *tiles[1], *reduced, *tiles[2])
    schedule.reverse_compute_at(writer, tiles[level - 1][-1], preserve_unit_loops=True)
    return {name, schedule.get(writer).name_hint}


def _tile_output(schedule: Any, name: str, machine: Machine) -> None:
    """Cut every loop of a spatial block once."""
    block = schedule.get_sblock(name)
    tiles: list[list[Any]] = [[], []]
    for loop in schedule.get_loops(block):
        for tile, part in zip(tiles, _cut(schedule, loop, 2, machine), strict=False):
            tile.append(part)
    schedule.reorder(*tiles[0], *tiles[1])


def _cut(schedule: Any, loop: Any, count: int, machine: Machine) -> list[Any]:
    """Cut a loop into `count` loops that divide it; one of a single iteration stays."""
    if sizes(schedule, [loop]) == [1]:
        return [loop]
    largest = max(_LARGEST_TILE, _VECTORS * machine.lanes("float32"))
    factors = schedule.sample_perfect_tile(loop, count, max_innermost_factor=largest)
    return list(schedule.split(loop, factors))


def _reduce_outside(schedule: Any, name: str) -> None:
    """Put the last kept loop inside of the reduced ones, where it may become a vector."""
    block = schedule.get_sblock(name)
    axes = schedule.get(block).iter_vars
    loops = dict(zip(range(len(axes)), schedule.get_loops(block), strict=True))
    last = _last_kept(schedule.get(block))
    reduced = [loops[i] for i, axis in enumerate(axes) if axis.iter_type != axis.DataPar]
    schedule.reorder(*reduced, loops[last])


def _mark(schedule: Any, variant: _Variant, machine: Machine) -> None:
    """Say on the root what the postprocessors do to every nest."""
    root = schedule.get_sblock("root", MAIN)
    if variant.parallel:
        _annotate(schedule, root, "meta_schedule.parallel", machine.threads * _JOBS)
    _annotate(schedule, root, "meta_schedule.vectorize", _VECTORS * machine.lanes("float32"))
    if any(_reduces(schedule, schedule.get(b).name_hint) for b in schedule.get_child_blocks(root)):
        probability = 1 / len(_UNROLLED)
        steps = schedule.sample_categorical(list(_UNROLLED), [probability] * len(_UNROLLED))
        schedule.annotate(root, "meta_schedule.unroll_explicit", steps)


def _annotate(schedule: Any, block: Any, key: str, value: int) -> None:
    from tvm import tirx

    # The mutators read an `IntImm`; a Python integer becomes something else.
    schedule.annotate(block, key, tirx.IntImm("int32", value))


def _place(schedule: Any, block: Any) -> None:
    """Compute a block somewhere in the loops of its reader, sampled."""
    schedule.set_scope(block, 0, "local")
    schedule.compute_at(block, schedule.sample_compute_location(block), preserve_unit_loops=True)


def _reduces(schedule: Any, name: str) -> bool:
    axes = schedule.get(schedule.get_sblock(name)).iter_vars
    return any(axis.iter_type != axis.DataPar for axis in axes)


def _last_kept(statement: Any) -> int:
    """The last kept axis of more than one iteration; -1 if there is none."""
    found = [
        number
        for number, axis in enumerate(statement.iter_vars)
        if axis.iter_type == axis.DataPar and int(axis.dom.extent) != 1
    ]
    return found[-1] if found else -1


def _walks_last_kept(schedule: Any, name: str) -> bool:
    """Whether memory is contiguous along the last kept axis of a reduction."""
    statement = schedule.get(schedule.get_sblock(name))
    last, accesses = _last_kept(statement), accesses_of(statement)
    if last < 0 or accesses is None or accesses.store.strides[last] != 1:
        return False
    return all(load.strides[last] in (0, 1, None) for load in accesses.loads)
