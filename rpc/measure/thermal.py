"""Thermal zones: which ones are the CPU's, how hot they are, and waiting until they have cooled."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from autoglm_tvm.rpc.measure.device_files import Files, number
from autoglm_tvm.targets.errors import CheckFailedError, MissingToolError

_ZONE = re.compile(r"(.*/thermal_zone\d+)/temp$")
# What vendors call the zones at the cores, the likeliest to mean what we ask for first: cpu-1-2
# (Qualcomm), BIG, MID and LITTLE (Exynos, Tensor), mtktscpu (MediaTek), x86_pkg_temp (Intel); then
# those of the whole chip.
_CPU_NAMES = (
    re.compile(r"cpu|^(big|mid|little)\b|cluster|^apc|core", re.IGNORECASE),
    re.compile(r"pkg|package|soc|tsens|^ap\b|exynos|bcm\d", re.IGNORECASE),
)
# Degrees that a running chip cannot have: switched off sensors answer 0, -40 or -274.
_COLDEST, _HOTTEST = 1.0, 140.0
_POLL_S = 5.0


@dataclass(frozen=True)
class Zone:
    """A thermal zone: its folder's name, the vendor's name, degrees Celsius."""

    name: str
    type: str
    celsius: float

    @property
    def label(self) -> str:
        """Both names, for people."""
        return f"{self.type} ({self.name})" if self.type else self.name

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def read_zones(files: Files) -> list[Zone]:
    """Return the zones with a sensible temperature, from the files of the group ``thermal``."""
    zones = []
    for path in files:
        match = _ZONE.fullmatch(path)
        value = number(files, path) if match else None
        if match is None or value is None:
            continue
        celsius = _celsius(value)
        if _COLDEST < celsius < _HOTTEST:
            folder = match[1]
            kind = files.get(f"{folder}/type", "").strip()
            zones.append(Zone(folder.rpartition("/")[2], kind, celsius))
    return sorted(zones, key=lambda zone: int(zone.name.removeprefix("thermal_zone")))


def _celsius(value: int) -> float:
    """Degrees of a zone's ``temp``: thousandths by the kernel's rule, but some drivers differ."""
    if abs(value) >= 1000:
        return value / 1000
    # Tenths, or whole degrees: no chip that answers is above 140 of them.
    return value / 10 if abs(value) > _HOTTEST else float(value)


def cpu_zones(zones: Sequence[Zone]) -> list[Zone]:
    """Return the zones at the cores, else those of the chip, else all but the battery's."""
    for names in _CPU_NAMES:
        found = [zone for zone in zones if names.search(zone.type)]
        if found:
            return found
    return [zone for zone in zones if "batt" not in zone.type.lower()] or list(zones)


def hottest_cpu_zone(files: Files) -> Zone | None:
    """Return the hottest of the CPU's zones; None where none can be read."""
    return max(cpu_zones(read_zones(files)), key=lambda zone: zone.celsius, default=None)


@dataclass(frozen=True)
class GateResult:
    """How the wait for a cool device went: limit and hottest CPU zone before and after."""

    limit_c: float
    waited_s: float
    before: Zone
    after: Zone

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


class TemperatureGate:
    """Waits until the CPU is cool enough to measure.

    Parameters
    ----------
    limit_c
        Degrees Celsius that the hottest CPU zone must not exceed.
    timeout_s
        How long to wait at most.
    clock, sleep
        Time in seconds; tests bring their own.
    """

    def __init__(
        self,
        limit_c: float,
        timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.limit_c = limit_c
        self.timeout_s = timeout_s
        self._clock = clock
        self._sleep = sleep

    def wait(
        self, read: Callable[[], Files], where: str, report: Callable[[str], None] | None = None
    ) -> GateResult:
        """Return when the hottest CPU zone is at the limit or below.

        Parameters
        ----------
        read
            Returns the device's files of the group ``thermal``.
        where
            The device, for messages.
        report
            Told, at every look, how hot it still is.

        Raises
        ------
        CheckFailedError
            It does not cool down in time.
        MissingToolError
            It has no thermal zone that can be read.
        """
        start = self._clock()
        first: Zone | None = None
        while True:
            zone = hottest_cpu_zone(read())
            if zone is None:
                raise MissingToolError(
                    "no thermal zone can be read, so there is no temperature to wait for",
                    where=where,
                    hint="measure without a limit (--max-temperature none)",
                )
            first = first or zone
            waited = self._clock() - start
            if zone.celsius <= self.limit_c:
                return GateResult(self.limit_c, waited, first, zone)
            if waited >= self.timeout_s:
                raise self._too_hot(where, first, zone, waited)
            if report is not None:
                report(
                    f"waiting for {zone.label} to cool from {zone.celsius:.1f} to "
                    f"{self.limit_c:g} °C"
                )
            self._sleep(min(_POLL_S, self.timeout_s - waited))

    def _too_hot(self, where: str, first: Zone, now: Zone, waited: float) -> CheckFailedError:
        return CheckFailedError(
            f"thermal zone {now.label} is at {now.celsius:.1f} °C after {waited / 60:.1f} min of "
            f"waiting, above the limit of {self.limit_c:g} °C ({first.celsius:.1f} °C at first)",
            where=where,
            hint="let the device cool: out of its case, off the charger, screen off; or allow more "
            "with --max-temperature and --cool-timeout",
        )
