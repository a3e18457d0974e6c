"""A small writer of ONNX graphs, in the operators that torch's exporter writes at opset 17."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import onnx

OPSET = 17
IR_VERSION = 8


class Graph:
    """A graph under construction; tensors are known by their names.

    Parameters
    ----------
    name
        The graph's name.
    seed
        Of the random weights: equal seeds and equal calls give equal models.
    """

    def __init__(self, name: str, seed: int = 0) -> None:
        import numpy as np

        self.name = name
        self._rng = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, shape: Sequence[int], dtype: str = "float32") -> str:
        """Declare an input of a numpy dtype."""
        self._inputs.append(_value(name, shape, dtype))
        return name

    def output(self, tensor: str, shape: Sequence[int], name: str = "") -> None:
        """Make a tensor an output, under a new name if one is given."""
        from onnx import helper

        if name:
            self._nodes.append(helper.make_node("Identity", [tensor], [name], name=name))
        self._outputs.append(_value(name or tensor, shape, "float32"))

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node and return its only output."""
        return self.nodes(operator, inputs, 1, **attributes)[0]

    def nodes(
        self, operator: str, inputs: Sequence[str], outputs: int, **attributes: Any
    ) -> list[str]:
        """Add a node and return its outputs."""
        from onnx import helper

        label = f"{operator}_{len(self._nodes)}"
        names = [label if i == 0 else f"{label}_{i}" for i in range(outputs)]
        node = helper.make_node(operator, list(inputs), names, name=label, **attributes)
        self._nodes.append(node)
        return names

    def weight(self, shape: Sequence[int], deviation: float) -> str:
        """Add a float32 constant drawn from a normal distribution around zero."""
        import numpy as np

        values = self._rng.standard_normal(tuple(shape), dtype=np.float32)
        return self.constant(values * np.float32(deviation))

    def constant(self, values: Any, dtype: str = "float32") -> str:
        """Add a constant."""
        import numpy as np
        from onnx import numpy_helper

        name = f"w{len(self._weights)}"
        array: np.ndarray = np.asarray(values, dtype=dtype)
        self._weights.append(numpy_helper.from_array(array, name))
        return name

    def shape(self, *dims: int) -> str:
        """Add a constant shape, as Reshape wants it."""
        return self.constant(list(dims), "int64")

    def model(self) -> onnx.ModelProto:
        """Return the finished model."""
        from onnx import helper

        graph = helper.make_graph(
            self._nodes, self.name, self._inputs, self._outputs, self._weights
        )
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)


def _value(name: str, shape: Sequence[int], dtype: str) -> onnx.ValueInfoProto:
    import numpy as np
    from onnx import helper

    return helper.make_tensor_value_info(
        name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), list(shape)
    )
