"""Which kernels the time of a run goes to."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from autoglm_tvm.artifacts.manifest import KernelEntry, Manifest
from autoglm_tvm.rpc.measure.statistics import Sample
from autoglm_tvm.rpc.measure.subject import KernelCalls, Subject

_LEAST_RUNS, _MOST_RUNS, _LIMIT_S = 5, 50, 10.0
_LEAST_CLEAN_RUNS = 3


@dataclass(frozen=True)
class KernelTime:
    """One kernel of the library, all its calls in a run together.

    Attributes
    ----------
    seconds
        Of all calls in a run, the median over the runs.
    share
        Of the time of all kernels.
    operators, schedule
        As in the manifest.
    """

    function: str
    calls: int
    seconds: float
    share: float
    operators: tuple[str, ...]
    schedule: str

    def to_json(self) -> dict[str, Any]:
        """Plain values, the time in milliseconds."""
        fields = asdict(self)
        seconds = fields.pop("seconds")
        return {**fields, "ms": seconds * 1e3}


@dataclass(frozen=True)
class Profile:
    """The kernels, the slowest first.

    Attributes
    ----------
    runs
        That the numbers are of.
    run_seconds
        Median time of these runs; the timer makes them slower than others.
    """

    kernels: tuple[KernelTime, ...]
    runs: int
    run_seconds: float

    @property
    def kernel_seconds(self) -> float:
        """Of all kernels in a run."""
        return sum(kernel.seconds for kernel in self.kernels)

    @property
    def other_seconds(self) -> float:
        """What is between the kernels: the virtual machine, memory, and the timer itself."""
        return max(0.0, self.run_seconds - self.kernel_seconds)

    def to_json(self) -> dict[str, Any]:
        """Plain values, times in milliseconds."""
        return {
            "runs": self.runs,
            "run_ms": self.run_seconds * 1e3,
            "kernels_ms": self.kernel_seconds * 1e3,
            "between_kernels_ms": self.other_seconds * 1e3,
            "kernels": [kernel.to_json() for kernel in self.kernels],
        }


def profile(subject: Subject, manifest: Manifest) -> Profile:
    """Time every kernel in at least five runs, more if they are quick."""
    runs: list[tuple[Sample, KernelCalls]] = []
    start = time.monotonic()
    while len(runs) < _LEAST_RUNS or (
        len(runs) < _MOST_RUNS and time.monotonic() - start < _LIMIT_S
    ):
        runs.append(subject.run_with_timer())
    return summarize_calls(runs, manifest)


def summarize_calls(runs: Sequence[tuple[Sample, KernelCalls]], manifest: Manifest) -> Profile:
    """Add up the calls of each kernel in each run, and take medians over the runs.

    Calls that are not in the manifest are the virtual machine's own and are not kernels.
    Interrupted runs are left out unless hardly any others are there.
    """
    clean = [run for run in runs if not run[0].interrupted]
    runs = clean if len(clean) >= _LEAST_CLEAN_RUNS else runs
    entries: dict[str, KernelEntry] = {}
    for entry in manifest.kernels:
        entries.setdefault(entry.function, entry)
    seconds: dict[str, list[float]] = defaultdict(lambda: [0.0] * len(runs))
    calls: dict[str, list[int]] = defaultdict(lambda: [0] * len(runs))
    for number, (_, of_run) in enumerate(runs):
        for name, taken in of_run:
            if name in entries:
                seconds[name][number] += taken
                calls[name][number] += 1
    times = {name: median(values) for name, values in seconds.items()}
    total = sum(times.values()) or 1.0
    kernels = [
        KernelTime(
            function=name,
            calls=round(median(calls[name])),
            seconds=taken,
            share=taken / total,
            operators=entries[name].operators,
            schedule=entries[name].schedule,
        )
        for name, taken in sorted(times.items(), key=lambda item: -item[1])
    ]
    return Profile(tuple(kernels), len(runs), median([sample.seconds for sample, _ in runs]))
