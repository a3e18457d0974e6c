"""Energy of a measurement, where the system tells it: RAPL counters, or the battery's current."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from autoglm_tvm.rpc.measure.device_files import Files, number

# The counters of whole packages; intel-rapl:0:0 is a part of intel-rapl:0.
_PACKAGE = re.compile(r"/sys/class/powercap/([a-z-]*rapl[a-z-]*:\d+)/energy_uj$")
_SUPPLY = re.compile(r"(/sys/class/power_supply/([^/]+))/type$")
# Microamperes and microvolts by the kernel's rule. Some drivers give thousandths; no phone that
# computes draws less than 20 mA, and no cell has less than 0.1 V.
_LEAST_MICROAMPERES, _LEAST_MICROVOLTS = 20_000, 100_000
NOT_EXPOSED = "not exposed"


@dataclass(frozen=True)
class PowerReading:
    """Power or energy at one moment.

    Attributes
    ----------
    source
        Whose it is; empty where nothing can be said.
    watts
        Drawn from the battery now.
    joules
        A counter's reading, from an arbitrary start.
    reason
        Why nothing can be said.
    """

    source: str = ""
    watts: float | None = None
    joules: float | None = None
    reason: str = NOT_EXPOSED


def read_power(files: Files) -> PowerReading:
    """Return what the files of the group ``power`` say; energy counters go before the battery."""
    packages = {}
    for path in files:
        match = _PACKAGE.fullmatch(path)
        value = number(files, path) if match else None
        if match and value is not None:
            packages[match[1]] = value
    if packages:
        return PowerReading(
            f"RAPL {', '.join(sorted(packages))}", None, sum(packages.values()) / 1e6
        )
    return _read_battery(files)


def _read_battery(files: Files) -> PowerReading:
    batteries = []
    for path in files:
        match = _SUPPLY.fullmatch(path)
        if match and files[path].strip() == "Battery":
            current = number(files, f"{match[1]}/current_now")
            voltage = number(files, f"{match[1]}/voltage_now")
            if current is not None and voltage:
                batteries.append((match[2] != "battery", match[2], current, voltage))
    if not batteries:
        return PowerReading()
    # Fuel gauges show the same cell a second time; `battery` is Android's own.
    _, name, current, voltage = min(batteries)
    status = files.get(f"/sys/class/power_supply/{name}/status", "").strip()
    if status != "Discharging":
        # The current is then the charger's, and the sign does not help: drivers disagree on it.
        reason = f"the battery is not discharging (status: {status or 'unknown'})"
        return PowerReading(reason=f"{reason}, so its current is not what the device uses")
    amperes = abs(current) / (1e6 if abs(current) >= _LEAST_MICROAMPERES else 1e3)
    volts = voltage / (1e6 if voltage >= _LEAST_MICROVOLTS else 1e3)
    return PowerReading(f"battery {name!r}, current x voltage", amperes * volts, None)


@dataclass(frozen=True)
class Energy:
    """Energy of the whole device, or of the CPU's packages (RAPL), while the network ran.

    Attributes
    ----------
    source
        Where it comes from; empty if it could not be measured.
    joules, seconds
        Integrated over this time; None if it could not be measured.
    runs
        Of the network in this time.
    reason
        Why it could not be measured.
    """

    source: str = ""
    joules: float | None = None
    seconds: float | None = None
    runs: int = 0
    reason: str = NOT_EXPOSED

    @property
    def watts(self) -> float | None:
        """Mean power."""
        return self.joules / self.seconds if self.joules is not None and self.seconds else None

    @property
    def joules_per_run(self) -> float | None:
        """Energy of one run, the device's idle power included."""
        return self.joules / self.runs if self.joules is not None and self.runs else None

    def to_json(self) -> dict[str, Any]:
        """Plain values, with the mean power and the energy of a run."""
        return {
            **asdict(self),
            "reason": self.reason if self.joules is None else "",
            "watts": self.watts,
            "joules_per_run": self.joules_per_run,
        }


class EnergyMeter:
    """Integrates readings over time (trapezoids for power, differences for counters)."""

    def __init__(self) -> None:
        self._last: tuple[float, PowerReading] | None = None
        self._joules = 0.0
        self._seconds = 0.0
        self._runs = 0
        self._broken = ""
        self._source = ""

    def add(self, at: float, reading: PowerReading, runs: int) -> float | None:
        """Take in a reading at a time in seconds; return the power since the last one.

        Parameters
        ----------
        runs
            Of the network since the last reading.
        """
        last, self._last = self._last, (at, reading)
        if not reading.source:
            self._broken = reading.reason
            return None
        self._source = reading.source
        if last is None or last[1].source != reading.source or at <= last[0]:
            return reading.watts
        seconds = at - last[0]
        if reading.joules is not None and last[1].joules is not None:
            joules = reading.joules - last[1].joules
            if joules < 0:  # the counter has started anew
                return None
        else:
            joules = seconds * ((reading.watts or 0.0) + (last[1].watts or 0.0)) / 2
        self._joules += joules
        self._seconds += seconds
        self._runs += runs
        return joules / seconds

    def result(self) -> Energy:
        """Return the integral; none if any reading failed, since a part of it would mislead."""
        if self._broken:
            return Energy(reason=self._broken)
        if not self._seconds:
            return Energy(reason="too short to be measured" if self._source else NOT_EXPOSED)
        return Energy(self._source, self._joules, self._seconds, self._runs, "")
