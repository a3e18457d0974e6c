"""What a measurement returns: every number with the circumstances that it was taken in."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from autoglm_tvm.rpc.measure.cores import Cluster
from autoglm_tvm.rpc.measure.power import Energy
from autoglm_tvm.rpc.measure.profile import Profile
from autoglm_tvm.rpc.measure.sampling import Reading, WarmUp
from autoglm_tvm.rpc.measure.statistics import Sample, Summary
from autoglm_tvm.rpc.measure.sustained import Sustained
from autoglm_tvm.rpc.measure.thermal import GateResult, Zone

FORMAT = "autoglm-tvm-bench/1"


@dataclass(frozen=True)
class CoreUse:
    """Cores and threads of the measurement.

    Attributes
    ----------
    asked
        ``big``, ``little``, ``all``, or a list.
    pinned
        The cores that the process was allowed to use, such as ``4-7``; what the system had anyway
        where it refused (`refusal` says why).
    threads
        That ran the network.
    before, after
        Clusters, with governor and frequencies, before the warm-up and after the last run.
    """

    asked: str
    pinned: str
    threads: int
    before: tuple[Cluster, ...]
    after: tuple[Cluster, ...]
    refusal: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True)
class MemoryUse:
    """Resident memory of the process in bytes: before the bundle was loaded, and at its peak."""

    before: int | None
    peak: int | None

    @property
    def added(self) -> int | None:
        """By the bundle: what the peak is above the memory before."""
        if self.before is None or self.peak is None:
            return None
        return max(0, self.peak - self.before)

    def to_json(self) -> dict[str, Any]:
        """Plain values in bytes."""
        return {
            "before_bytes": self.before,
            "peak_bytes": self.peak,
            "added_bytes": self.added,
        }


@dataclass(frozen=True)
class BenchResult:
    """A bundle's measurement.

    Attributes
    ----------
    bundle, target, model_sha256
        What was measured, from the manifest.
    where
        The device's key and address, or ``this machine``.
    processor
        Its name, as far as /proc/cpuinfo has one.
    started
        Date and time (ISO 8601, UTC).
    inputs
        ``given``, or how they were made.
    samples
        Every timing, in order.
    latency
        What they say.
    zones_before, zones_after
        All thermal zones.
    gate
        The wait for a cool device; None where no limit was asked for.
    readings
        The device between blocks of runs; the first before all of them.
    notes
        What makes the numbers less than they seem, in plain words.
    """

    bundle: str
    target: str
    model_sha256: str
    where: str
    processor: str
    started: str
    inputs: str
    cores: CoreUse
    gate: GateResult | None
    warm_up: WarmUp
    latency: Summary
    samples: tuple[Sample, ...]
    readings: tuple[Reading, ...]
    zones_before: tuple[Zone, ...]
    zones_after: tuple[Zone, ...]
    memory: MemoryUse
    energy: Energy
    sustained: Sustained | None
    profile: Profile | None
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """What ``autoglm-tvm bench --json`` prints; docs/measurement.md has the fields."""
        return {
            "format": FORMAT,
            "bundle": self.bundle,
            "target": self.target,
            "model_sha256": self.model_sha256,
            "where": self.where,
            "processor": self.processor,
            "started": self.started,
            "inputs": self.inputs,
            "cores": self.cores.to_json(),
            "gate": self.gate.to_json() if self.gate else None,
            "warm_up": self.warm_up.to_json(),
            "latency": self.latency.to_json(),
            "samples_ms": [sample.seconds * 1e3 for sample in self.samples],
            "interrupted_samples": [
                number for number, sample in enumerate(self.samples) if sample.interrupted
            ],
            "readings": [reading.to_json() for reading in self.readings],
            "zones_before": [zone.to_json() for zone in self.zones_before],
            "zones_after": [zone.to_json() for zone in self.zones_after],
            "memory": self.memory.to_json(),
            "energy": self.energy.to_json(),
            "sustained": self.sustained.to_json() if self.sustained else None,
            "profile": self.profile.to_json() if self.profile else None,
            "notes": list(self.notes),
        }
