"""The jobs of one call to a `DevicePool`, between the caller's thread and those of the devices."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from autoglm_tvm.artifacts.trial import Failure
from autoglm_tvm.rpc.farm.limits import MeasureSettings


@dataclass
class Job:
    """One task for a device.

    Attributes
    ----------
    index
        Its place among the caller's.
    task, settings, arguments
        A function of `tasks`, how to measure in it, and what it is called with.
    name, identity
        For messages, and what tells different trials apart.
    limit_s
        How long the device may take for it, all steps together.
    attempts
        How often it was begun on a device that went away.
    batch
        The call that it belongs to; given by the board.
    """

    index: int
    task: str
    settings: MeasureSettings
    arguments: tuple[Any, ...]
    name: str
    identity: str
    limit_s: float
    attempts: int = 0
    batch: int = 0


@dataclass(frozen=True)
class Outcome:
    """What became of a job: a value or a failure, and where."""

    value: Any = None
    failure: Failure | None = None
    side: int | None = None
    device: str = ""
    temperature_c: float | None = None


class Board:
    """Jobs that wait for a device, and those that are done. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[Job] = deque()
        self._done: deque[tuple[Job, Outcome]] = deque()
        self._error: Exception | None = None
        self._batch = 0
        self._closing = False

    @property
    def closing(self) -> bool:
        """Whether all threads shall end."""
        return self._closing

    def begin(self, jobs: Iterable[Job]) -> None:
        """Give out new jobs; what is left of earlier ones is forgotten."""
        with self._changed:
            self._batch += 1
            self._error = None
            self._done.clear()
            self._waiting = deque(jobs)
            for job in self._waiting:
                job.batch = self._batch
            self._changed.notify_all()

    def drop(self) -> None:
        """Forget all jobs, those in progress as well."""
        self.begin(())

    def close(self) -> None:
        """Have all threads end."""
        with self._changed:
            self._closing = True
            self._waiting.clear()
            self._changed.notify_all()

    def wait_for_work(self, timeout_s: float) -> bool:
        """Wait until a job waits or the board closes; whether one does."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing, timeout_s)
            return bool(self._waiting)

    def pause(self, seconds: float) -> None:
        """Wait so long, or until the board closes."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing, seconds)

    def take(self) -> Job | None:
        """Return the next job; None if there is none."""
        with self._changed:
            return self._waiting.popleft() if self._waiting else None

    def put_back(self, job: Job) -> None:
        """Have a job done by the next device that is free."""
        with self._changed:
            if job.batch == self._batch and not self._closing:
                self._waiting.appendleft(job)
                self._changed.notify_all()

    def finish(self, job: Job, outcome: Outcome) -> None:
        """Hand in a job's outcome."""
        with self._changed:
            if job.batch == self._batch:
                self._done.append((job, outcome))
                self._changed.notify_all()

    def fail(self, error: Exception) -> None:
        """End the caller's wait with an error."""
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()

    def collect(self, timeout_s: float) -> list[tuple[Job, Outcome]]:
        """Wait for outcomes; raises what `fail` was given when all outcomes were collected."""
        with self._changed:
            self._changed.wait_for(lambda: self._done or self._error, timeout_s)
            done = list(self._done)
            self._done.clear()
            if not done and self._error is not None:
                raise self._error
            return done
