"""Synthetic tasks with known costs: products of matrices on a machine with 32 vector registers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

from autoglm_tvm.schedules.search.space import Config, Space

LANES = 4
REGISTERS = 32
CORES = 4
NOISE = 0.01


def _waste(extent: int, tile: int) -> float:
    """Padded work per useful work, 1 without padding."""
    return math.ceil(extent / tile) * tile / extent


@dataclass(frozen=True)
class SyntheticTask:
    """One task: a product of [rows, reduced] and [reduced, columns]."""

    rows: int
    columns: int
    reduced: int

    def space(self) -> Space:
        """About 65 000 combinations, two thirds of them valid."""
        knobs = {
            "rows": range(1, 15),
            "vectors": range(1, 9),
            "steps": (1, 2, 4, 8),
            "share": ("rows", "panels"),
            "chunk": (1, 2, 4, 8, 16, 32),
            "prefetch": (0, 1, 2),
            "algorithm": ("direct", "F2", "F4"),
            "threads": (True, False),
        }
        default: Config = {
            "rows": 4, "vectors": 4, "steps": 1, "share": "rows", "chunk": 1, "prefetch": 0,
            "algorithm": "direct", "threads": True,
        }  # fmt: skip
        return Space(knobs, default, _valid)

    def features(self) -> dict[str, float]:
        """What a cost model is told of the task."""
        numbers = {"rows": self.rows, "columns": self.columns, "reduced": self.reduced}
        return {f"log_{name}": math.log2(number) for name, number in numbers.items()}

    def seconds(self, config: Config) -> float | None:
        """The true cost; None where the kernel fails."""
        rows, vectors, steps = (_int(config, name) for name in ("rows", "vectors", "steps"))
        chunk, prefetch = _int(config, "chunk"), _int(config, "prefetch")
        if (config["algorithm"], steps) == ("F4", 8) or (prefetch, vectors) == (2, 7):
            return None
        work = 2e-11 * self.rows * self.columns * self.reduced
        work *= {"direct": 1.0, "F2": 0.75, "F4": 0.6}[str(config["algorithm"])]
        if config["algorithm"] != "direct":
            work += {"F2": 2e-9, "F4": 4e-9}[str(config["algorithm"])] * self.rows * self.columns
        work *= _waste(self.rows, rows) * _waste(self.columns, vectors * LANES)
        loads = (rows + vectors) / (rows * vectors)
        work *= 0.7 + loads
        used = rows * vectors + vectors + 1
        work *= 1 + 0.08 * max(0, used - REGISTERS)
        work *= 1 + 0.12 / steps + (0.03 * steps if rows * vectors > 16 else 0)
        work *= (
            1 - 0.03 * prefetch if self.columns * self.reduced > 1 << 16 else 1 + 0.02 * prefetch
        )
        if not config["threads"]:
            return work
        if config["share"] == "rows":
            pieces = math.ceil(self.rows / rows)
        else:
            pieces = math.ceil(self.columns / (vectors * LANES))
        pieces = math.ceil(pieces / chunk)
        slowest = math.ceil(pieces / CORES) / pieces
        return work * slowest + 2e-6 + 1e-7 * pieces

    def optimum(self) -> float:
        """Seconds of the fastest configuration."""
        return min(seconds for config in self.space() if (seconds := self.seconds(config)))


class NoisyDevice:
    """Measures a task as a phone does: a little off, and never twice the same."""

    def __init__(self, task: SyntheticTask, seed: int, noise: float = NOISE) -> None:
        self.task = task
        self._random = Random(seed)
        self._noise = noise

    def measure(self, configs: list[Config]) -> list[tuple[Config, float | None]]:
        """Results as a search is told them."""
        return [(config, self._one(config)) for config in configs]

    def _one(self, config: Config) -> float | None:
        seconds = self.task.seconds(config)
        return seconds and seconds * math.exp(abs(self._random.gauss(0, self._noise)))


def _int(config: Config, name: str) -> int:
    return int(config[name])


def _valid(config: Config) -> bool:
    return _int(config, "rows") * _int(config, "vectors") <= 2 * REGISTERS
