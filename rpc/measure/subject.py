"""What the measurement protocol needs of a machine; this one and a device offer the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from autoglm_tvm.artifacts.bundle import Bundle
from autoglm_tvm.rpc.measure.statistics import Sample

if TYPE_CHECKING:
    import numpy as np

KernelCalls = list[tuple[str, float]]


class Subject(Protocol):
    """A machine on which one bundle is measured; a context manager that undoes its settings.

    The calls come in this order: `read` at any time, `pin`, `load`, then runs.

    Attributes
    ----------
    where
        The machine, for messages.
    untimed_runs
        Runs that each call of `run` makes beside those that it returns.
    is_device
        Whether it is another machine than this one.
    """

    where: str
    untimed_runs: int
    is_device: bool

    def __enter__(self) -> Subject:
        """Begin."""
        ...

    def __exit__(self, *exception: object) -> None:
        """Undo what was set."""
        ...

    def read(self, group: str) -> Mapping[str, str]:
        """Return the files of a group of `device_files.GROUPS`."""
        ...

    def pin(self, cpus: str) -> str:
        """Let the process run on these cores only (``4-7``); return those that are in force.

        Raises
        ------
        MissingToolError
            The system refuses.
        """
        ...

    def load(self, bundle: Bundle, threads: int, inputs: Mapping[str, np.ndarray]) -> int:
        """Load the bundle, set its inputs, run it once; return how many threads run it."""
        ...

    def run(self, count: int, limit_s: float) -> list[Sample]:
        """Time run after run: ``count`` of them, or as many as fit into the time, at least one."""
        ...

    def reset_peak_memory(self) -> None:
        """Begin a new record of the process's memory, where the system lets us."""
        ...

    def peak_memory(self) -> int | None:
        """Return the most memory in bytes that the process has had (resident)."""
        ...

    def run_with_timer(self) -> tuple[Sample, KernelCalls]:
        """Run once; return its timing, and function and seconds of each call in it."""
        ...
