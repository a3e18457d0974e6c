"""Where Winograd's algorithm beats the direct sum, which one, and in which pieces.

Time is counted in slots: the time of one vector multiply-add. Measured on one core with AVX-512
(Zen 5) against the direct kernel in one process, weights in a cache, of its time:

    56x56x64 0.32    28x28x128 0.29    14x14x256 0.38    7x7x512 1.45    F(4x4)
    55x55, 16 to 64 0.43    27x27, 32 to 128 0.35    13x13, 64 to 256 0.46    80x80, 96 to 24 0.35
    56x56x64 0.52    28x28x128 0.48    14x14x256 0.47    7x7x512 0.66    F(2x2)

In a network weights come from memory, and the transformed weight is 1.8 (F(2x2)) or 4 times as
large. In ResNet-18 the choice below takes 0.67 of the time with direct sums for 27 % more weights;
F(4x4) everywhere takes as long for 240 % more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil, gcd
from types import MappingProxyType
from typing import Any

from autoglm_tvm.schedules.machine import Machine
from autoglm_tvm.schedules.tiles import Tile, choose_tile, tuned_tile
from autoglm_tvm.schedules.winograd_transforms import F2, F4, Transforms

# Knob `algorithm`: the plain sum of products, or the transforms.
DIRECT = "direct"
ALGORITHMS = {"F2": F2, "F4": F4}
# Of the direct sum's time; more than that is not worth another kernel.
_WORTH = 0.8
# Slots that a byte more in `weights.bin` must save, of all threads together.
_BYTE = 0.5
# Slots that one vector of channels of one tile takes to be transformed, for each product.
_TRANSFORM = 6
# Bytes that arrive in a slot, while others are multiplied: from memory for one core (two cores
# together reach twice as much, more do not), and from a cache that cores share.
_FROM_MEMORY = 2
_FROM_CACHE = 10
# Slots of the shortest inner loop, as long as a multiply-add takes.
_SHORTEST = 8
_FLOAT_BYTES = 4


@dataclass(frozen=True)
class Plan:
    """How a convolution is cut.

    Attributes
    ----------
    transforms
        Of which size the tiles of the image are.
    result
        Batch, height and width of the result.
    in_channels, channels
        Of the image and of the result.
    tile
        The register tile of the products; its rows are tiles of the image.
    chunk
        Tiles of the image whose products are kept together, a multiple of the rows of `tile`.
    by_panels
        Whether threads share the panels of the weight, rather than the chunks.
    """

    transforms: Transforms
    result: tuple[int, int, int]
    in_channels: int
    channels: int
    tile: Tile
    chunk: int
    by_panels: bool

    @property
    def grid(self) -> tuple[int, int]:
        """Tiles down and across an image."""
        _, height, width = self.result
        outputs = self.transforms.outputs
        return ceil(height / outputs), ceil(width / outputs)

    @property
    def count(self) -> int:
        """Tiles of an image."""
        down, across = self.grid
        return down * across

    @property
    def chunks(self) -> int:
        """Chunks of tiles of an image, the last one filled up."""
        return ceil(self.count / self.chunk)

    @property
    def panels(self) -> int:
        """Panels of output channels, the last one filled up."""
        return ceil(self.channels / self.tile.columns)


def choose_plan(
    result: tuple[int, int, int], in_channels: int, channels: int, machine: Machine
) -> Plan | None:
    """The best plan for a result [batch, height, width, channels]; None if the direct sum wins."""
    plans = (
        plan
        for transforms in (F4, F2)
        for plan in _plans(transforms, result, in_channels, channels, machine)
    )
    best = min(plans, key=lambda plan: _cost(plan, machine))
    direct = _direct_cost(result, in_channels, channels, machine)
    return best if _cost(best, machine) < _WORTH * direct else None


def tuned_plan(
    result: tuple[int, int, int],
    in_channels: int,
    channels: int,
    machine: Machine,
    config: Mapping[str, Any],
) -> Plan:
    """The best plan of the `algorithm` of `config` with its tile, `share` and `chunk`.

    `chunk` is the number of register tiles in a chunk of rows, the most that a core's cache holds
    where it is larger; 0 for the best.
    """
    transforms = ALGORITHMS[config["algorithm"]]
    plans = list(_plans(transforms, result, in_channels, channels, machine, config))
    if "share" in config:
        plans = [plan for plan in plans if plan.by_panels == (config["share"] != "rows")]
    if config.get("chunk"):
        nearest = min(plans, key=lambda p: abs(p.chunk - config["chunk"] * p.tile.rows)).chunk
        plans = [plan for plan in plans if plan.chunk == nearest]
    return min(plans, key=lambda plan: _cost(plan, machine))


def _plans(
    transforms: Transforms,
    result: tuple[int, int, int],
    in_channels: int,
    channels: int,
    machine: Machine,
    config: Mapping[str, Any] = MappingProxyType({}),
) -> Iterator[Plan]:
    """Every plan whose chunks stay in the core's own cache; the smallest chunk in any case."""
    _, height, width = result
    tiles = ceil(height / transforms.outputs) * ceil(width / transforms.outputs)
    tile = tuned_tile(choose_tile(tiles, channels, in_channels, machine), config)
    of_tile = transforms.size**2 * (in_channels + tile.columns) * _FLOAT_BYTES
    most = max(1, machine.l2_bytes * 3 // 4 // of_tile // tile.rows)
    for blocks in range(1, min(most, ceil(tiles / tile.rows)) + 1):
        for by_panels in (False, True):
            chunk = blocks * tile.rows
            yield Plan(transforms, result, in_channels, channels, tile, chunk, by_panels)


def _cost(plan: Plan, machine: Machine) -> float:
    """Slots until the thread with most work is done, and what the larger weight costs in them."""
    products, tile, batch = plan.transforms.size**2, plan.tile, plan.result[0]
    chunks, panels = batch * plan.chunks, plan.panels
    if plan.by_panels:
        panels = ceil(panels / machine.threads)
    else:
        chunks = ceil(chunks / machine.threads)
    tiles = chunks * (plan.chunk // tile.rows) * panels
    sums = products * tiles * _step(tile) * plan.in_channels
    lanes = machine.lanes("float32")
    vectors = plan.in_channels / gcd(plan.in_channels, lanes) + plan.channels / tile.lanes
    transforms = _TRANSFORM * products * batch * plan.count * vectors / machine.threads
    plain = 9 * plan.in_channels * plan.channels * _FLOAT_BYTES
    weight = products * plan.in_channels * plan.panels * tile.columns * _FLOAT_BYTES
    shared = _shared_bytes(plan, weight, chunks, panels, machine.l2_bytes // 2) / _FROM_CACHE
    busy = max(max(sums, shared) + transforms, _from_memory(weight, machine))
    return busy + _BYTE * (weight - plain) / machine.threads


def _shared_bytes(plan: Plan, weight: int, chunks: int, panels: int, cache: int) -> int:
    """Bytes that one thread reads out of another cache than its own.

    Chunk by chunk that is the weight; panel by panel the transformed image, and the panel where one
    is too large.
    """
    if not plan.by_panels:
        return weight * chunks if weight > cache else 0
    pixels = plan.result[0] * plan.count * plan.transforms.size**2
    image, panel = pixels * plan.in_channels * _FLOAT_BYTES, weight // plan.panels
    again = panel * panels * chunks if panel > cache else 0
    return again + (image * panels if image > cache else 0)


def _step(tile: Tile) -> int:
    """Slots of one step of the inner loop."""
    return max(tile.rows * tile.vectors, tile.rows + tile.vectors, _SHORTEST)


def _from_memory(weight: int, machine: Machine) -> float:
    return weight / (_FROM_MEMORY * min(machine.threads, 2))


def _direct_cost(
    result: tuple[int, int, int], in_channels: int, channels: int, machine: Machine
) -> float:
    """Slots of the direct sum (`operators/conv2d.py`), whose tiles are pixels of a row."""
    batch, height, width = result
    tile = choose_tile(width, channels, 3 * in_channels, machine)
    tiles = batch * height * ceil(width / tile.rows) * ceil(channels / tile.columns)
    weight = 9 * in_channels * channels * _FLOAT_BYTES
    sums = 9 * in_channels * tiles * _step(tile) / machine.threads
    return max(sums, _from_memory(weight, machine))
