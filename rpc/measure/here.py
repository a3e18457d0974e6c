"""Measure on this machine, in this process."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import resource
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoglm_tvm.artifacts.bundle import Bundle
from autoglm_tvm.artifacts.local_run import LocalBundle
from autoglm_tvm.rpc.measure.cores import format_cpus, in_preferred_order, parse_cpus
from autoglm_tvm.rpc.measure.device_files import read_here
from autoglm_tvm.rpc.measure.statistics import Sample
from autoglm_tvm.rpc.measure.subject import KernelCalls
from autoglm_tvm.targets.errors import MissingToolError

if TYPE_CHECKING:
    import numpy as np

_BIND = "TVM_BIND_THREADS"
# What an instrument answers so that the virtual machine goes on (vm.h, VMInstrumentReturnKind).
_GO_ON = 0
# To see which threads work.
_MOST_TRIALS, _TRIAL_S = 1000, 0.1


class LocalSubject:
    """This process; see `subject.Subject`. It gives affinity and environment back at the end."""

    where = "this machine"
    untimed_runs = 0
    is_device = False

    def __init__(self) -> None:
        self._loaded: LocalBundle | None = None
        self._run: Callable[[], Any] = lambda: None
        self._affinity: dict[int, set[int]] = {}
        self._allowed = os.sched_getaffinity(0)
        self._cpus: list[int] = []
        self._bind: str | None = None

    def __enter__(self) -> LocalSubject:
        # Not to be counted as the bundle's memory.
        from tvm import relax  # noqa: F401

        # Otherwise TVM binds each of its threads to one core of its own choice, whenever it is told
        # a number of threads, and may choose the caller's core for a worker.
        self._bind = os.environ.get(_BIND)
        os.environ[_BIND] = "0"
        self._affinity = {thread: os.sched_getaffinity(thread) for thread in _threads()}
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bind is None:
            os.environ.pop(_BIND, None)
        else:
            os.environ[_BIND] = self._bind
        for thread in _threads():
            _set_affinity(thread, self._affinity.get(thread, self._allowed))

    def read(self, group: str) -> Mapping[str, str]:
        """Read the files."""
        return read_here(group)

    def pin(self, cpus: str) -> str:
        """Pin every thread that there is; later ones inherit it. An empty text changes nothing."""
        wanted = set(parse_cpus(cpus)) or self._allowed
        try:
            os.sched_setaffinity(0, wanted)
        except OSError as error:
            raise MissingToolError(
                f"the system refuses to pin to the cores {cpus} ({error.strerror})",
                where=self.where,
                hint=f"choose from {format_cpus(sorted(self._allowed))} with --cpus",
            ) from error
        for thread in _threads():
            _set_affinity(thread, wanted)
        in_force = sorted(os.sched_getaffinity(0))
        self._cpus = in_preferred_order(self.read("cpu"), in_force)
        return format_cpus(in_force)

    def load(self, bundle: Bundle, threads: int, inputs: Mapping[str, np.ndarray]) -> int:
        """Load into this process."""
        import tvm

        self._loaded = LocalBundle(bundle, threads)
        self._loaded.run(inputs)
        self._run = self._loaded.prepare(inputs)
        used = int(tvm.get_global_func("runtime.NumThreads")())
        self._one_core_each(used)
        return used

    def _one_core_each(self, count: int) -> None:
        """Bind the threads that run the network to a core each.

        Left to themselves, the caller and a worker may stay on one core for long: each gives way to
        the other while it waits, and two threads are then slower than one.
        """
        main = threading.get_native_id()
        before = {thread: _cpu_time(thread) for thread in _threads()}
        self.run(_MOST_TRIALS, _TRIAL_S)
        busy = {thread: _cpu_time(thread) - before.get(thread, 0) for thread in _threads()}
        workers = sorted((t for t in busy if t != main), key=lambda t: -busy[t])[: count - 1]
        for thread, cpu in zip([main, *sorted(workers)], self._cpus, strict=False):
            _set_affinity(thread, {cpu})

    def run(self, count: int, limit_s: float) -> list[Sample]:
        """Time in this process, with Python's garbage collector at rest."""
        samples: list[Sample] = []
        run, clock = self._run, time.perf_counter
        collects = gc.isenabled()
        gc.disable()
        try:
            end = clock() + limit_s
            while len(samples) < count:
                interruptions = _interruptions()
                start = clock()
                run()
                stop = clock()
                samples.append(Sample(stop - start, _interruptions() != interruptions))
                if stop >= end:
                    break
        finally:
            if collects:
                gc.enable()
        return samples

    def reset_peak_memory(self) -> None:
        """5 resets the peak (proc(5)); where it is refused, the peak is the process's."""
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")

    def peak_memory(self) -> int | None:
        """Return VmHWM."""
        status = Path("/proc/self/status").read_text("utf-8")
        match = re.search(r"^VmHWM:\s*(\d+) kB", status, re.M)
        return int(match[1]) * 1024 if match else None

    def run_with_timer(self) -> tuple[Sample, KernelCalls]:
        """Time by a callback; about 2 us of a call are its own."""
        assert self._loaded is not None
        calls: KernelCalls = []
        started = 0.0

        def time_call(_function: Any, name: str, before: bool, _result: Any, *_args: Any) -> int:
            nonlocal started
            if before:
                started = time.perf_counter()
            else:
                calls.append((name, time.perf_counter() - started))
            return _GO_ON

        self._loaded.vm.set_instrument(time_call)
        try:
            (sample,) = self.run(1, 0)
        finally:
            self._loaded.vm.set_instrument(lambda *_: _GO_ON)
        return sample, calls


def _interruptions() -> int:
    """Times that a core was taken away from this process, or that it waited for a page."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_nivcsw + usage.ru_majflt


def _threads() -> list[int]:
    return [int(path.name) for path in Path("/proc/self/task").iterdir()]


def _cpu_time(thread: int) -> int:
    """Nanoseconds on a core, the first number of schedstat (proc(5)); 0 where it is not told."""
    try:
        text = Path(f"/proc/self/task/{thread}/schedstat").read_text("ascii")
    except OSError:
        return 0
    return int(text.split()[0])


def _set_affinity(thread: int, cpus: set[int]) -> None:
    with contextlib.suppress(OSError):  # it has ended since
        os.sched_setaffinity(thread, cpus)
