"""How much of the machine other programs use while we measure: their work is our noise."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# Columns of /proc/stat that are idle time (proc(5)): idle and iowait.
_IDLE = slice(3, 5)
# user, nice, system, idle, iowait, irq, softirq, steal; guest time is in user already.
_COLUMNS = slice(1, 9)


@dataclass
class OtherLoad:
    """Cores that other programs, and on a virtual machine the others of its host, kept busy."""

    cores: float = 0.0


@contextmanager
def watch_other_load() -> Iterator[OtherLoad]:
    """Fill in the yielded value when the block ends; zero where /proc/stat is not to be had."""
    load = OtherLoad()
    busy, own, wall = _busy_seconds(), time.process_time(), time.perf_counter()
    yield load
    others = _busy_seconds() - busy - (time.process_time() - own)
    load.cores = max(0.0, others / (time.perf_counter() - wall))


def _busy_seconds() -> float:
    try:
        line = Path("/proc/stat").read_text("utf-8").partition("\n")[0]
    except OSError:
        return 0.0
    times = [int(word) for word in line.split()[_COLUMNS]]
    return (sum(times) - sum(times[_IDLE])) / os.sysconf("SC_CLK_TCK")
