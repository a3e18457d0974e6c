"""The error that one quantized layer adds to the model's outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from autoglm_tvm.compiler.quantization.output_accuracy import (
    OutputAccuracy,
    rounded,
    worst_drop,
)


@dataclass(frozen=True)
class LayerError:
    """A model in which this layer alone is quantized, against the float model.

    Attributes
    ----------
    name, op_type
        The node in the ONNX graph.
    precision
        What it is quantized to.
    output
        The output that it disturbs most; the numbers below are of it.
    sqnr_db
        Signal to quantization noise there; infinite where the layer changes nothing.
    cosine
        Cosine of the angle between both outputs.
    drop
        What is lost by this layer alone, see `OutputAccuracy.drop`; of the worst output.
    """

    name: str
    op_type: str
    precision: str
    output: str
    sqnr_db: float
    cosine: float
    drop: float

    @property
    def noise(self) -> float:
        """Root mean square of the error over that of the signal: 0.01 is 1 % or 40 dB."""
        return 10 ** (-self.sqnr_db / 20)

    def to_json(self) -> dict[str, Any]:
        """Plain values, rounded; ``None`` stands for infinity."""
        return {key: rounded(value) for key, value in asdict(self).items()}


def layer_error(
    name: str, op_type: str, precision: str, outputs: Sequence[OutputAccuracy]
) -> LayerError:
    """Return a layer's error from the accuracy of the model in which it alone is quantized."""
    worst = min(outputs, key=lambda item: item.sqnr_db)
    return LayerError(
        name, op_type, precision, worst.name, worst.sqnr_db, worst.cosine, worst_drop(outputs)
    )


def worst_first(layers: Sequence[LayerError]) -> tuple[LayerError, ...]:
    """Return the layers sorted by the noise that they add; equal ones keep their order."""
    return tuple(sorted(layers, key=lambda layer: layer.sqnr_db))
