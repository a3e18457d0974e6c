"""Scales and zero points, and the nodes that carry them into a graph.

q = saturate(round(x / scale) + zero point), ONNX's QuantizeLinear. Weights are symmetric, from -127
to 127, so that products need no correction for their zero point.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.frontend.graph import FreshNames
from autoglm_tvm.compiler.quantization.recipe import Int8Settings

if TYPE_CHECKING:
    import numpy as np
    import onnx

#: Smallest and largest stored value of each type.
LIMITS: Mapping[str, tuple[int, int]] = {"uint8": (0, 255), "int8": (-128, 127)}
#: Largest magnitude of a stored weight.
WEIGHT_LIMIT = 127
#: A bias is stored as an integer of at most this magnitude; sums of products come on top of it.
BIAS_LIMIT = 2**30


@dataclass(frozen=True)
class Quantization:
    """How a tensor is stored.

    Attributes
    ----------
    scale
        Distance of two neighbouring values.
    zero_point
        The stored value of 0.
    """

    scale: float
    zero_point: int


def activation_quantization(values: tuple[float, float], settings: Int8Settings) -> Quantization:
    """Return how an activation with values in a range is stored; zero is always exact."""
    import numpy as np

    low, high = min(values[0], 0.0), max(values[1], 0.0)
    least, most = LIMITS[settings.activation]
    middle = (least + most + 1) // 2
    if settings.symmetric_activations:
        scale = np.float32(max(-low, high) / (most - middle))
    else:
        scale = np.float32((high - low) / (most - least))
    if scale < np.finfo(np.float32).tiny:
        return Quantization(1.0, middle if settings.symmetric_activations else least)
    if settings.symmetric_activations:
        return Quantization(float(scale), middle)
    zero = int(np.clip(np.round(least - low / float(scale)), least, most))
    return Quantization(float(scale), zero)


def weight_scales(weight: np.ndarray, axis: int | None, floor: np.ndarray | float) -> np.ndarray:
    """Return the scales of a weight along an axis, or its one scale (shape ()) without an axis.

    Parameters
    ----------
    floor
        What the scales are at least: a bias must fit behind them. Same shape, or one for all.
    """
    import numpy as np

    if axis is None:
        largest = np.abs(weight).max(initial=0.0)
        floor = np.max(floor)
    else:
        others = tuple(i for i in range(weight.ndim) if i != axis)
        largest = np.abs(weight).max(axis=others, initial=0.0)
    scales = np.maximum(largest / WEIGHT_LIMIT, floor).astype(np.float32)
    # A channel of zeros is exact with any scale.
    return np.where(scales < np.finfo(np.float32).tiny, np.float32(1.0), scales)


def quantized_weight(weight: np.ndarray, scales: np.ndarray, axis: int | None) -> np.ndarray:
    """Return the stored int8 values of a weight."""
    import numpy as np

    if axis is not None:
        along = [1] * weight.ndim
        along[axis] = -1
        scales = scales.reshape(along)
    stored = np.round(weight / scales)
    return np.clip(stored, -WEIGHT_LIMIT, WEIGHT_LIMIT).astype(np.int8)


def dequantized_weight(weight: np.ndarray, axis: int | None) -> np.ndarray:
    """Return what is left of a weight after it was stored."""
    scales = weight_scales(weight, axis, 0.0)
    stored = quantized_weight(weight, scales, axis)
    if axis is None:
        return stored * scales
    along = [1] * weight.ndim
    along[axis] = -1
    return stored * scales.reshape(along)


class QdqWriter:
    """Makes initializers and nodes with names that the graph does not use yet."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._fresh = FreshNames(graph)

    def constant(self, name: str, value: np.ndarray) -> str:
        """Add an initializer, and return its name."""
        from onnx import numpy_helper

        name = self._fresh.take(name)
        self._graph.initializer.append(numpy_helper.from_array(value, name))
        return name

    def parameters(self, name: str, how: Quantization, dtype: str) -> tuple[str, str]:
        """Add scale and zero point of a tensor, and return their names."""
        import numpy as np

        scale = self.constant(f"{name}_scale", np.array(how.scale, np.float32))
        zero = self.constant(f"{name}_zero_point", np.array(how.zero_point, dtype))
        return scale, zero

    def pair(
        self, source: str, name: str, parameters: tuple[str, str]
    ) -> tuple[onnx.NodeProto, onnx.NodeProto]:
        """Return Q and DQ of tensor `source`, called after `name`."""
        quantize = self._node("QuantizeLinear", [source, *parameters], name, "quantized")
        inputs = [quantize.output[0], *parameters]
        return quantize, self._node("DequantizeLinear", inputs, name, "dequantized")

    def dequantize(
        self, name: str, stored: np.ndarray, scales: np.ndarray, axis: int | None
    ) -> onnx.NodeProto:
        """Return the DQ of a constant that is stored with zero point 0."""
        import numpy as np
        from onnx import helper

        inputs = [
            self.constant(f"{name}_quantized", stored),
            self.constant(f"{name}_scale", scales),
            self.constant(f"{name}_zero_point", np.zeros(scales.shape, stored.dtype)),
        ]
        node = self._node("DequantizeLinear", inputs, name, "dequantized")
        if axis is not None:
            node.attribute.append(helper.make_attribute("axis", axis))
        return node

    def _node(self, operator: str, inputs: list[str], name: str, suffix: str) -> onnx.NodeProto:
        from onnx import helper

        return helper.make_node(
            operator,
            inputs,
            [self._fresh.take(f"{name}_{suffix}")],
            self._fresh.take(f"{name}_{operator}"),
        )
