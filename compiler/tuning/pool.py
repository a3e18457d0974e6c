"""What the tuner asks of the devices that measure for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from autoglm_tvm.artifacts.trial import Check, Comparison, Failure, Measurement, Trial


class Pool(Protocol):
    """Devices that measure kernels: `rpc.farm.DevicePool`.

    Attributes
    ----------
    on_tick
        Called now and then while it works or waits.
    """

    on_tick: Callable[[], None]

    def measure(
        self,
        trials: Sequence[Trial],
        *,
        on_result: Callable[[int, Measurement], None] | None = None,
    ) -> list[Measurement]:
        """Measure kernels; `on_result` gets number and measurement of each as it is known."""
        ...

    def compare(self, pairs: Sequence[tuple[Trial, Trial]]) -> list[Comparison]:
        """Measure the two kernels of each pair in turns on one device."""
        ...

    def check(self, checks: Sequence[Check]) -> list[Failure | None]:
        """Compare what candidates and references compute."""
        ...

    def status(self) -> Sequence[Any]:
        """What each device does."""
        ...

    def waiting(self) -> str:
        """For what the pool waits; empty while it has a device."""
        ...
