"""Which of two bundles of one model is faster: both on one device, in turns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING

from autoglm_tvm.rpc.measure.statistics import parse_samples, undisturbed_seconds
from autoglm_tvm.rpc.session import DeviceSession, RemoteBundle, connect

if TYPE_CHECKING:
    import numpy as np

_NETWORK = "autoglm.measure.network"
_WARMUP_MS = 500
_TURNS = 15
# Of one turn: as many runs as fit, after a moment in which the caches fill again.
_TURN_WARMUP_MS, _TURN_MS, _MOST_RUNS = 30, 300, 500


@dataclass(frozen=True)
class BundleComparison:
    """Times of two bundles.

    Attributes
    ----------
    first_s, second_s
        Median seconds of a run.
    ratio, low, high
        The second's time over the first's in neighbouring turns: median and quartiles.
    turns
        Of each.
    threads
        That a run used.
    where
        Key and address of the device.
    """

    first_s: float
    second_s: float
    ratio: float
    low: float
    high: float
    turns: int
    threads: int
    where: str


def compare_bundles(
    tracker: str,
    key: str,
    first: Path,
    second: Path,
    inputs: Mapping[str, np.ndarray],
    *,
    timeout_s: float = 120,
) -> BundleComparison:
    """Run two bundles with the same inputs in turns: first, second, second, first, ...

    Raises
    ------
    UserInputError
        A bundle is missing or for another kind of device, or the inputs do not fit.
    MissingToolError
        There is no device of this key, or it is lost.
    """
    times: tuple[list[float], list[float]] = ([], [])
    with connect(tracker, key, timeout_s=timeout_s) as session:
        bundles = [session.open_bundle(directory) for directory in (first, second)]
        for bundle in bundles:
            bundle.set_inputs(inputs)
            _turn(session, bundle, _WARMUP_MS)
        for turn in range(_TURNS):
            for side in (0, 1) if turn % 2 == 0 else (1, 0):
                times[side].append(_turn(session, bundles[side], _TURN_WARMUP_MS))
        ratios = [b / a for a, b in zip(*times, strict=True)]
        low, ratio, high = quantiles(ratios, n=4, method="inclusive")
        threads = int(bundles[0].manifest.target["threads"])
        return BundleComparison(
            *(median(times[0]), median(times[1])),
            *(ratio, low, high, _TURNS, threads, session.where),
        )


def _turn(session: DeviceSession, bundle: RemoteBundle, warmup_ms: int) -> float:
    """Median seconds of the runs of one turn."""
    with session.calls(f"running {bundle.manifest.name}"):
        measure = session.remote.get_function(_NETWORK)
        data = measure(
            *(bundle.vm.module, bundle.manifest.entry),
            *(warmup_ms, _MOST_RUNS, warmup_ms + _TURN_MS),
        )
    return median(undisturbed_seconds(parse_samples(bytes(data))))
