"""Runs tuning trials on all devices of one key; the road of a trial is told in `DevicePool`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from autoglm_tvm.artifacts.trial import (
    Check,
    Comparison,
    Failure,
    Measurement,
    Trial,
)
from autoglm_tvm.rpc.farm.board import Job, Outcome
from autoglm_tvm.rpc.farm.device_book import DeviceStatus
from autoglm_tvm.rpc.farm.device_thread import DeviceThread
from autoglm_tvm.rpc.farm.limits import Limits, MeasureSettings
from autoglm_tvm.rpc.farm.pool_state import PoolOptions, PoolState
from autoglm_tvm.rpc.tracker_client import TrackerClient, parse_address
from autoglm_tvm.targets.errors import AutoglmError

_Result = TypeVar("_Result")
_TRACKER_S = 10.0
# How often the caller's thread looks for devices that have joined.
_LOOK_S = 2.0
_CLOSE_S = 30.0


class DevicePool:
    """Measures, compares and checks kernels on all devices of one key; a context manager.

    Every device has a thread here, a worker process (see `worker`), and there one session that is
    used for many trials. What a trial does is its own failure: it crashes, does not end, is
    refused. If the device goes away instead, the trial is repeated, on this device when it is back
    or on another one. Devices that join later are used as well.

    One thread may use it at a time.

    Attributes
    ----------
    on_tick
        Called about twice a second while it works or waits, from the caller's thread.

    Parameters
    ----------
    tracker
        ``HOST:PORT``.
    key
        The devices' key at the tracker.
    limits
        Deadlines, and when a device is given up.
    settings
        How kernels are measured.
    cpus
        Which CPUs of the device to use, as in ``4-7``; empty: as its server was told.
    on_event
        Called with one sentence when a device is lost, found, quarantined or used again; from
        another thread.

    Raises
    ------
    UserInputError
        The tracker's address is malformed.
    MissingToolError
        On entry: no tracker is there, or no device of the key; the message has the keys that are.
        Later: there was none for ``limits.lost_timeout_s``.
    """

    def __init__(
        self,
        tracker: str,
        key: str,
        *,
        limits: Limits | None = None,
        settings: MeasureSettings | None = None,
        cpus: str = "",
        on_event: Callable[[str], None] | None = None,
    ) -> None:
        parse_address(tracker)
        self._options = PoolOptions(
            tracker,
            key,
            limits or Limits(),
            settings or MeasureSettings(),
            cpus,
            on_event or (lambda _: None),
        )
        self._state: PoolState | None = None
        self._threads: list[DeviceThread] = []
        self._looked_at = 0.0
        self.on_tick: Callable[[], None] = lambda: None

    def __enter__(self) -> DevicePool:
        with TrackerClient(self._options.tracker, _TRACKER_S) as client:
            total = client.require(self._options.key).total
        self._state = PoolState(self._options)
        self._start_threads(total)
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Break off what is in progress, give the devices back and end all processes."""
        state, self._state = self._state, None
        if state is None:
            return
        state.board.close()
        for thread in self._threads:
            thread.interrupt()
        deadline = time.monotonic() + _CLOSE_S
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._threads = []
        state.good.remove()

    def status(self) -> list[DeviceStatus]:
        """Return what each device does."""
        return self._open.book.status()

    def waiting(self) -> str:
        """Say for what the pool waits, and since when; empty while it has a device."""
        return self._open.waiting()

    def measure(
        self,
        trials: Sequence[Trial],
        *,
        settings: MeasureSettings | None = None,
        on_result: Callable[[int, Measurement], None] | None = None,
    ) -> list[Measurement]:
        """Measure kernels, on all devices at once.

        Parameters
        ----------
        trials
            Which.
        settings
            How, if not as the pool was told.
        on_result
            Called with index and measurement as they come in; from this thread.

        Returns
        -------
        list[Measurement]
            One for each trial, in their order.
        """
        how = settings or self._options.settings
        limit = self._limits.trial_s(how)
        jobs = [
            Job(i, "measure", how, (trial, how), trial.name, _identity(trial), limit)
            for i, trial in enumerate(trials)
        ]
        return self._run(jobs, _measurement, on_result)

    def compare(
        self,
        pairs: Sequence[tuple[Trial, Trial]],
        *,
        settings: MeasureSettings | None = None,
        on_result: Callable[[int, Comparison], None] | None = None,
    ) -> list[Comparison]:
        """Measure the two kernels of each pair in turns, in one session on one device."""
        how = settings or self._options.settings
        limit = self._limits.compare_s + how.cool_s
        jobs = [
            Job(i, "compare", how, (first, second, how), f"{first.name} and {second.name}",
                f"{_identity(first)} {_identity(second)}", limit)
            for i, (first, second) in enumerate(pairs)
        ]  # fmt: skip
        return self._run(jobs, _comparison, on_result)

    def check(
        self,
        checks: Sequence[Check],
        *,
        on_result: Callable[[int, Failure | None], None] | None = None,
    ) -> list[Failure | None]:
        """Run candidates and references, and compare what they compute; None where it is right."""
        how = replace(self._options.settings, max_temperature_c=None)
        jobs = [
            Job(i, "check", how, (check,), check.candidate.name, _identity(check.candidate),
                self._limits.compare_s)
            for i, check in enumerate(checks)
        ]  # fmt: skip
        return self._run(jobs, _checked, on_result)

    @property
    def _open(self) -> PoolState:
        if self._state is None:
            raise RuntimeError("the pool is not open: use it as a context manager")
        return self._state

    @property
    def _limits(self) -> Limits:
        return self._options.limits

    def _run(
        self,
        jobs: list[Job],
        result: Callable[[Outcome], _Result],
        on_result: Callable[[int, _Result], None] | None,
    ) -> list[_Result]:
        state = self._open
        state.begin()
        state.board.begin(jobs)
        found: dict[int, _Result] = {}
        try:
            while len(found) < len(jobs):
                for job, outcome in state.board.collect(0.5):
                    found[job.index] = result(outcome)
                    if on_result is not None:
                        on_result(job.index, found[job.index])
                self.on_tick()
                self._look_at_threads()
                self._look_for_devices()
        finally:
            state.board.drop()  # Ctrl-C, or a device that was given up: leave the rest
        return [found[i] for i in range(len(jobs))]

    def _look_at_threads(self) -> None:
        for thread in self._threads:
            if thread.error is not None:
                raise thread.error

    def _look_for_devices(self) -> None:
        if time.monotonic() - self._looked_at < _LOOK_S:
            return
        self._looked_at = time.monotonic()
        # Those who need a device tell of a tracker that is gone.
        with (
            contextlib.suppress(AutoglmError),
            TrackerClient(self._options.tracker, _TRACKER_S) as client,
        ):
            self._start_threads(len(client.addresses(self._options.key)))

    def _start_threads(self, wanted: int) -> None:
        while len(self._threads) < min(wanted, self._limits.devices):
            thread = DeviceThread(self._open)
            thread.start()
            self._threads.append(thread)


def _identity(trial: Trial) -> str:
    return f"{trial.library}:{trial.function}"


def _measurement(outcome: Outcome) -> Measurement:
    samples: Any = outcome.value or ()
    return Measurement(samples, outcome.device, outcome.failure, outcome.temperature_c)


def _comparison(outcome: Outcome) -> Comparison:
    if outcome.failure is None:
        return replace(outcome.value, device=outcome.device)
    # Which one it was is not known if the device was lost, or the worker.
    ratio = {0: 0.0, 1: float("inf")}.get(-1 if outcome.side is None else outcome.side, 1.0)
    never = float("inf")
    return Comparison(
        *[ratio, ratio, ratio, never, never, 0, outcome.device, outcome.failure, outcome.side]
    )


def _checked(outcome: Outcome) -> Failure | None:
    return outcome.failure or outcome.value
