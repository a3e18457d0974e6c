"""What a device is used for: measure one kernel, compare two, check one, or just see that it works.

Everything here runs in the worker process. Failures are `TrialFailedError`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import median, quantiles
from typing import TYPE_CHECKING

from autoglm_tvm.artifacts.trial import Check, Comparison, Failure, FailureKind, TensorType, Trial
from autoglm_tvm.rpc.farm.compare_arrays import difference
from autoglm_tvm.rpc.farm.limits import MeasureSettings
from autoglm_tvm.rpc.farm.on_device import DeviceSteps, TrialFailedError

if TYPE_CHECKING:
    import numpy as np

# A comparison has at least so many rounds, at most so many, and stops in between when it has taken
# so many times what one measurement may take.
_LEAST_ROUNDS, _MOST_ROUNDS, _TIMES_LIMIT = 3, 12, 4
# Later turns of a comparison only need to bring the kernel's weights back into the caches.
_SHORT_WARMUP_MS, _SAMPLES_PER_TURN = 2, 3
# What the results hold before the run: NaN in every floating point type, so that a kernel that
# leaves some of them out is caught, and for integers something that differs between both kernels.
_NAN_BYTE, _CANDIDATE_BYTE, _REFERENCE_BYTE = 0xFF, 0x5A, 0xA5


def measure(steps: DeviceSteps, trial: Trial, settings: MeasureSettings) -> tuple[float, ...]:
    """Return seconds per run of each sample."""
    with steps.loaded(trial) as module:
        return tuple(steps.measure(trial, module, settings))


def compare(
    steps: DeviceSteps, first: Trial, second: Trial, settings: MeasureSettings
) -> Comparison:
    """Measure two kernels in turns: first, second, second, first, ..., so that drift hits both."""
    start, limit_s = time.monotonic(), _TIMES_LIMIT * 1e-3 * settings.limit_ms
    times: tuple[list[float], list[float]] = ([], [])
    with contextlib.ExitStack() as stack:
        modules = []
        for side, trial in enumerate((first, second)):
            with _blamed_on(side):
                modules.append(stack.enter_context(steps.loaded(trial)))
        for turn in range(_MOST_ROUNDS):
            if turn >= _LEAST_ROUNDS and time.monotonic() - start > limit_s:
                break
            settings = settings if turn == 0 else replace(settings, warmup_ms=_SHORT_WARMUP_MS)
            for side in (0, 1) if turn % 2 == 0 else (1, 0):
                few = replace(settings, samples=_SAMPLES_PER_TURN)
                with _blamed_on(side):
                    samples = steps.measure((first, second)[side], modules[side], few)
                times[side].append(median(samples))
        modules.clear()
    return _comparison(*times)


def check(steps: DeviceSteps, what: Check) -> Failure | None:
    """Run the untuned kernel and the candidate, and compare what they compute."""
    with _blamed_on(0):
        right = steps.run(
            what.reference, what.reference_inputs, _unwritten(what.reference, what, _REFERENCE_BYTE)
        )
    with _blamed_on(1):
        found = steps.run(
            what.candidate, what.candidate_inputs, _unwritten(what.candidate, what, _CANDIDATE_BYTE)
        )
    for index, (ours, theirs) in enumerate(zip(found, right, strict=True)):
        if wrong := difference(ours, theirs, what.tolerance):
            which = f"result {index + 1}" if what.results > 1 else "the result"
            return Failure(FailureKind.wrong_result, f"{which} of {what.candidate.name} {wrong}")
    return None


def probe(steps: DeviceSteps, trial: Trial | None, settings: MeasureSettings) -> None:
    """See that the device works: run a kernel that is known to be good, if there is one yet."""
    steps.try_memory()
    if trial is not None:
        measure(steps, trial, settings)


@contextlib.contextmanager
def _blamed_on(side: int) -> Iterator[None]:
    try:
        yield
    except TrialFailedError as failed:
        failed.side = side
        raise


def _comparison(first: Sequence[float], second: Sequence[float]) -> Comparison:
    ratios = [b / a if a > 0 else 1.0 for a, b in zip(first, second, strict=True)]
    low, ratio, high = quantiles(ratios, n=4, method="inclusive")
    return Comparison(ratio, low, high, median(first), median(second), len(ratios))


def _unwritten(trial: Trial, what: Check, byte: int) -> list[np.ndarray]:
    return [_filled(tensor, byte) for tensor in trial.arguments[-what.results :]]


def _filled(tensor: TensorType, byte: int) -> np.ndarray:
    import ml_dtypes  # noqa: F401  # numpy knows bfloat16 by it
    import numpy as np

    dtype = np.dtype(tensor.dtype)
    if dtype == np.bool_:
        return np.full(tensor.shape, byte == _CANDIDATE_BYTE)
    byte = byte if np.issubdtype(dtype, np.integer) else _NAN_BYTE
    count = int(np.prod(tensor.shape, dtype=np.int64))
    return np.full(count * dtype.itemsize, byte, np.uint8).view(dtype).reshape(tensor.shape)
