"""One device at a time, got from the tracker and used through a worker process."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass

from autoglm_tvm.artifacts.worker_process import (
    WorkerEndedError,
    WorkerProcess,
    WorkerStuckError,
)
from autoglm_tvm.rpc.device_errors import CallEnd
from autoglm_tvm.rpc.farm.device_book import DeviceState
from autoglm_tvm.rpc.farm.pool_state import PoolState
from autoglm_tvm.rpc.farm.reply import Reply
from autoglm_tvm.rpc.tracker_client import DeviceAddress, TrackerClient
from autoglm_tvm.targets.errors import DefectError, MissingToolError, UserInputError

# How long the tracker may take, waiting for a device that comes free included.
TRACKER_S = 3.0
# What the worker gets beyond the deadlines that it keeps itself, before it is killed.
_MARGIN_S = 15.0
_STARTS = 3
_REFUSED_HINT = "start this version's autoglm-device-server there, and name CPUs that it has"
_WORKER = "autoglm_tvm.rpc.farm.worker"


@dataclass(frozen=True)
class Absence:
    """Why there is no device.

    Attributes
    ----------
    why
        For people.
    lost
        Whether it is more than a device that is busy.
    listed
        The devices that the tracker has; None if the tracker did not answer.
    """

    why: str
    lost: bool
    listed: tuple[str, ...] | None


class HeldDevice:
    """A device of the key, or none. One thread uses it; `interrupt` may be called from any.

    Attributes
    ----------
    name
        ``HOST:PORT`` of the device; empty while there is none.
    opened
        When its session began, by ``time.monotonic()``.
    jobs
        How many jobs the session has had.
    """

    def __init__(self, state: PoolState) -> None:
        self._state = state
        self._options = state.options
        self._process = WorkerProcess(_WORKER)
        self._asking = False
        self.name = ""
        self.opened = 0.0
        self.jobs = 0

    def prepare(self) -> None:
        """Start the worker process: importing TVM takes seconds, and not on a device's time.

        Raises
        ------
        DefectError
            It does not start, tried several times.
        """
        for attempt in range(_STARTS):
            try:
                self._process.start()
                return
            except (WorkerEndedError, WorkerStuckError) as error:
                if attempt + 1 == _STARTS or self._state.board.closing:
                    raise DefectError(f"cannot start a worker process: {error}") from error

    def interrupt(self) -> None:
        """Break off a request that is in progress."""
        if self._asking:
            self._process.kill()

    def ask(self, *request: object, timeout_s: float) -> Reply:
        """Ask the worker; it keeps the deadlines of the steps itself, and is killed after all.

        Raises
        ------
        WorkerEndedError, WorkerStuckError
            There is no answer; the session has ended with the process.
        DefectError
            Something happened that should not.
        """
        self._asking = True
        try:
            reply = self._process.ask(*request, timeout_s=timeout_s + _MARGIN_S)
        finally:
            self._asking = False
        if reply.defect:
            raise DefectError(f"a worker process failed:\n{reply.defect}")
        return reply

    def give_back(self) -> None:
        """Give the device back to the tracker, in good order."""
        if self.name:
            # If that fails, the connection is closed with the process.
            with contextlib.suppress(WorkerEndedError, WorkerStuckError):
                self.ask("close", timeout_s=0)
            self.forget()

    def forget(self) -> None:
        """Note that the session has ended."""
        self._state.let_go()
        self.name = ""

    def close(self) -> None:
        """Give the device back and end the worker process."""
        self.give_back()
        self._process.close()

    def get(self) -> Absence | None:
        """Get a device from the tracker, or say why there is none.

        Raises
        ------
        UserInputError
            The first device runs another server than ours, or lacks the CPUs that sessions shall
            use.
        DefectError
            The worker process does not start.
        """
        self.prepare()  # a device that was got waits only some seconds for us
        options, book = self._options, self._state.book
        listed: tuple[str, ...] | None = None
        try:
            with TrackerClient(options.tracker, TRACKER_S) as client:
                listed = tuple(client.addresses(options.key))
                if not listed:
                    return Absence("none is connected to the tracker", True, listed)
                if all(book.cooling(name) for name in listed):
                    why = "; ".join(s.message for s in book.status() if s.name in listed)
                    return Absence(f"quarantined, because {why}", True, listed)
                if all(book.cooling(name) or self._state.holds(name) for name in listed):
                    # An offer of a quarantined device would only be taken from other users.
                    return Absence("all others are in use or quarantined", False, listed)
                address = client.request(options.key)
        except MissingToolError as error:
            return Absence(error.what, listed is None, listed)
        name = f"{address.host}:{address.port}"
        if book.cooling(name):
            # Nobody comes for this offer; the device makes a new one after some seconds.
            return Absence("a device is quarantined, and others are busy", False, listed)
        if absence := self._open(address, listed):
            return absence
        self.name, self.opened, self.jobs = name, time.monotonic(), 0
        if book.state(name) is DeviceState.quarantined and (why := self._probe()):
            self.quarantine(f"the probe failed: {why}")
            return Absence(f"quarantined, because the probe failed: {why}", True, listed)
        book.ready(name)
        self._state.held(name)
        return None

    def quarantine(self, why: str) -> None:
        """Give the device back, and leave it alone for some time."""
        seconds = self._state.book.quarantine(self.name, why)
        self._state.event(f"device {self.name} is quarantined for {seconds:.0f} s: {why}")
        self.give_back()

    def _open(self, address: DeviceAddress, listed: tuple[str, ...]) -> Absence | None:
        """Open a session, or say why there is none."""
        options, book = self._options, self._state.book
        name = f"{address.host}:{address.port}"
        limit = options.limits.connect_s + 2 * options.limits.load_s
        request = ("open", address, options.key, options.limits, options.cpus)
        try:
            reply = self.ask(*request, timeout_s=limit)
        except (WorkerEndedError, WorkerStuckError) as error:
            reply = Reply(refusal=str(error))
        why = reply.refusal or (reply.failure.message if reply.failure else "")
        if not why:
            return None
        if reply.end is not CallEnd.refused:
            book.lost(name, why)
            return Absence(f"{name}: {why}", True, tuple(n for n in listed if n != name))
        if self._state.good.get() is None:
            # The first device already: better to say so at once than to wait for another one.
            raise UserInputError(why, where=f"device {name}", hint=_REFUSED_HINT)
        self._state.event(f"device {name} is not used: {why}")
        book.quarantine(name, why)
        return Absence(f"{name}: {why}", True, listed)

    def _probe(self) -> str:
        """Try a device whose quarantine is over; returns how that failed."""
        settings = self._options.settings
        request = ("task", "probe", settings, self._state.good.get(), settings)
        try:
            reply = self.ask(*request, timeout_s=self._options.limits.trial_s(settings))
        except (WorkerEndedError, WorkerStuckError) as error:
            return str(error)
        if why := reply.refusal or (reply.failure.message if reply.failure else ""):
            return why
        self._state.book.readmit(self.name)
        self._state.event(f"device {self.name} ran the probe well, and is used again")
        return ""
