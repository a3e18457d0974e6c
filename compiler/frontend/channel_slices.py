"""Take channels out of a graph: slices of weights, biases and constants, and constants added."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.frontend.channel_flow import Flow
from autoglm_tvm.compiler.frontend.channel_rules import LAYERS, Layer, layer_of
from autoglm_tvm.compiler.frontend.channel_values import ELEMENTWISE
from autoglm_tvm.compiler.frontend.graph import FreshNames

if TYPE_CHECKING:
    import numpy as np
    import onnx


class Slicer:
    """Rewrites nodes so that only some channels of tensors are left.

    Parameters
    ----------
    flow
        What is known of the channels.
    keep
        Which channels stay, for each tensor that loses some.

    Attributes
    ----------
    constants
        New constants by name, to be added to the graph.
    """

    def __init__(self, graph: onnx.GraphProto, flow: Flow, keep: Mapping[str, np.ndarray]) -> None:
        self._flow = flow
        self._keep = keep
        self._fresh = FreshNames(graph)
        self.constants: dict[str, np.ndarray] = {}

    def rewrite(self, node: onnx.NodeProto) -> None:
        """Slice what `node` holds, in place, if it reads or makes a tensor that loses channels."""
        names = (*node.input, *node.output)
        if node.domain or not any(name in self._keep for name in names):
            return
        if node.op_type in LAYERS:
            self._layer(node)
        elif node.op_type in ELEMENTWISE:
            self._elementwise(node)
        elif node.op_type == "BatchNormalization":
            for at in range(1, 5):
                self._slice_input(node, at, self._keep[node.output[0]], 0)
        elif node.op_type == "Reshape":
            self._reshape(node)

    def _layer(self, node: onnx.NodeProto) -> None:
        import numpy as np

        layer = layer_of(self._flow, node)
        if layer is None:
            return
        outputs, inputs = self._keep.get(node.output[0]), self._keep.get(node.input[0])
        weight, bias = layer.weight, layer.bias
        if inputs is not None and not layer.depthwise:
            weight = np.compress(inputs, weight, layer.in_axis)
            bias = self._with_constants(layer, node, ~inputs)
        if outputs is not None:
            weight = np.compress(outputs, weight, layer.out_axis)
            bias = None if bias is None else bias[outputs]
            if layer.depthwise:
                _set_integer(node, "group", int(np.count_nonzero(outputs)))
        self._set_input(node, 1, weight)
        if bias is not None:
            self._set_input(node, 2, bias)

    def _with_constants(
        self, layer: Layer, node: onnx.NodeProto, dropped: np.ndarray
    ) -> np.ndarray | None:
        """The bias with what the dropped channels always add to the sums."""
        import numpy as np

        values = np.nan_to_num(self._flow.tensors[node.input[0]].values[dropped])
        if not values.any():
            return layer.bias
        sums = layer.by_channels[:, dropped].sum(axis=2, dtype=np.float64)
        added = sums @ values.astype(np.float64)
        if not added.any():
            return layer.bias
        return (added + (0 if layer.bias is None else layer.bias)).astype(np.float32)

    def _elementwise(self, node: onnx.NodeProto) -> None:
        keep = self._keep.get(node.output[0])
        if keep is None:
            return
        axis = self._flow.tensors[node.output[0]].axis
        for at, name in enumerate(node.input):
            value = self._flow.constant(name) if name else None
            if value is not None and value.ndim >= -axis and value.shape[axis] == len(keep):
                self._slice_input(node, at, keep, axis)

    def _reshape(self, node: onnx.NodeProto) -> None:
        import numpy as np

        keep = self._keep.get(node.output[0])
        wanted = self._flow.integers(node.input[1])
        if keep is None or wanted is None:
            return
        at = len(wanted) + self._flow.tensors[node.output[0]].axis
        if wanted[at] > 0:
            wanted[at] = int(np.count_nonzero(keep))
            self._set_input(node, 1, np.array(wanted, np.int64))

    def _slice_input(self, node: onnx.NodeProto, at: int, keep: np.ndarray, axis: int) -> None:
        import numpy as np

        value = self._flow.constant(node.input[at])
        if value is not None:
            self._set_input(node, at, np.compress(keep, value, axis))

    def _set_input(self, node: onnx.NodeProto, at: int, value: np.ndarray) -> None:
        old = node.input[at] if len(node.input) > at else ""
        name = self._fresh.take(old or f"{node.name}/constant")
        self.constants[name] = value
        while len(node.input) <= at:
            node.input.append("")
        node.input[at] = name


def _set_integer(node: onnx.NodeProto, name: str, value: int) -> None:
    for item in node.attribute:
        if item.name == name:
            item.i = value


def multiply_adds(flow: Flow, node: onnx.NodeProto) -> tuple[int, int]:
    """Weights of a layer, and its multiply-adds for one run; symbolic extents count as 1."""
    from math import prod

    layer = layer_of(flow, node) if node.op_type in LAYERS else None
    if layer is None:
        return 0, 0
    # ConvTranspose multiplies every pixel of its input, the others make every one of their output.
    transposed = node.op_type == "ConvTranspose"
    shape = list(flow.shape(node.input[0] if transposed else node.output[0]) or ())
    if shape:
        shape[len(shape) + layer.axis] = 1
    return layer.weight.size, layer.weight.size * prod(dim or 1 for dim in shape)
