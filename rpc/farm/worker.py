"""The process that talks to one device for a `DevicePool`; runs as ``python -m``.

It is a process and not a thread because TVM's client holds Python's lock while it frees what lies
on a device, and waits for the device's answer: a device that has frozen would freeze the tuner, all
deadlines included. A process can be killed, and takes nothing along if TVM's client crashes.
"""

from __future__ import annotations

import sys
import time
import traceback
from multiprocessing.connection import Connection as Channel
from typing import Any

from autoglm_tvm.artifacts.trial import FailureKind
from autoglm_tvm.artifacts.worker_process import READY
from autoglm_tvm.rpc.device_errors import DeviceCallError
from autoglm_tvm.rpc.farm import tasks
from autoglm_tvm.rpc.farm.limits import Limits, MeasureSettings
from autoglm_tvm.rpc.farm.on_device import DeviceSteps, TrialFailedError, classify
from autoglm_tvm.rpc.farm.reply import Reply
from autoglm_tvm.rpc.measure.device_files import Files, read_device
from autoglm_tvm.rpc.measure.thermal import TemperatureGate, hottest_cpu_zone
from autoglm_tvm.rpc.process_group import end_with_parent
from autoglm_tvm.rpc.session import open_session
from autoglm_tvm.rpc.tracker_client import DeviceAddress
from autoglm_tvm.targets.errors import AutoglmError

# A phone may have a hundred zones: they are not read for every trial.
_TEMPERATURE_S = 2.0


class Worker:
    """Holds one device's session at a time, and does what the pool asks."""

    def __init__(self) -> None:
        self._steps: DeviceSteps | None = None
        self._has_zones = True
        self._temperature_c: float | None = None
        self._looked_at = float("-inf")

    def answer(self, request: tuple[Any, ...]) -> Reply:
        """Do ``request``: ``open`` or ``close`` with arguments, or a function of `tasks`."""
        name, *arguments = request
        try:
            value = getattr(self, f"_{name}")(*arguments)
        except TrialFailedError as failed:
            return self._reply(failure=failed.failure, end=failed.end, side=failed.side)
        except DeviceCallError as error:
            failure = classify(error, FailureKind.device_lost)
            return self._reply(failure=failure, end=error.end)
        except AutoglmError as error:
            return self._reply(refusal=error.what)
        except Exception:
            return self._reply(defect=traceback.format_exc())
        return self._reply(value=value)

    def _reply(self, **given: Any) -> Reply:
        return Reply(temperature_c=self._temperature_c, **given)

    def _open(self, address: DeviceAddress, key: str, limits: Limits, cpus: str) -> None:
        self._close()
        session = open_session(
            address, key, timeout_s=limits.connect_s, call_timeout_s=limits.load_s
        )
        self._steps = DeviceSteps(session, limits)
        self._has_zones, self._looked_at = True, float("-inf")
        self._steps.look_for_functions()
        if cpus:
            self._steps.pin(cpus)

    def _close(self) -> None:
        steps, self._steps = self._steps, None
        if steps is not None:
            steps.session.close()

    def _task(self, name: str, settings: MeasureSettings, *arguments: Any) -> Any:
        assert self._steps is not None
        self._cool_down(self._steps, settings)
        return getattr(tasks, name)(self._steps, *arguments)

    def _cool_down(self, steps: DeviceSteps, settings: MeasureSettings) -> None:
        """Read the temperature, and wait while it is too high."""
        if not self._has_zones or time.monotonic() - self._looked_at < _TEMPERATURE_S:
            return
        files = self._thermal_files(steps)
        zone = hottest_cpu_zone(files)
        self._has_zones = zone is not None
        if zone is not None and settings.max_temperature_c is not None:
            gate = TemperatureGate(settings.max_temperature_c, settings.cool_s)
            zone = gate.wait(lambda: self._thermal_files(steps), steps.session.where).after
        self._temperature_c = None if zone is None else zone.celsius
        self._looked_at = time.monotonic()

    def _thermal_files(self, steps: DeviceSteps) -> Files:
        steps.session.call_timeout_s = steps.limits.load_s
        return read_device(steps.session, "thermal")


def main() -> None:
    """Answer requests until the pool, whose process id is given, closes the channel or ends."""
    channel = Channel(int(sys.argv[1]))
    end_with_parent(int(sys.argv[2]))
    # It takes seconds: before a device is taken, and not on its time.
    from tvm import rpc  # noqa: F401

    worker = Worker()
    channel.send(READY)
    while True:
        try:
            request = channel.recv()
        except EOFError:
            return
        channel.send(worker.answer(request))


if __name__ == "__main__":
    main()
