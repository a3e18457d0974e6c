"""Take the latency of several sides in one process, in turns, so that all see the same machine."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median, quantiles

#: A pause ends when the process uses less than this share of one core.
_IDLE_SHARE = 0.2
_PAUSE_STEP = 0.01
_LONGEST_PAUSE = 0.5
#: Runs longer than this need no warm-up in every block: caches and threads do not matter to them.
_LONG_RUN = 0.2
_MOST_RUNS_IN_A_BLOCK = 500


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Attributes
    ----------
    seconds
        For each side, pauses and warm-up not counted. A single run may take longer.
    blocks
        Turns of each side; fewer where the seconds do not suffice for one run in each.
    least_blocks
        Turns even where the seconds do not suffice.
    """

    seconds: float = 3.0
    blocks: int = 15
    least_blocks: int = 3


QUICK = Effort(1.0, 9, 3)
THOROUGH = Effort()


@dataclass(frozen=True)
class Latency:
    """Seconds of a run: the median of each block, in the order of time, and the shortest of all."""

    blocks: tuple[float, ...]
    shortest: float

    @property
    def seconds(self) -> float:
        """The median of the blocks."""
        return median(self.blocks)


@dataclass(frozen=True)
class Ratio:
    """Median and quartiles of ours / theirs over the pairs of neighbouring blocks."""

    value: float
    low: float
    high: float


def interleave(sides: Mapping[str, Callable[[], object]], effort: Effort) -> dict[str, Latency]:
    """Run every side in turns and return the latency of each.

    One turn is a pause, until the idle worker threads of the other sides spin no longer; one run to
    wake the own ones; and as many timed runs as fit the effort. Every second round goes backwards.
    """
    once = {name: _warm_up(run) for name, run in sides.items()}
    affordable = min(int(effort.seconds / seconds) for seconds in once.values())
    blocks = max(effort.least_blocks, min(effort.blocks, affordable))
    found: dict[str, list[list[float]]] = {name: [] for name in sides}
    gc.collect()
    gc.disable()
    try:
        for block in range(blocks):
            for name in list(sides)[:: -1 if block % 2 else 1]:
                runs = int(effort.seconds / blocks / once[name])
                runs = min(max(runs, 1), _MOST_RUNS_IN_A_BLOCK)
                found[name].append(_one_block(sides[name], runs, once[name]))
    finally:
        gc.enable()
    return {
        name: Latency(tuple(map(median, turns)), min(map(min, turns)))
        for name, turns in found.items()
    }


def compare_latency(ours: Latency, theirs: Latency) -> Ratio:
    """Return the ratio of two sides that were measured in turns; smaller is better for us."""
    ratios = [a / b for a, b in zip(ours.blocks, theirs.blocks, strict=True)]
    if len(ratios) == 1:
        return Ratio(ratios[0], ratios[0], ratios[0])
    low, value, high = quantiles(ratios, n=4, method="inclusive")
    return Ratio(value, low, high)


def settle() -> float:
    """Wait until no thread of this process spins any more; return the seconds that it took."""
    start = time.perf_counter()
    while time.perf_counter() - start < _LONGEST_PAUSE:
        cpu, wall = time.process_time(), time.perf_counter()
        time.sleep(_PAUSE_STEP)
        if time.process_time() - cpu < _IDLE_SHARE * (time.perf_counter() - wall):
            break
    return time.perf_counter() - start


def _warm_up(run: Callable[[], object]) -> float:
    """Run a few times and return the shortest time in seconds; a slow side only twice."""
    settle()
    times: list[float] = []
    while len(times) < 2 or (len(times) < 10 and sum(times) < _LONG_RUN):
        times.append(_time(run))
    return min(times)


def _one_block(run: Callable[[], object], runs: int, expected: float) -> list[float]:
    settle()
    if expected < _LONG_RUN:
        run()
    return [_time(run) for _ in range(runs)]


def _time(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
