"""How much of an attention is computed at a time: blocks of rows, tiles of both products."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from math import ceil
from typing import Any

from autoglm_tvm.schedules.machine import Machine
from autoglm_tvm.schedules.tiles import Tile, choose_tile

# Rows of a block if the caches allow for it: its panels of keys and values are read once.
BLOCK_ROWS = 32
# Share of rows beyond the last one, for the sake of larger blocks.
_SUPERFLUOUS = 1.03
_MOST_ROWS_IN_A_TILE = 14
_FLOAT_BYTES = 4
# As in `tiles.py`: multiply-adds that one waits for, and what a vector of a tile costs once.
_IN_FLIGHT = 8
_PER_VECTOR = 6


@dataclass(frozen=True)
class Plan:
    """Extents and tiles.

    Attributes
    ----------
    groups
        Extents of the axes that each have keys and values of their own: (*batch, key heads).
    shared
        Query heads that share one key head.
    rows, keys, depth, width
        Queries of one head, keys, elements of a key, elements of a value.
    block
        Rows whose scores are kept together: a multiple of the rows of both tiles.
    scores, values
        Register tiles of the two products.
    """

    groups: tuple[int, ...]
    shared: int
    rows: int
    keys: int
    depth: int
    width: int
    block: int
    scores: Tile
    values: Tile

    @property
    def blocks(self) -> int:
        """Blocks of rows of a head."""
        return ceil(self.rows / self.block)

    @property
    def vectors(self) -> int:
        """Vectors in a row of scores."""
        return ceil(self.keys / self.scores.lanes)

    @property
    def summed(self) -> int:
        """Length of a row of weights in the second product; behind the keys they are zero."""
        return _summed(self.keys, self.values)


@cache
def choose_plan(
    groups: tuple[int, ...],
    shared: int,
    rows: int,
    keys: int,
    depth: int,
    width: int,
    machine: Machine,
) -> Plan:
    """The tiles that need the fewest instructions, in blocks that stay in the second cache."""

    def tiles(height: int) -> tuple[Tile, Tile]:
        # Behind the keys weights are zeros, so that whole vectors of them can be loaded.
        length = ceil(keys / 4) * 4 if machine.lane_operand else keys
        chosen = (
            choose_tile(height, keys, depth, machine),
            choose_tile(height, width, length, machine),
        )
        first, second = (replace(tile, rows=min(tile.rows, height)) for tile in chosen)
        return first, second

    def cost(height: int) -> float:
        first, second = tiles(height)
        count = ceil(rows / height)
        return count * (_cost(first, height, keys, depth) + _cost(second, height, width, keys))

    highest = min(rows, _MOST_ROWS_IN_A_TILE)
    heights = [
        height
        for height in range(1, highest + 1)
        if all(height % tile.rows == 0 for tile in tiles(height))
    ]
    height = min(heights, key=lambda height: (cost(height), -height))
    first, second = tiles(height)
    # Scores and weights of a block take half of the second cache at most.
    most = min(machine.l2_bytes // 2 // (2 * keys * _FLOAT_BYTES), BLOCK_ROWS)
    count = ceil(rows / height)
    together = max(
        (
            number
            for number in range(1, most // height + 1)
            if ceil(count / number) * number <= count * _SUPERFLUOUS
        ),
        default=1,
    )
    return Plan(groups, shared, rows, keys, depth, width, together * height, first, second)


def tuned_plan(plan: Plan, config: Mapping[str, Any]) -> Plan:
    """`plan` with what `config` names.

    `rows` of both tiles, `score_vectors` and `value_vectors`, and how many tiles of rows are
    computed `together`.
    """
    rows = int(config.get("rows", plan.scores.rows))
    together = int(config.get("together", plan.block // plan.scores.rows))
    first = replace(plan.scores, rows=rows)
    second = replace(plan.values, rows=rows if "rows" in config else plan.values.rows)
    first = replace(first, vectors=int(config.get("score_vectors", first.vectors)))
    second = replace(second, vectors=int(config.get("value_vectors", second.vectors)))
    return replace(plan, block=rows * together, scores=first, values=second)


def _cost(tile: Tile, rows: int, columns: int, reduced: int) -> float:
    """Instructions of the inner loop for one block of rows, clearing and storing included."""
    multiply_adds = tile.rows * tile.vectors
    if tile.rows_in_registers:
        step = multiply_adds + tile.rows / tile.steps + tile.vectors / 2
    else:
        # A multiply-add and a load go out in the same cycle.
        step = max(multiply_adds, tile.rows + tile.vectors)
    count = ceil(rows / tile.rows) * ceil(columns / tile.columns)
    return count * (max(step, _IN_FLIGHT) * reduced + _PER_VECTOR * multiply_adds)


def _summed(keys: int, tile: Tile) -> int:
    step = tile.steps if tile.rows_in_registers else 1
    return ceil(keys / step) * step
