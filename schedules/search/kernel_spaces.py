"""The knobs of our own rules: what can be chosen for a kernel, and what is chosen by default."""

from __future__ import annotations

from math import ceil, prod
from typing import Any

from autoglm_tvm.schedules.attention_plan import BLOCK_ROWS
from autoglm_tvm.schedules.choices import Anchor
from autoglm_tvm.schedules.kernel import Block, Kernel
from autoglm_tvm.schedules.machine import Machine
from autoglm_tvm.schedules.operators import attention, contraction, depthwise, winograd
from autoglm_tvm.schedules.rules.contraction_work import PIECES, share_work, whole_sum
from autoglm_tvm.schedules.rules.depthwise import MIN_PARALLEL as MIN_DEPTHWISE
from autoglm_tvm.schedules.rules.depthwise import Depthwise, choose_tile
from autoglm_tvm.schedules.rules.register_tile import tile_of
from autoglm_tvm.schedules.rules.winograd import MIN_PARALLEL as MIN_WINOGRAD
from autoglm_tvm.schedules.search.space import Config, Space
from autoglm_tvm.schedules.tiles import Tile, ends_whole, tile_shapes
from autoglm_tvm.schedules.winograd_plan import ALGORITHMS, DIRECT

_PIECES = (1, 2, 3, 4, 6, 8, 12, 16)
_STEPS = (1, 2, 4, 8)
# Tiles of a chunk of a Winograd convolution; 0 is what the plan's cost model finds best.
_CHUNKS = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
_SHARES = ("rows", "panels", "both")
_TOGETHER = (1, 2, 3, 4, 6, 8, 12, 16)
_MOST_ROWS = 14
_SEVERAL = 2
# Tiles with a smaller share of the default's sums are not worth a trial.
_FEWER_SUMS = 3


def space_of(function: Any, anchor: Anchor | None, machine: Machine) -> Space | None:
    """The configurations of an unscheduled kernel; None where our rules have no knobs for it.

    Parameters
    ----------
    function
        The ``PrimFunc`` as fusion left it, its anchor lowered by default.
    anchor
        How its anchor can be lowered otherwise; None for kernels without one.
    machine
        That it is scheduled for.
    """
    try:
        kernel = Kernel(function)
    except Exception:  # TVM's schedules cannot describe it: sorting, hand-written TIR
        return None
    if kernel.block(attention.BLOCK):
        return None if anchor is None else _attention(kernel, machine)
    if kernel.block(winograd.PLAN):
        return None if anchor is None else _winograd(kernel, anchor, machine)
    if kernel.marked(contraction.ROLE, "part") and anchor is None:
        return _grouped(kernel, machine)
    if kernel.marked(contraction.ROLE, "sum"):
        return None if anchor is None else _contraction(kernel, anchor, machine)
    if Depthwise().check(kernel, machine) is None:
        return _depthwise(kernel, machine)
    return None


def _contraction(kernel: Kernel, anchor: Anchor, machine: Machine) -> Space | None:
    total = kernel.marked(contraction.ROLE, "sum")
    assert total is not None
    tile, spatial = tile_of(total), total.spatial
    if None in (*spatial, *total.reduced):
        return None
    outer = int(total.annotations[contraction.OUTER])
    rows = (prod(extent or 1 for extent in spatial[: outer + 1]), None)
    work = share_work(total, tile, rows, machine, {})
    height = min(rows[0] * tile.rows, _MOST_ROWS)
    default = _default(tile, work.share, work.parallel)
    if anchor.algorithms:
        default |= {"algorithm": DIRECT, "chunk": 0}
    return _space(total, default, anchor, machine, height, spatial[-3] or 1)


def _grouped(kernel: Kernel, machine: Machine) -> Space | None:
    """Sums over groups: their weights are packed for one tile, and shared out in any way."""
    total = kernel.marked(contraction.ROLE, "sum")
    assert total is not None
    if None in (*total.spatial, *total.reduced):
        return None
    blocks, panels = total.spatial[0] or 1, total.spatial[1] or 1
    work = share_work(whole_sum(kernel), tile_of(total), (blocks, None), machine, {})
    default: Config = {"share": work.share, "pieces": PIECES, "parallel": work.parallel}
    knobs = {
        "share": _shares(default["share"], panels, machine),
        "pieces": _PIECES if blocks > 1 else (PIECES,),
        "parallel": _switch(default["parallel"], machine),
    }
    return Space(knobs, default)


def _winograd(kernel: Kernel, anchor: Anchor, machine: Machine) -> Space | None:
    total = kernel.marked(contraction.ROLE, "sum")
    plan = kernel.block(winograd.PLAN)
    assert total is not None
    assert plan is not None
    tile = tile_of(total)
    outputs, _, by_panels = (int(number) for number in plan.annotations[winograd.PLAN])
    sizes = {transforms.outputs: name for name, transforms in ALGORITHMS.items()}
    share = "panels" if by_panels else "rows"
    default = _default(tile, share, total.iterations >= MIN_WINOGRAD)
    default |= {"algorithm": sizes[outputs], "chunk": 0}
    # As the plain sum it may have any number of panels.
    return _space(total, default, anchor, machine, _MOST_ROWS, _SEVERAL)


def _default(tile: Tile, share: str, parallel: bool) -> Config:
    return {
        "rows": tile.rows,
        "vectors": tile.vectors,
        "steps": tile.steps,
        "share": share,
        "pieces": PIECES,
        "prefetch": 0,
        "parallel": parallel,
    }


def _space(
    total: Block,
    default: Config,
    anchor: Anchor,
    machine: Machine,
    most_rows: int,
    panels: int,
) -> Space:
    """The space of the block that sums, with what the cost model should know beside the knobs."""
    tile = tile_of(total)
    shapes = _shapes(tile, most_rows, machine)
    # Two where an instruction takes two rows, and two columns, at once.
    pair = int(total.annotations[contraction.RESULT][0]) // tile.rows
    shapes = [shape for shape in shapes if ends_whole(shape[1], tile.lanes, pair, anchor.columns)]
    knobs = _tile_knobs(shapes) | {
        "steps": _steps(tile, total.reduced[-1] or 1),
        "share": _shares(default["share"], panels, machine),
        "pieces": _PIECES,
        "prefetch": (0, 1) if panels > 1 else (0,),
        "parallel": _switch(default["parallel"], machine),
    }
    if anchor.algorithms:
        knobs |= {"algorithm": anchor.algorithms, "chunk": _CHUNKS}
    fitting = set(shapes)
    columns = (total.spatial[-3] or 1) * tile.columns
    height = prod(extent or 1 for extent in total.spatial[:-3]) * tile.rows

    def valid(config: Config) -> bool:
        if (config["rows"], config["vectors"]) not in fitting:
            return False
        winograd_only = config.get("algorithm", DIRECT) == DIRECT and config.get("chunk", 0)
        direct_only = config.get("algorithm", DIRECT) != DIRECT and (
            config["prefetch"] or config["pieces"] != default["pieces"] or config["share"] == "both"
        )
        return not winograd_only and not direct_only

    def derived(config: Config) -> dict[str, float]:
        rows, vectors = int(config["rows"]), int(config["vectors"])
        panel = vectors * tile.lanes
        return {
            "sums": rows * vectors,
            "loads_per_multiply": (rows + vectors) / (rows * vectors),
            "padded_columns": ceil(columns / panel) * panel / columns,
            "padded_rows": ceil(height / rows) * rows / height,
        }

    return Space(knobs, default, valid, derived)


def _tile_knobs(shapes: list[tuple[int, int]]) -> dict[str, Any]:
    return {
        "rows": tuple(sorted({rows for rows, _ in shapes})),
        "vectors": tuple(sorted({vectors for _, vectors in shapes})),
    }


def _shapes(tile: Tile, most_rows: int, machine: Machine) -> list[tuple[int, int]]:
    """Rows and vectors of tiles; those with few sums, which wait for each other, are left out."""
    enough = tile.rows * tile.vectors // _FEWER_SUMS
    shapes = tile_shapes(tile, machine, most_rows)
    kept = [(rows, vectors) for rows, vectors in shapes if rows * vectors >= enough]
    return list(dict.fromkeys([*kept, (tile.rows, tile.vectors)]))


def _steps(tile: Tile, reduced: int) -> tuple[int, ...]:
    """Unrolled steps; rows that are loaded as vectors have as many as a vector has lanes."""
    if tile.rows_in_registers:
        return (tile.steps,)
    return tuple(sorted({tile.steps, *(step for step in _STEPS if reduced % step == 0)}))


def _switch(default: Any, machine: Machine) -> tuple[bool, ...]:
    """Whether several threads work, where there are several."""
    return (True, False) if machine.threads > 1 else (bool(default),)


def _shares(default: Any, panels: int, machine: Machine) -> tuple[str, ...]:
    """What threads may take pieces of; a single panel is shared by default where rows are few."""
    if machine.threads == 1:
        # One thread goes through the same loops in another order.
        return ("rows", "panels")
    return _SHARES if panels > 1 else tuple(dict.fromkeys(("rows", str(default))))


def _depthwise(kernel: Kernel, machine: Machine) -> Space | None:
    total = kernel.marked(depthwise.ROLE, "sum")
    assert total is not None
    _, height, width, channels = total.spatial
    if height is None or width is None or channels is None:
        return None
    tile = choose_tile(total, machine)
    count = ceil(channels / tile.lanes)
    default: Config = {
        "columns": tile.columns,
        "vectors": tile.vectors,
        "group": tile.group,
        "rows": tile.rows,
        "parallel": total.iterations >= MIN_DEPTHWISE,
    }
    vectors = _divisors(count, 4) | {tile.vectors}
    knobs: dict[str, Any] = {
        "columns": tuple(sorted({*range(1, min(width, 16) + 1), tile.columns})),
        "vectors": tuple(sorted(vectors)),
        "group": tuple(sorted(_divisors(count, 8) | {tile.group})),
        "rows": tuple(sorted({*(size for size in _ROWS if size <= height), tile.rows, height})),
        "parallel": _switch(default["parallel"], machine),
    }

    def valid(config: Config) -> bool:
        together = int(config["vectors"]) * int(config["group"])
        sums = int(config["vectors"]) * int(config["columns"])
        return count % together == 0 and sums <= machine.vector_registers - _DEPTHWISE_SPARE

    return Space(knobs, default, valid)


_ROWS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32)
# Registers for a kernel row and the pixels that it reads.
_DEPTHWISE_SPARE = 6


def _divisors(number: int, most: int) -> set[int]:
    return {size for size in range(1, most + 1) if number % size == 0}


def _attention(kernel: Kernel, machine: Machine) -> Space | None:
    totals = [b for b in kernel.blocks if b.annotations.get(contraction.ROLE) == "sum"]
    result = kernel.block(attention.BLOCK)
    assert result is not None
    scores, values = (tile_of(total) for total in totals)
    if scores.rows != values.rows:
        return None
    block = int(result.annotations[attention.BLOCK])
    default: Config = {
        "rows": scores.rows,
        "score_vectors": scores.vectors,
        "value_vectors": values.vectors,
        "together": block // scores.rows,
    }
    first, second = (set(tile_shapes(tile, machine, _MOST_ROWS)) for tile in (scores, values))
    height = result.spatial[-2] or 1
    knobs: dict[str, Any] = {
        "rows": tuple(sorted({rows for rows, _ in first if rows <= height} | {scores.rows})),
        "score_vectors": tuple(sorted({v for _, v in first} | {scores.vectors})),
        "value_vectors": tuple(sorted({v for _, v in second} | {values.vectors})),
        "together": tuple(sorted({*_TOGETHER, block // scores.rows})),
    }

    def valid(config: Config) -> bool:
        if config == default:
            return True
        rows = config["rows"]
        fits = (rows, config["score_vectors"]) in first and (
            rows,
            config["value_vectors"],
        ) in second
        return fits and int(rows) * int(config["together"]) <= max(block, BLOCK_ROWS * 4)

    return Space(knobs, default, valid)
