"""What the threads of a `DevicePool` share."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from autoglm_tvm.artifacts.trial import Trial
from autoglm_tvm.rpc.farm.board import Board
from autoglm_tvm.rpc.farm.device_book import DeviceBook
from autoglm_tvm.rpc.farm.limits import Limits, MeasureSettings
from autoglm_tvm.targets.errors import MissingToolError

# A device that is only busy for a moment, with its last session's end for example, is no news.
_TELL_AFTER_S = 10.0


@dataclass(frozen=True)
class PoolOptions:
    """How a pool was set up; see `DevicePool`."""

    tracker: str
    key: str
    limits: Limits
    settings: MeasureSettings
    cpus: str
    on_event: Callable[[str], None]


class GoodTrial:
    """A copy of a trial that ran well, to try a device with that is in doubt. Thread-safe."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="autoglm-farm-"))
        self._lock = threading.Lock()
        self._trial: Trial | None = None

    def keep(self, trial: Trial) -> None:
        """Keep the first one; the caller may remove its library afterwards."""
        with self._lock:
            if self._trial is None:
                try:
                    copy = Path(shutil.copy(trial.library, self._folder / "probe.so"))
                except OSError:
                    return  # it is gone already; the next one will do
                self._trial = replace(trial, name="the probe", library=copy)

    def get(self) -> Trial | None:
        """Return it, if there is one."""
        with self._lock:
            return self._trial

    def remove(self) -> None:
        """Remove the copy."""
        shutil.rmtree(self._folder, ignore_errors=True)


@dataclass
class PoolState:
    """The pool's board of jobs, its book of devices, and how long it has been without any."""

    options: PoolOptions
    board: Board = field(default_factory=Board)
    good: GoodTrial = field(default_factory=GoodTrial)

    def __post_init__(self) -> None:
        self.book = DeviceBook(self.options.limits)
        self._lock = threading.Lock()
        self._held: dict[int, str] = {}  # by thread: two may believe for a moment to have it
        self._without_since: float | None = None  # by time.monotonic()
        self._why = ""
        self._told = False

    def event(self, message: str) -> None:
        """Tell the user."""
        self.options.on_event(message)

    def begin(self) -> None:
        """Start counting anew how long there is no device."""
        with self._lock:
            self._without_since, self._told = None, False

    def held(self, name: str) -> None:
        """Note that this thread has a device."""
        with self._lock:
            self._held[threading.get_ident()] = name
            since, self._without_since = self._without_since, None
            told, self._told = self._told, False
        if told and since is not None:
            self.event(f"device {name} is there after {time.monotonic() - since:.0f} s")

    def holds(self, name: str) -> bool:
        """Whether a thread has this device."""
        with self._lock:
            return name in self._held.values()

    def let_go(self) -> None:
        """Note that this thread has none any longer."""
        with self._lock:
            self._held.pop(threading.get_ident(), None)

    def waiting(self) -> str:
        """Say for what the pool waits; empty while it has a device."""
        with self._lock:
            if self._without_since is None:
                return ""
            begun = time.time() - (time.monotonic() - self._without_since)
            clock = time.strftime("%H:%M:%S", time.localtime(begun))
            return f"waiting for device {self.options.key}, since {clock}: {self._why}"

    def no_device(self, why: str, *, lost: bool) -> None:
        """Note that a thread can have none; ends the caller's wait if that is so for too long.

        ``lost``: tell the user at once, and not only if it goes on.
        """
        with self._lock:
            if self._held:
                return
            now = time.monotonic()
            if self._without_since is None:
                self._without_since = now
            self._why = why
            passed = now - self._without_since
            tell = not self._told and (lost or passed > _TELL_AFTER_S)
            self._told = self._told or tell
        if tell:
            self.event(self.waiting())
        if passed > self.options.limits.lost_timeout_s:
            self.board.fail(self._given_up(why, passed))

    def _given_up(self, why: str, passed: float) -> MissingToolError:
        return MissingToolError(
            f"no device of key {self.options.key!r} for {passed:.0f} s: {why}",
            where=f"tracker {self.options.tracker}",
            hint="connect the device again (see: autoglm-tvm device list), then go on with "
            "--resume",
        )
