"""Sides take turns, and ratios are those of neighbouring turns."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import interleave as module
from benchmarks.interleave import Effort, Latency, compare_latency, interleave
from benchmarks.other_load import watch_other_load


class Clock:
    """A clock that only the sides move."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.ran: list[str] = []
        monkeypatch.setattr(module.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(module, "settle", lambda: self.ran.append("settle") or 0.0)

    def side(self, name: str, seconds: Callable[[], float]) -> Callable[[], None]:
        def run() -> None:
            self.ran.append(name)
            self.now += seconds()

        return run


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_sides_take_turns_backwards_every_second_time(clock: Clock) -> None:
    sides = {name: clock.side(name, lambda: 1.0) for name in "ab"}
    found = interleave(sides, Effort(seconds=4.0, blocks=10, least_blocks=3))
    # Two runs to get to know each side; then as many turns as one run each fits into four seconds.
    turns = ["a", "b", "b", "a", "a", "b", "b", "a"]
    assert [name for name in clock.ran if name != "settle"] == ["a", "a", "b", "b", *turns]
    assert clock.ran.count("settle") == 2 + len(turns)
    assert found["a"] == Latency((1.0,) * 4, 1.0)


def test_a_slow_side_gets_the_least_turns(clock: Clock) -> None:
    sides = {"slow": clock.side("slow", lambda: 9.0), "fast": clock.side("fast", lambda: 1.0)}
    found = interleave(sides, Effort(seconds=1.0, blocks=10, least_blocks=2))
    assert found["slow"].blocks == (9.0, 9.0)
    assert found["fast"].blocks == (1.0, 1.0)


def test_short_runs_are_repeated_behind_a_warm_up(clock: Clock) -> None:
    sides = {"a": clock.side("a", lambda: 0.01)}
    interleave(sides, Effort(seconds=1.0, blocks=5, least_blocks=2))
    turns = " ".join(clock.ran).split("settle")[2:]
    assert [len(turn.split()) for turn in turns] == [1 + 20] * 5


def test_a_drifting_machine_does_not_move_the_ratio(clock: Clock) -> None:
    def pace() -> float:
        return 0.1 * (1 + 0.02 * clock.now)

    sides = {"a": clock.side("a", lambda: 2 * pace()), "b": clock.side("b", pace)}
    found = interleave(sides, Effort(seconds=30.0, blocks=8, least_blocks=2))
    assert found["a"].blocks[-1] > 2 * found["a"].blocks[0]
    assert compare_latency(found["a"], found["b"]).value == pytest.approx(2.0, rel=0.1)


def test_the_ratio_is_the_median_of_pairs_with_quartiles() -> None:
    ratio = compare_latency(Latency((1.0, 2.0, 9.0, 4.0, 5.0), 1.0), Latency((1.0,) * 5, 1.0))
    assert (ratio.low, ratio.value, ratio.high) == (2.0, 4.0, 5.0)
    alone = compare_latency(Latency((3.0,), 3.0), Latency((2.0,), 2.0))
    assert (alone.low, alone.value, alone.high) == (1.5, 1.5, 1.5)


def test_the_shortest_run_is_of_all_turns(clock: Clock) -> None:
    times = iter([1.0, 1.0, 3.0, 2.0, 0.5, 4.0])
    found = interleave({"a": clock.side("a", lambda: next(times))}, Effort(4.0, 4, 2))
    assert found["a"] == Latency((3.0, 2.0, 0.5, 4.0), 0.5)
    assert found["a"].seconds == 2.5


def test_the_work_of_other_programs_is_seen() -> None:
    """A child of ours is another program."""
    command = [sys.executable, "-c", "while True: pass"]
    with watch_other_load() as load:
        child = subprocess.Popen(command)
        try:
            while _cpu_ticks(child.pid) < 20:
                time.sleep(0.01)
        finally:
            child.kill()
            child.wait()
    assert load.cores > 0.02


def _cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
