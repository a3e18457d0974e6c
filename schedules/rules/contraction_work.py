"""How the tiles of a contraction are shared among threads, and in which order they are computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from autoglm_tvm.schedules.kernel import Block, Kernel
from autoglm_tvm.schedules.machine import Machine
from autoglm_tvm.schedules.operators.contraction import RESULT, ROLE
from autoglm_tvm.schedules.tiles import Tile

# What threads take pieces of: rows of the result, panels of the weight, or both.
ROWS, PANELS, BOTH = "rows", "panels", "both"

# Pieces of work for each thread, so that uneven cores still balance.
PIECES = 4
# What a core does in a cycle, roughly: multiply-adds of vectors, bytes from outside of its caches.
_VECTORS_A_CYCLE = 2
_BYTES_A_CYCLE = 8
# A number of the left operand, or a word of small ones.
_BYTES = 4
# Multiply-adds below which waking other threads costs more than it brings.
_MIN_PARALLEL = 1 << 15


@dataclass(frozen=True)
class Work:
    """How the work is cut.

    Attributes
    ----------
    share
        `ROWS`, `PANELS` or `BOTH`.
    size
        Blocks of rows in a piece.
    chunks
        Pieces of all rows; None where their number is symbolic.
    parallel
        Whether several threads work.
    fetched
        Elements of the panel that is fetched while another one is multiplied; 0 for none.
    """

    share: str
    size: int
    chunks: int | None
    parallel: bool
    fetched: int

    @property
    def description(self) -> str:
        """For people."""
        pieces = {
            ROWS: f"{self.chunks or 'all'} chunks of rows",
            PANELS: "panels",
            BOTH: f"panels and {self.chunks or 'all'} chunks of rows",
        }[self.share]
        ahead = ", the next panel fetched ahead" if self.fetched else ""
        return f"{pieces} in parallel{ahead}" if self.parallel else f"one thread{ahead}"


def share_work(
    total: Block,
    tile: Tile,
    rows: tuple[int | None, int | None],
    machine: Machine,
    config: Mapping[str, Any],
) -> Work:
    """Decide what `config` leaves open.

    Parameters
    ----------
    total
        The block that sums.
    tile
        Its register tile.
    rows
        Blocks of rows in all, None where symbolic; and the height of an image that is padded, whose
        border a piece must not cross, None elsewhere.
    machine
        Its caches and threads.
    config
        `share`, `pieces` (of each thread), `parallel`, `prefetch`, as far as they are chosen.
    """
    extent, unit = rows
    wanted = machine.threads * config.get("pieces", PIECES)
    size = 1 if extent is None else _piece(extent, unit or extent, wanted)
    chunks = None if extent is None else extent // size
    by_default = PANELS if _by_panels(total, tile, chunks, machine) else ROWS
    return Work(
        config.get("share", by_default),
        size,
        chunks,
        config.get("parallel", total.iterations >= _MIN_PARALLEL),
        panel_elements(total, tile) if config.get("prefetch") else 0,
    )


def whole_sum(kernel: Kernel) -> Block:
    """The block that sums, with the reduced axes of the parts that it may sum up."""
    total, part = kernel.marked(ROLE, "sum"), kernel.marked(ROLE, "part")
    assert total is not None
    if part is None or None in (*total.reduced, *part.reduced):
        return total
    steps = (step or 1 for step in (*total.reduced, *part.reduced))
    return replace(total, reduced=(prod(steps),))


def panel_elements(total: Block, tile: Tile) -> int:
    """Elements of a panel of the right operand; 0 where an extent is symbolic."""
    return tile.columns * prod(extent or 0 for extent in total.reduced)


def _piece(extent: int, unit: int, wanted: int) -> int:
    """The largest divisor of `unit` of which at least `wanted` make up `extent`."""
    sizes = [size for size in range(1, extent + 1) if unit % size == 0]
    return max((size for size in sizes if extent // size >= wanted), default=1)


def _by_panels(total: Block, tile: Tile, chunks: int | None, machine: Machine) -> bool:
    """Whether threads should share the weights out rather than the rows.

    Chunks of rows read all weights each, panels read all rows each; what does not fit into the
    cache comes from memory every time. And the pieces have to go round.
    """
    from tvm import DataType

    spatial, reduced = total.spatial, total.reduced
    panels = spatial[-3]
    if panels is None or chunks is None or None in spatial:
        return False
    rows = prod(extent or 1 for extent in spatial[:-3]) * tile.rows
    element = str(total.statement.reads[-1].source.dtype)
    # An instruction that takes two rows at once takes two words of each.
    pair = int(total.annotations[RESULT][0]) // tile.rows
    weights = panels * tile.columns * prod(extent or 1 for extent in reduced)
    weights *= DataType(element).itemsize
    # Neighbouring rows of an image overlap: each pixel is read from memory once.
    image = _BYTES * rows * (reduced[-1] or 1) * pair * pair

    def cycles(pieces: int, shared: int, own: int) -> float:
        """Of one thread; `shared` bytes are read by every piece, `own` by one."""
        rounds = -(-pieces // machine.threads)
        reads = rounds if shared > machine.l2_bytes // 2 else 1
        vectors = total.iterations / pieces * rounds / machine.lanes("float32")
        return (
            vectors / _VECTORS_A_CYCLE + (shared * reads + own / machine.threads) / _BYTES_A_CYCLE
        )

    return cycles(panels, image, weights) < cycles(chunks, weights, image)
