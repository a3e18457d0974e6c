"""A task: a network, inputs to calibrate and to test with, and what the answers are worth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

Arrays = Mapping[str, np.ndarray]
#: Runs a network once: arrays by input name to arrays by output name.
Run = Callable[[Arrays], Arrays]


@dataclass(frozen=True)
class Task:
    """What a network is for, on data that was made for it.

    Attributes
    ----------
    name
        What tables call it.
    measure
        What `score` returns, in a few words; 1 is perfect.
    model
        The ONNX file.
    shapes
        Of its inputs.
    calibration
        Inputs to calibrate with; none of them is tested with.
    tests
        Inputs to test with.
    score
        Returns how right the outputs of all `tests` are, from 0 to 1.
    """

    name: str
    measure: str
    model: Path
    shapes: Mapping[str, Sequence[int]]
    calibration: Sequence[Arrays]
    tests: Sequence[Arrays]
    score: Callable[[Sequence[Arrays]], float]

    def result(self, run: Run) -> float:
        """Return the score of a network that is run by `run`."""
        return self.score([dict(run(inputs)) for inputs in self.tests])
