"""A machine whose clock, files and latency a test decides, and trees of a phone's files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from autoglm_tvm.artifacts.bundle import Bundle
from autoglm_tvm.rpc.measure.statistics import Sample
from autoglm_tvm.rpc.measure.subject import KernelCalls

CPU = "/sys/devices/system/cpu"
THERMAL = "/sys/class/thermal"


class Clock:
    """Seconds that pass only when somebody sleeps or works."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


@dataclass
class FakeSubject:
    """A machine that runs a network in the time that ``latency`` says, by the clock's own time."""

    clock: Clock
    latency: Callable[[float], float]
    files: dict[str, dict[str, str]] = field(default_factory=dict)
    where: str = "a fake"
    untimed_runs: int = 0
    is_device: bool = True
    calls: list[tuple[int, float]] = field(default_factory=list)

    def read(self, group: str) -> Mapping[str, str]:
        return self.files.get(group, {})

    def run(self, count: int, limit_s: float) -> list[Sample]:
        self.calls.append((count, limit_s))
        samples: list[Sample] = []
        end = self.clock.now + limit_s
        while len(samples) < count and (not samples or self.clock.now < end):
            seconds = self.latency(self.clock.now)
            self.clock.now += seconds
            samples.append(Sample(seconds))
        return samples

    def __enter__(self) -> FakeSubject:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    # What these tests do not need must not be called.
    def pin(self, cpus: str) -> str:
        raise NotImplementedError

    def load(self, bundle: Bundle, threads: int, inputs: Mapping[str, np.ndarray]) -> int:
        raise NotImplementedError

    def reset_peak_memory(self) -> None:
        raise NotImplementedError

    def peak_memory(self) -> int | None:
        raise NotImplementedError

    def run_with_timer(self) -> tuple[Sample, KernelCalls]:
        raise NotImplementedError


def cpu_files(
    capacities: Sequence[int | None], mhz: Sequence[int], governor: str = "schedutil"
) -> dict[str, str]:
    """Return the files of cores with these capacities and highest frequencies."""
    files = {f"{CPU}/online": f"0-{len(mhz) - 1}\n"}
    for cpu, (capacity, speed) in enumerate(zip(capacities, mhz, strict=True)):
        folder = f"{CPU}/cpu{cpu}"
        if capacity is not None:
            files[f"{folder}/cpu_capacity"] = f"{capacity}\n"
        files[f"{folder}/cpufreq/cpuinfo_max_freq"] = f"{speed}000\n"
        files[f"{folder}/cpufreq/scaling_max_freq"] = f"{speed}000\n"
        files[f"{folder}/cpufreq/scaling_cur_freq"] = f"{speed // 2}000\n"
        files[f"{folder}/cpufreq/scaling_governor"] = f"{governor}\n"
    return files


def thermal_files(*zones: tuple[str, int | str]) -> dict[str, str]:
    """Return the files of zones, given as type and ``temp``."""
    files = {}
    for number, (kind, temp) in enumerate(zones):
        files[f"{THERMAL}/thermal_zone{number}/type"] = f"{kind}\n"
        files[f"{THERMAL}/thermal_zone{number}/temp"] = f"{temp}\n"
    return files


def battery_files(
    microamperes: int, microvolts: int, status: str = "Discharging", name: str = "battery"
) -> dict[str, str]:
    """Return the files of a battery."""
    folder = f"/sys/class/power_supply/{name}"
    return {
        f"{folder}/type": "Battery\n",
        f"{folder}/status": f"{status}\n",
        f"{folder}/current_now": f"{microamperes}\n",
        f"{folder}/voltage_now": f"{microvolts}\n",
    }


def write_tree(root: Path, *groups: Mapping[str, str]) -> Path:
    """Write files below a folder, as the server's ``--sysfs-root`` wants them."""
    for files in groups:
        for path, text in files.items():
            target = root / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
    return root
