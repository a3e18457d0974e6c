"""Small Q/DQ models: quantized inputs, a body in ONNX text, and a quantized result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import numpy_helper

from tests.compiler.integer.harness import run_onnxruntime

# Of the result's range that is not clipped away: saturation has to be seen.
_KEPT = 0.8


@dataclass(frozen=True)
class Island:
    """A model of one float input for each name in `shapes`, and its result as bytes.

    Attributes
    ----------
    body
        ONNX text that reads each quantized input as ``<name>d`` and makes ``r``.
    shapes
        Of the inputs.
    constants
        Initializers that the body names.
    inputs, result
        Types of the quantized inputs and of the result.
    zero_point
        Of the result, as if it were uint8.
    quantized
        Whether there is a Q behind; otherwise the result is ``r`` in float.
    """

    body: str
    shapes: Mapping[str, tuple[int, ...]]
    constants: Mapping[str, np.ndarray] = field(default_factory=dict)
    inputs: str = "uint8"
    result: str = "uint8"
    zero_point: int | None = None
    quantized: bool = True
    opset: int = 18

    def arrays(self, seed: int = 0) -> dict[str, np.ndarray]:
        """Random inputs: normal, of different widths."""
        rng = np.random.default_rng(seed)
        return {
            name: (rng.standard_normal(shape) * (1 + index) + 0.3).astype(np.float32)
            for index, (name, shape) in enumerate(self.shapes.items())
        }

    def model(self) -> onnx.ModelProto:
        """The Q/DQ model; scale and zero point of the result are found by running it."""
        in_float = self._model("", {})
        if not self.quantized:
            return in_float
        (values,) = run_onnxruntime(in_float, self.arrays(), fused=False)
        low, high = _KEPT * min(float(values.min()), 0.0), _KEPT * float(values.max())
        scale = np.float32(max(high - low, 1e-3) / 255)
        zero = int(np.rint(-low / scale)) if self.zero_point is None else self.zero_point
        how = {"sy": np.asarray(scale), "zy": _typed(zero, self.result)}
        return self._model("y = QuantizeLinear(r, sy, zy)", how)

    def _model(self, last: str, how: Mapping[str, np.ndarray]) -> onnx.ModelProto:
        lines, constants = [], {**self.constants, **how}
        for index, name in enumerate(self.shapes):
            lines.append(f"{name}q = QuantizeLinear({name}, s{name}, z{name})")
            lines.append(f"{name}d = DequantizeLinear({name}q, s{name}, z{name})")
            constants[f"s{name}"] = np.asarray(np.float32(0.0213 * (1 + index)))
            constants[f"z{name}"] = _typed(117 + 20 * index, self.inputs)
        declared = ", ".join(
            f"float[{', '.join(map(str, shape))}] {name}" for name, shape in self.shapes.items()
        )
        result = f"{self.result} y" if last else "float r"
        text = f"island ({declared}) => ({result}) {{\n" + "\n".join([*lines, self.body, last, "}"])
        return _checked(text, constants, self.opset)


def _checked(text: str, constants: Mapping[str, np.ndarray], opset: int) -> onnx.ModelProto:
    """Parse, and infer the result's shape instead of declaring it."""
    graph = onnx.parser.parse_graph(text)
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")
    graph.initializer.extend(
        numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()
    )
    opsets = [onnx.helper.make_opsetid("", opset)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10)
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    onnx.checker.check_model(model, full_check=True)
    return model


def _typed(zero: int, dtype: str) -> np.ndarray:
    return np.array(zero if dtype == "uint8" else zero - 128, dtype)


def weight(
    *shape: int, axis: int | None = 0, dtype: str = "int8", seed: int = 1, name: str = "w"
) -> dict[str, np.ndarray]:
    """A quantized weight: the constants ``w``, ``sw`` and ``zw``, one scale a channel on `axis`."""
    rng = np.random.default_rng((seed, *shape))
    info = np.iinfo(dtype)
    scale = np.float32(0.001) + 0.01 * rng.random(1 if axis is None else shape[axis])
    zero = np.zeros(scale.shape) if dtype == "int8" else rng.integers(100, 156, scale.shape)
    if axis is None:
        scale, zero = scale.reshape(()), zero.reshape(())
    return {
        name: rng.integers(info.min, info.max + 1, shape).astype(dtype),
        f"s{name}": scale.astype(np.float32),
        f"z{name}": zero.astype(dtype),
    }


def int32_bias(weights: Mapping[str, np.ndarray], channels: int) -> dict[str, np.ndarray]:
    """A bias for `x` times that weight: ``b``, ``sb``, ``zb`` in the scale of the sums."""
    rng = np.random.default_rng(channels)
    scale = np.broadcast_to(np.float32(0.0213) * weights["sw"], (channels,))
    return {
        "b": rng.integers(-20000, 20000, channels).astype(np.int32),
        "sb": scale.astype(np.float32),
        "zb": np.zeros(channels, np.int32),
    }
