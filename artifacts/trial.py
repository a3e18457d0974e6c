"""What is asked of a device, and what comes back."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class TensorType:
    """A dense tensor's element type, as TVM writes it, and its shape."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Trial:
    """One kernel to be run on a device.

    Attributes
    ----------
    name
        For messages.
    library
        A linked ``.so`` for the device.
    function
        The kernel's symbol in it.
    arguments
        Types of its arguments, the results last.
    threads
        How many threads the device's pool gives it.
    constants
        Positions of the arguments that are weights.
    cold_bytes
        What else a network reads between two calls of the kernel: weights are taken from so much
        memory in turn, so that they are as cold as there.
    """

    name: str
    library: Path
    function: str
    arguments: tuple[TensorType, ...]
    threads: int
    constants: tuple[int, ...] = ()
    cold_bytes: int = 8 << 20


@dataclass(frozen=True)
class Check:
    """Whether a kernel computes what another one computes, both run on the same device.

    Attributes
    ----------
    candidate, reference
        The kernel in question, and the one that is right. The last ``results`` arguments of both
        are what is compared.
    candidate_inputs, reference_inputs
        The arguments in front of the results. They differ where weights are packed differently.
    tolerance
        Largest absolute difference over the largest magnitude of the reference. Integers and
        booleans must be equal whatever it is.
    """

    candidate: Trial
    reference: Trial
    candidate_inputs: tuple[np.ndarray, ...]
    reference_inputs: tuple[np.ndarray, ...]
    results: int = 1
    tolerance: float = 1e-3


class FailureKind(str, Enum):
    """The stage at which a trial failed, or what happened to it there."""

    build = "build"
    link = "link"
    upload = "upload"
    time_out = "time_out"
    crash = "crash"
    wrong_result = "wrong_result"
    device_lost = "device_lost"


@dataclass(frozen=True)
class Failure:
    """Why a trial has no result."""

    kind: FailureKind
    message: str


@dataclass(frozen=True)
class Measurement:
    """What measuring one trial gave.

    Attributes
    ----------
    samples
        Seconds per run; those in which the thread was interrupted are left out, unless all were.
        Empty if it failed.
    device
        ``HOST:PORT`` of the device; empty if it reached none.
    temperature_c
        The hottest thermal zone when it was measured; None where the device shows none.
    """

    samples: tuple[float, ...]
    device: str = ""
    failure: Failure | None = None
    temperature_c: float | None = None

    @property
    def seconds(self) -> float:
        """Median of the samples; infinite if the trial failed."""
        return median(self.samples) if self.samples else float("inf")


@dataclass(frozen=True)
class Comparison:
    """How much faster or slower the second of two kernels is, run in turns on one device.

    Attributes
    ----------
    ratio
        Median of the second's time over the first's: below 1, the second one is faster. Infinite
        if the second failed, 0 if the first did, 1 if nothing can be said.
    low, high
        Quartiles of that.
    first_s, second_s
        Median seconds per run of each; infinite if it failed.
    rounds
        How many times each had its turn.
    failure
        Why one could not be run; ``failed`` says which (0 or 1).
    """

    ratio: float
    low: float
    high: float
    first_s: float
    second_s: float
    rounds: int
    device: str = ""
    failure: Failure | None = None
    failed: int | None = None
