"""The time of each of our kernels in a run, by hooks of TVM's virtual machine."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from statistics import median
from typing import Any

from autoglm_tvm.artifacts.manifest import Manifest

# What an instrument answers so that the virtual machine goes on (vm.h, VMInstrumentReturnKind).
_GO_ON = 0
_LEAST_RUNS, _MOST_RUNS = 3, 50


@dataclass(frozen=True)
class KernelTime:
    """Time of one kernel, all its calls in a run together.

    Attributes
    ----------
    function, operators, schedule
        As in the manifest.
    calls
        In one run.
    microseconds
        Of all calls, the median over several runs; about 2 us a call are the measurement's own.
    shapes, nbytes
        Of the arguments of a call, the result last; size of all arguments of all calls.
    tensors
        The ONNX tensors that the calls compute, where they have a name.
    multiply_adds
        Of all calls.
    """

    function: str
    operators: tuple[str, ...]
    schedule: str
    calls: int
    microseconds: float
    shapes: tuple[str, ...]
    nbytes: int
    tensors: tuple[str, ...]
    multiply_adds: int


def time_kernels(
    vm: Any, run: Callable[[], object], manifest: Manifest, macs: list[int], seconds: float
) -> list[KernelTime]:
    """Time every kernel call of `run`, which calls `vm`; the slowest kernel first.

    Parameters
    ----------
    macs
        Multiply-adds of each kernel call in the order of the manifest.
    seconds
        To spend on it.
    """
    recorder = _Recorder({entry.function for entry in manifest.kernels})
    vm.set_instrument(recorder)
    runs: list[list[float]] = []
    start = time.perf_counter()
    try:
        while len(runs) < _LEAST_RUNS or (
            time.perf_counter() - start < seconds and len(runs) < _MOST_RUNS
        ):
            recorder.calls = []
            run()
            runs.append([microseconds for _, microseconds in recorder.calls])
    finally:
        vm.set_instrument(lambda *_: _GO_ON)
    times = [median(column) for column in zip(*runs, strict=True)]
    names = [name for name, _ in recorder.calls]
    return _by_function(manifest, names, times, macs, recorder.shapes)


class _Recorder:
    """The instrument: called by the virtual machine before and after every function."""

    def __init__(self, kernels: set[str]) -> None:
        self._kernels = kernels
        self._start = 0.0
        self.shapes: dict[str, list[tuple[str, list[int]]]] = {}
        self.calls: list[tuple[str, float]] = []

    def __call__(self, _function: Any, name: str, before: bool, _result: Any, *args: Any) -> int:
        if name not in self._kernels:
            return _GO_ON
        if before:
            if name not in self.shapes:
                self.shapes[name] = _shapes(args)
            self._start = time.perf_counter()
        else:
            self.calls.append((name, (time.perf_counter() - self._start) * 1e6))
        return _GO_ON


def _shapes(args: tuple[Any, ...]) -> list[tuple[str, list[int]]]:
    import tvm

    tensors = [arg for arg in args if isinstance(arg, tvm.runtime.Tensor)]
    return [(str(tensor.dtype), [int(dim) for dim in tensor.shape]) for tensor in tensors]


def _by_function(
    manifest: Manifest,
    names: list[str],
    times: list[float],
    macs: list[int],
    shapes: dict[str, list[tuple[str, list[int]]]],
) -> list[KernelTime]:
    calls: dict[str, list[int]] = defaultdict(list)
    for position, name in enumerate(names):
        calls[name].append(position)
    kernels = []
    for name, positions in calls.items():
        entries = [manifest.kernels[position] for position in positions]
        assert all(entry.function == name for entry in entries)
        kernels.append(
            KernelTime(
                name,
                entries[0].operators,
                entries[0].schedule,
                len(positions),
                sum(times[position] for position in positions),
                tuple(f"{dtype}{dims}" for dtype, dims in shapes[name]),
                len(positions) * sum(prod(dims) * _bytes(dtype) for dtype, dims in shapes[name]),
                tuple(entry.output for entry in entries if entry.output),
                sum(macs[position] for position in positions),
            )
        )
    return sorted(kernels, key=lambda kernel: -kernel.microseconds)


def _bytes(dtype: str) -> int:
    import ml_dtypes  # noqa: F401 - registers bfloat16 with numpy
    import numpy as np

    return np.dtype(dtype).itemsize
