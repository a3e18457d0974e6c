"""The thread that has a device do jobs, and judges what failed: the trial, or the device."""

from __future__ import annotations

import threading
import time
import traceback
from dataclasses import dataclass

from autoglm_tvm.artifacts.trial import Failure, FailureKind
from autoglm_tvm.artifacts.worker_process import WorkerEndedError, WorkerStuckError
from autoglm_tvm.rpc.device_errors import CallEnd
from autoglm_tvm.rpc.farm.board import Job, Outcome
from autoglm_tvm.rpc.farm.held_device import TRACKER_S, Absence, HeldDevice
from autoglm_tvm.rpc.farm.pool_state import PoolState
from autoglm_tvm.rpc.farm.reply import Reply
from autoglm_tvm.rpc.tracker_client import TrackerClient
from autoglm_tvm.targets.errors import AutoglmError, DefectError, MissingToolError

_PAUSE_S = 0.5
# So long a device is left to others who wait for it, when it was held for `Limits.hold_s`.
_OTHERS_S = 1.0


@dataclass(frozen=True)
class _Doubt:
    """A job that timed out, and whose device must show that it lives."""

    job: Job
    failure: Failure
    side: int | None
    device: str
    since: float


class DeviceThread(threading.Thread):
    """Does jobs of the board on one device at a time, any of the key.

    Attributes
    ----------
    error
        What ended it before the board was closed.
    """

    def __init__(self, state: PoolState) -> None:
        super().__init__(name="autoglm-device", daemon=True)
        self.error: AutoglmError | None = None
        self._state = state
        self._board = state.board
        self._limits = state.options.limits
        self._device = HeldDevice(state)
        self._doubt: _Doubt | None = None

    def run(self) -> None:
        """Work until the board closes."""
        try:
            self._device.prepare()
            while not self._board.closing:
                self._next()
        except AutoglmError as error:
            self.error = error
        except Exception:
            self.error = DefectError(f"a device's thread failed:\n{traceback.format_exc()}")
        finally:
            self._device.close()

    def interrupt(self) -> None:
        """Break off a job that is in progress, because the board has closed."""
        self._device.interrupt()

    def _next(self) -> None:
        if self._doubt is None and not self._board.wait_for_work(self._limits.idle_s):
            self._device.give_back()  # others may want it
        elif not self._device.name:
            self._get_device()
        elif job := self._board.take():
            self._do(job)

    def _get_device(self) -> None:
        absence = self._device.get()
        doubt = self._doubt
        if absence is not None:
            if doubt is not None and self._is_lost(doubt, absence):
                self._state.book.lost(doubt.device, absence.why)
                self._doubt = None
                self._repeat(doubt.job, doubt.failure.message)
            self._state.no_device(absence.why, lost=absence.lost)
            self._board.pause(_PAUSE_S)
        elif doubt is not None:
            self._doubt = None
            if doubt.device == self._device.name:
                self._finish_failed(doubt.job, doubt.failure, doubt.side)
            else:
                self._repeat(doubt.job, doubt.failure.message)

    def _is_lost(self, doubt: _Doubt, absence: Absence) -> bool:
        if absence.listed is not None and doubt.device not in absence.listed:
            return True
        return time.monotonic() - doubt.since > self._limits.doubt_s

    def _do(self, job: Job) -> None:
        device, book = self._device, self._state.book
        name = device.name
        book.busy(name)
        device.jobs += 1
        try:
            reply = device.ask(
                *["task", job.task, job.settings, *job.arguments], timeout_s=job.limit_s
            )
        except WorkerStuckError:
            message = f"{job.name} did not end within {job.limit_s:g} s"
            self._put_in_doubt(job, Failure(FailureKind.time_out, message), None)
        except WorkerEndedError as error:
            device.forget()
            book.ready(name)
            if not self._board.closing:
                self._repeat(job, str(error))
        else:
            if reply.refusal:
                self._board.put_back(job)
                device.quarantine(reply.refusal)
            elif reply.failure is not None:
                self._judge(job, reply.failure, reply)
            else:
                self._finish(job, reply)

    def _finish(self, job: Job, reply: Reply) -> None:
        device = self._device
        self._state.book.done(device.name, reply.temperature_c)
        if job.task == "measure":
            self._state.good.keep(job.arguments[0])
        outcome = Outcome(reply.value, device=device.name, temperature_c=reply.temperature_c)
        self._board.finish(job, outcome)
        if time.monotonic() - device.opened > self._limits.hold_s:
            device.give_back()
            self._board.pause(_OTHERS_S)

    def _judge(self, job: Job, failure: Failure, reply: Reply) -> None:
        """Decide whether the trial or the device is to blame."""
        device, end = self._device, reply.end
        if end is CallEnd.expired:
            self._put_in_doubt(job, failure, reply.side)
        elif end is CallEnd.gone:
            self._judge_lost_connection(job, failure, reply.side)
        elif end is CallEnd.limit and device.jobs > 1:
            # The server's time limit for sessions was used up by the trials before.
            self._state.book.ready(device.name)
            device.forget()
            self._board.put_back(job)
        else:
            self._finish_failed(job, failure, reply.side)
            if end in (CallEnd.killed, CallEnd.limit) and device.name:
                device.forget()

    def _put_in_doubt(self, job: Job, failure: Failure, side: int | None) -> None:
        """Blame the trial if its device can be had again, the device if not."""
        self._doubt = _Doubt(job, failure, side, self._device.name, time.monotonic())
        self._device.forget()

    def _judge_lost_connection(self, job: Job, failure: Failure, side: int | None) -> None:
        # Our server tells of a crash before the connection ends. So the server itself has ended,
        # or the device has gone - unless the same happens again with this trial.
        name = self._device.name
        self._board.pause(_PAUSE_S)
        try:
            with TrackerClient(self._state.options.tracker, TRACKER_S) as client:
                registered = name in client.addresses(self._state.options.key)
        except MissingToolError:
            registered = False
        if registered and job.attempts > 0:
            message = f"{failure.message}, twice, while the device's server went on"
            self._finish_failed(job, Failure(FailureKind.crash, message), side)
        elif registered:
            self._state.book.ready(name)
            self._repeat(job, failure.message)
        else:
            self._state.book.lost(name, failure.message)
            self._state.event(f"device {name} is lost: {failure.message}")
            self._repeat(job, failure.message)
        if self._device.name:
            self._device.forget()

    def _repeat(self, job: Job, message: str) -> None:
        """Have a trial repeated for which the device is blamed, unless that was often enough."""
        job.attempts += 1
        if job.attempts < self._limits.attempts:
            self._board.put_back(job)
            return
        message = f"the device was lost {job.attempts} times while this ran; at last: {message}"
        self._board.finish(job, Outcome(failure=Failure(FailureKind.device_lost, message)))

    def _finish_failed(self, job: Job, failure: Failure, side: int | None) -> None:
        """Hand in a trial's own failure. Too many in a row are the device's."""
        name = self._device.name
        self._board.finish(job, Outcome(failure=failure, side=side, device=name))
        if self._state.book.failed(name, job.identity):
            count = self._limits.failures
            self._device.quarantine(
                f"{count} trials in a row failed there, the last one: {failure.message}"
            )
