"""What the benchmark wants of another runtime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np


class Peer(Protocol):
    """A model loaded by another runtime, with inputs that lie ready."""

    def run(self) -> object:
        """Run the network once."""
        ...

    def outputs(self) -> list[np.ndarray]:
        """Run once and return the outputs in the order of the ONNX file."""
        ...


@dataclass(frozen=True)
class Task:
    """What a peer is to run.

    Attributes
    ----------
    model
        The ONNX file.
    inputs
        An array for each input, in the order of the file.
    outputs
        The outputs' names in the file.
    threads
        That one run may use.
    """

    model: Path
    inputs: Mapping[str, np.ndarray]
    outputs: tuple[str, ...]
    threads: int


class PeerError(Exception):
    """A peer cannot run a model; the message says why."""
