"""The end of a quantized operator: int32 sums to bytes, as ONNX nodes and by numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


@dataclass(frozen=True)
class Requantization:
    """saturate(round(sums * `factor`) + `zero`) to `dtype`, within `low` and `high` where given."""

    factor: np.ndarray
    zero: int
    dtype: str
    low: int | None = None
    high: int | None = None

    @property
    def bounds(self) -> tuple[int, int]:
        """The smallest and the largest byte."""
        limits = np.iinfo(self.dtype)
        low = limits.min if self.low is None else self.low
        return low, limits.max if self.high is None else self.high

    def behind(self, network: onnx.ModelProto) -> onnx.ModelProto:
        """`network`, whose output `y` is int32, with the nodes behind it; its output is `q`."""
        model = onnx.ModelProto.FromString(network.SerializeToString())
        graph = model.graph
        low, high = (np.float32(bound - self.zero) for bound in self.bounds)
        constants = {"factor": self.factor, "low": low, "high": high, "zero": np.int32(self.zero)}
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype))
        graph.node.extend(
            [
                helper.make_node("Cast", ["y"], ["real"], to=TensorProto.FLOAT),
                helper.make_node("Mul", ["real", "factor"], ["scaled"]),
                helper.make_node("Clip", ["scaled", "low", "high"], ["clipped"]),
                helper.make_node("Round", ["clipped"], ["rounded"]),
                helper.make_node("Cast", ["rounded"], ["whole"], to=TensorProto.INT32),
                helper.make_node("Add", ["whole", "zero"], ["moved"]),
                helper.make_node("Cast", ["moved"], ["q"], to=kind),
            ]
        )
        graph.initializer.extend(
            numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()
        )
        shape = [dim.dim_value for dim in graph.output[0].type.tensor_type.shape.dim]
        del graph.output[:]
        graph.output.append(helper.make_tensor_value_info("q", kind, shape))
        return model

    def expected(self, sums: np.ndarray) -> np.ndarray:
        """The same by numpy, one rounding in float32 and one to the whole number."""
        scaled = sums.astype(np.float32) * self.factor
        low, high = self.bounds
        return np.clip(np.rint(scaled) + self.zero, low, high).astype(self.dtype)
