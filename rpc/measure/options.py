"""How to measure: what the command line's options say."""

from __future__ import annotations

from dataclasses import dataclass

from autoglm_tvm.rpc.measure.cores import WORDS, parse_cpus
from autoglm_tvm.targets.errors import UserInputError


@dataclass(frozen=True)
class BenchOptions:
    """How to measure.

    Attributes
    ----------
    cpus
        Cores to run on: ``big`` (all but the little ones), ``little``, ``all``, or a list.
    threads
        Worker threads; by default what the bundle was compiled for, at most one for each core.
    samples
        Timed runs; by default as many as fit into 10 s, from 10 to 2000.
    warm_up_s
        Longest warm-up. It ends when the latency is stable; 0 leaves it out.
    sustained_min
        Minutes under load behind the samples.
    max_temperature_c
        Wait until the hottest CPU zone is at this temperature or below; infinity does not wait.
        By default 50 °C on a device that shows a thermal zone, and no wait on this machine, as PCs
        are as warm when they are idle.
    cool_timeout_min
        How long to wait for it.
    profile
        Whether to time each kernel too.
    """

    cpus: str = "big"
    threads: int | None = None
    samples: int | None = None
    warm_up_s: float = 20.0
    sustained_min: float = 0.0
    max_temperature_c: float | None = None
    cool_timeout_min: float = 10.0
    profile: bool = False

    def check(self) -> None:
        """Raise `UserInputError` for what cannot be meant."""
        wrong = [
            ("--threads", self.threads, self.threads is None or self.threads >= 1, "1 or more"),
            ("--samples", self.samples, self.samples is None or self.samples >= 1, "1 or more"),
            ("--warm-up", self.warm_up_s, 0 <= self.warm_up_s < 1e6, "seconds, 0 or more"),
            ("--sustained", self.sustained_min, 0 <= self.sustained_min < 1e5, "minutes, above 0"),
            (
                "--max-temperature",
                self.max_temperature_c,
                self.max_temperature_c is None or self.max_temperature_c > 0,
                "degrees Celsius, such as 45, or none",
            ),
            ("--cool-timeout", self.cool_timeout_min, 0 <= self.cool_timeout_min < 1e5, "minutes"),
            (
                "--cpus",
                repr(self.cpus),
                self.cpus in WORDS or bool(parse_cpus(self.cpus)),
                "big, little, all, or a list such as 4-7 or 0,2-3",
            ),
        ]
        for option, value, good, expected in wrong:
            if not good:
                raise UserInputError(
                    f"{value} cannot be measured with", where=option, hint=f"give {expected}"
                )
