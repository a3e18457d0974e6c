"""How long each step of a trial may take, how it is measured, and when a device is given up."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MeasureSettings:
    """How one kernel is measured.

    Attributes
    ----------
    warmup_ms
        For how long it runs before it is measured (at least once).
    samples, sample_us
        How many samples are taken, and how long one lasts (at least one run).
    limit_ms
        After this time no further sample is begun.
    max_temperature_c
        Above it the device is left to cool first, if it shows its temperature; None: never.
    cool_s
        For how long at most.
    """

    warmup_ms: int = 20
    samples: int = 10
    sample_us: int = 5000
    limit_ms: int = 1000
    max_temperature_c: float | None = None
    cool_s: float = 300


@dataclass(frozen=True)
class Limits:
    """Deadlines in seconds, one for every wait, and what is tolerated.

    Attributes
    ----------
    connect_s
        Until a device that the tracker has given answers.
    upload_s, load_s
        For sending one library, and for loading it on the device.
    prepare_s
        For making and filling arguments on the device.
    run_s
        For the runs of one measurement, beyond ``MeasureSettings.limit_ms``; then the kernel
        counts as one that does not end.
    compare_s
        For one check or comparison on the device, all its steps together.
    doubt_s
        When a kernel did not end, its device must be there again within this time (the server
        needs some seconds to notice, and to kill the session); else the device is to blame.
    idle_s
        A device that nothing was asked of for so long goes back to the tracker.
    hold_s
        A device that is kept busy for so long goes back as well, so that others who wait for it
        get their turn.
    lost_timeout_s
        When no device of the key can be had for so long, measuring ends with an error.
    failures
        After so many trials in a row that failed, a device is quarantined.
    quarantine_s
        For so long at first; doubled each time that the probe kernel fails afterwards.
    devices
        How many devices are used at once; each takes a worker process of 0.2 GB.
    attempts
        How often a trial is begun on a device that then goes away, before it takes the blame.
    """

    connect_s: float = 15
    upload_s: float = 60
    load_s: float = 30
    prepare_s: float = 60
    run_s: float = 10
    compare_s: float = 120
    doubt_s: float = 30
    idle_s: float = 5
    hold_s: float = 120
    lost_timeout_s: float = 600
    failures: int = 5
    quarantine_s: float = 30
    devices: int = 16
    attempts: int = 3

    def trial_s(self, settings: MeasureSettings) -> float:
        """How long one measurement may take at most, all steps together."""
        steps = self.upload_s + 2 * self.load_s + self.prepare_s + self.run_s
        return steps + 1e-3 * settings.limit_ms + settings.cool_s
