"""Measure on a device: the loops run there, in the device server, and not over the connection."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autoglm_tvm.artifacts.bundle import Bundle
from autoglm_tvm.rpc.measure.device_files import read_device
from autoglm_tvm.rpc.measure.statistics import Sample, parse_samples
from autoglm_tvm.rpc.measure.subject import KernelCalls
from autoglm_tvm.rpc.session import DeviceSession, RemoteBundle

if TYPE_CHECKING:
    import numpy as np


class DeviceSubject:
    """A device that we have a session on; see `subject.Subject`. The session stays open."""

    untimed_runs = 1
    is_device = True

    def __init__(self, session: DeviceSession) -> None:
        self.where = session.where
        self._session = session
        self._loaded: RemoteBundle | None = None

    def __enter__(self) -> DeviceSubject:
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing to undo: the session's process has the settings, and ends with it."""

    def read(self, group: str) -> Mapping[str, str]:
        """Read over the session."""
        return read_device(self._session, group)

    def pin(self, cpus: str) -> str:
        """Pin the session's process, before TVM's threads are made."""
        return str(self._call("pinning to cores", "autoglm.device.pin", cpus))

    def load(self, bundle: Bundle, threads: int, inputs: Mapping[str, np.ndarray]) -> int:
        """Upload it; the inputs stay on the device."""
        self._loaded = RemoteBundle(self._session, bundle, threads)
        self._loaded.set_inputs(inputs)
        self.run(1, 0)
        return int(self._call("asking for its threads", "runtime.NumThreads"))

    def run(self, count: int, limit_s: float) -> list[Sample]:
        """Let the device time the runs."""
        return self._measure(count, max(1, round(limit_s * 1e3)))

    def reset_peak_memory(self) -> None:
        """Some kernels refuse; then the peak is the session's."""
        self._call("resetting the peak of memory", "autoglm.device.reset_peak_memory")

    def peak_memory(self) -> int | None:
        """Ask the session's process."""
        return int(self._call("asking for memory", "autoglm.device.peak_memory")) or None

    def run_with_timer(self) -> tuple[Sample, KernelCalls]:
        """The timer is an instrument of the VM, on the device."""
        hook = self._bundle.vm.module["set_instrument"]
        with self._session.calls("installing the timer (part of autoglm-device-server)"):
            hook("autoglm.timer.start")
        try:
            self._call("clearing the timer", "autoglm.timer.clear")
            (sample,) = self._measure(1, 1)
            report = json.loads(
                str(self._call("fetching the kernels' times", "autoglm.timer.report"))
            )
        finally:
            with contextlib.suppress(Exception), self._session.calls("removing the timer"):
                hook("autoglm.timer.stop")
        # The first half is the run that is not timed.
        timed = report[len(report) // 2 :]
        return sample, [(name, nanoseconds / 1e9) for name, nanoseconds in timed]

    @property
    def _bundle(self) -> RemoteBundle:
        assert self._loaded is not None
        return self._loaded

    def _measure(self, count: int, limit_ms: int) -> list[Sample]:
        name, vm = self._bundle.manifest.name, self._bundle.vm
        arguments = (vm.module, self._bundle.manifest.entry, 0, count, limit_ms)
        data: Any = self._call(f"running {name}", "autoglm.measure.network", *arguments)
        return parse_samples(bytes(data))

    def _call(self, doing: str, name: str, *arguments: Any) -> Any:
        with self._session.calls(doing):
            return self._session.remote.get_function(name)(*arguments)
