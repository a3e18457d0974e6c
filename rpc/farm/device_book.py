"""What the pool knows about each device: whether it works, fails, is lost or locked away."""

from __future__ import annotations

import threading
import time
from dataclasses import asdict, dataclass, field, replace
from enum import Enum
from typing import Any

from autoglm_tvm.rpc.farm.limits import Limits


class DeviceState(str, Enum):
    """What a device does."""

    ready = "ready"
    busy = "busy"
    lost = "lost"
    quarantined = "quarantined"


@dataclass(frozen=True)
class DeviceStatus:
    """One device, for a display.

    Attributes
    ----------
    name
        ``HOST:PORT`` of its server, as the tracker has it.
    since
        Time (seconds since 1970) of the last change of state.
    trials, failures
        How many jobs it has done, and how many of them failed.
    failures_in_a_row
        Different trials that failed since the last good one.
    message
        Why it is lost or quarantined.
    """

    name: str
    state: DeviceState
    since: float
    trials: int = 0
    failures: int = 0
    failures_in_a_row: int = 0
    temperature_c: float | None = None
    message: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "state": self.state.value}


@dataclass
class _Entry:
    status: DeviceStatus
    failed: set[str] = field(default_factory=set)
    # Of a quarantine: its end by time.monotonic(), and how long the next one will last.
    until: float = 0.0
    next_s: float = 0.0


class DeviceBook:
    """Knows all devices that the pool has ever had. Thread-safe."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}

    def status(self) -> list[DeviceStatus]:
        """Return all devices, by name."""
        with self._lock:
            return [self._entries[name].status for name in sorted(self._entries)]

    def state(self, name: str) -> DeviceState | None:
        """Return a device's state; None if it is unknown."""
        with self._lock:
            return self._entries[name].status.state if name in self._entries else None

    def cooling(self, name: str) -> bool:
        """Whether a device is quarantined and not yet to be tried again."""
        with self._lock:
            entry = self._entries.get(name)
            return entry is not None and time.monotonic() < entry.until

    def ready(self, name: str) -> None:
        """Note that a device is connected; one that was lost at this host is forgotten."""
        host = name.rpartition(":")[0]
        with self._lock:
            for other, entry in list(self._entries.items()):
                lost = entry.status.state is DeviceState.lost
                if lost and other != name and other.rpartition(":")[0] == host:
                    del self._entries[other]
            self._change(name, DeviceState.ready)

    def busy(self, name: str) -> None:
        """Note that a device has work."""
        with self._lock:
            self._change(name, DeviceState.busy)

    def lost(self, name: str, why: str) -> None:
        """Note that a device cannot be reached."""
        with self._lock:
            self._change(name, DeviceState.lost, why)

    def done(self, name: str, temperature_c: float | None) -> None:
        """Note a job that was done well."""
        with self._lock:
            entry = self._change(name, DeviceState.ready)
            entry.failed.clear()
            entry.next_s = self._limits.quarantine_s
            entry.status = replace(
                entry.status,
                trials=entry.status.trials + 1,
                failures_in_a_row=0,
                temperature_c=temperature_c,
            )

    def failed(self, name: str, identity: str) -> bool:
        """Note a trial that failed; whether it is one too many in a row."""
        with self._lock:
            entry = self._change(name, DeviceState.ready)
            entry.failed.add(identity)
            entry.status = replace(
                entry.status,
                trials=entry.status.trials + 1,
                failures=entry.status.failures + 1,
                failures_in_a_row=len(entry.failed),
            )
            return len(entry.failed) >= self._limits.failures

    def quarantine(self, name: str, why: str) -> float:
        """Lock a device away; each time in a row for twice as long. Returns the seconds."""
        with self._lock:
            entry = self._change(name, DeviceState.quarantined, why)
            seconds = entry.next_s
            entry.until = time.monotonic() + seconds
            entry.next_s = 2 * seconds
            return seconds

    def readmit(self, name: str) -> None:
        """Let a device out of quarantine."""
        with self._lock:
            entry = self._change(name, DeviceState.ready)
            entry.failed.clear()
            entry.status = replace(entry.status, failures_in_a_row=0)

    def _change(self, name: str, state: DeviceState, message: str = "") -> _Entry:
        now = time.time()
        if name not in self._entries:
            new = DeviceStatus(name, state, now)
            self._entries[name] = _Entry(new, next_s=self._limits.quarantine_s)
        entry = self._entries[name]
        if entry.status.state is not state or entry.status.message != message:
            entry.status = replace(entry.status, state=state, since=now, message=message)
        return entry
