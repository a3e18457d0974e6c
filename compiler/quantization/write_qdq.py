"""Write QuantizeLinear and DequantizeLinear around the nodes that compute on bytes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.frontend.graph import attribute, input_names, kept_names, replace_items
from autoglm_tvm.compiler.quantization.operators import INT8_LAYERS
from autoglm_tvm.compiler.quantization.placement import Placement
from autoglm_tvm.compiler.quantization.qdq import (
    BIAS_LIMIT,
    QdqWriter,
    Quantization,
    activation_quantization,
    quantized_weight,
    weight_scales,
)
from autoglm_tvm.compiler.quantization.recipe import Int8Settings

if TYPE_CHECKING:
    import numpy as np
    import onnx

# By name and axis of scales: layers may share a weight, and one of them read it transposed.
_Floors = dict[tuple[str, "int | None"], "np.ndarray | float"]


def write_qdq(
    proto: onnx.ModelProto,
    placement: Placement,
    ranges: Mapping[str, tuple[float, float]],
    settings: Int8Settings,
) -> None:
    """Quantize the placement's nodes and tensors, in place.

    Weights and biases become integer initializers with a DequantizeLinear. A Relu or Clip that the
    range of its bytes stands for is removed.

    Parameters
    ----------
    proto
        A self-contained float model of opset 13 or later.
    ranges
        Range to quantize to of each tensor of the placement.
    """
    _Rewriter(proto, placement, ranges, settings).rewrite()


def output_axis(node: onnx.NodeProto) -> int:
    """Return the axis of output channels in the weight of a Conv, MatMul or Gemm."""
    if node.op_type == "Conv":
        return 0
    return 0 if node.op_type == "Gemm" and attribute(node, "transB", 0) else 1


class _Rewriter:
    def __init__(
        self,
        proto: onnx.ModelProto,
        placement: Placement,
        ranges: Mapping[str, tuple[float, float]],
        settings: Int8Settings,
    ) -> None:
        self._graph = proto.graph
        self._placement = placement
        self._ranges = ranges
        self._settings = settings
        self._write = QdqWriter(proto.graph)
        self._constants = {tensor.name: tensor for tensor in proto.graph.initializer}
        self._kept = kept_names(proto.graph)
        self._stored: dict[str, Quantization] = {}
        self._parameters: dict[str, tuple[str, str]] = {}
        self._readable: dict[str, str] = {}
        self._weights: dict[tuple[str, int | None], tuple[onnx.NodeProto, np.ndarray]] = {}
        self._made_on_bytes = set(placement.clips)
        for node in proto.graph.node:
            if node.name in placement.nodes:
                self._made_on_bytes.update(node.output)
        self._bias_readers = bias_readers(proto.graph, placement.nodes, self._constants)

    def rewrite(self) -> None:
        nodes: list[onnx.NodeProto] = []
        quantized = dict.fromkeys(self._placement.tensors)
        for value in self._graph.input:
            if value.name in quantized:
                nodes += self._pair(value.name, value.name)
        floors = self._floors()
        for node in self._graph.node:
            outputs = [name for name in node.output if name in quantized]
            removed = self._removable(node)
            source = node.input[0] if removed else ""
            computed_on_bytes = node.name in self._placement.nodes
            if computed_on_bytes and node.op_type in INT8_LAYERS:
                nodes += self._layer_constants(node, floors)
            if not removed:
                self._read_bytes(node)
                nodes.append(node)
            for name in outputs:
                nodes += self._pair(source or name, name)
        replace_items(self._graph.node, nodes)

    def _quantization(self, name: str) -> Quantization:
        """Return how a tensor is stored: as the tensor that leads it is."""
        root = self._root(name)
        if root not in self._stored:
            self._stored[root] = activation_quantization(self._ranges[root], self._settings)
        return self._stored[root]

    def _root(self, name: str) -> str:
        while name in self._placement.leaders:
            name = self._placement.leaders[name]
        return name

    def _pair(self, source: str, name: str) -> list[onnx.NodeProto]:
        root = self._root(name)
        if root not in self._parameters:
            how = self._quantization(name)
            self._parameters[root] = self._write.parameters(root, how, self._settings.activation)
        quantize, dequantize = self._write.pair(source, name, self._parameters[root])
        self._readable[name] = dequantize.output[0]
        return [quantize, dequantize]

    def _read_bytes(self, node: onnx.NodeProto) -> None:
        """Let a node read what was dequantized.

        Nodes that compute in float read the float tensor where there is one: where its maker
        computes in float too.
        """
        on_bytes = node.name in self._placement.nodes
        for at, name in enumerate(node.input):
            if name in self._readable and (on_bytes or name in self._made_on_bytes):
                node.input[at] = self._readable[name]

    def _removable(self, node: onnx.NodeProto) -> bool:
        """Whether a Relu or Clip changes nothing that saturation does not."""
        name = node.output[0]
        if name not in self._placement.clips or name in self._kept:
            return False
        low, high = self._ranges[self._root(name)]
        least, most = self._bounds(node)
        symmetric = self._settings.symmetric_activations
        below_zero = symmetric or min(low, 0.0) < least
        return not below_zero and max(high, 0.0) <= most and least <= 0.0

    def _bounds(self, node: onnx.NodeProto) -> tuple[float, float]:
        from onnx import numpy_helper

        if node.op_type == "Relu":
            return 0.0, float("inf")
        bounds = [float("-inf"), float("inf")]
        for at in (1, 2):
            if len(node.input) > at and node.input[at]:
                tensor = self._constants[node.input[at]]
                bounds[at - 1] = float(numpy_helper.to_array(tensor).reshape(-1)[0])
        return bounds[0], bounds[1]

    def _scale_axis(self, node: onnx.NodeProto) -> int | None:
        """Return the axis of a layer's weight that has a scale for each slice."""
        return output_axis(node) if self._settings.per_channel else None

    def _floors(self) -> _Floors:
        """Return for each weight the scales that it needs at least, for the biases behind it."""
        import numpy as np

        floors: _Floors = {}
        for node in self._graph.node:
            bias = self._bias(node) if node.name in self._placement.nodes else None
            if bias is not None:
                scale = self._quantization(node.input[0]).scale
                needed = np.abs(bias.astype(np.float64)) / (scale * BIAS_LIMIT)
                axis = self._scale_axis(node)
                key = (node.input[1], axis)
                needed = needed if axis is not None else needed.max(initial=0.0)
                floors[key] = np.maximum(floors.get(key, 0.0), needed)
        return floors

    def _layer_constants(self, node: onnx.NodeProto, floors: _Floors) -> list[onnx.NodeProto]:
        """Store weight and bias of a layer as integers; return their DQ nodes."""
        import numpy as np

        added = []
        name = node.input[1]
        axis = self._scale_axis(node)
        if (name, axis) not in self._weights:
            weight = self._value(name)
            scales = weight_scales(weight, axis, floors.get((name, axis), 0.0))
            stored = quantized_weight(weight, scales, axis)
            added.append(self._write.dequantize(name, stored, scales, axis))
            self._weights[name, axis] = added[-1], scales
        weight_node, scales = self._weights[name, axis]
        bias = self._bias(node)
        if bias is not None:
            step = np.float32(self._quantization(node.input[0]).scale) * scales
            stored = np.round(bias.astype(np.float64) / step).astype(np.int32)
            reader, at = self._bias_readers[node.name]
            if reader is not node:
                # Its rank may be that of the sum.
                stored = stored.reshape(self._value(reader.input[at]).shape)
            axis = stored.ndim - 1 if step.ndim else None
            added.append(self._write.dequantize(reader.input[at], stored, step, axis))
            reader.input[at] = added[-1].output[0]
        node.input[1] = weight_node.output[0]
        return added

    def _bias(self, node: onnx.NodeProto) -> np.ndarray | None:
        """Return the constant bias of a layer with one value for each output channel."""
        import numpy as np

        if node.name not in self._bias_readers:
            return None
        reader, at = self._bias_readers[node.name]
        if len(reader.input) <= at or reader.input[at] not in self._constants:
            return None
        channels = self._constants[node.input[1]].dims[output_axis(node)]
        bias = self._value(reader.input[at])
        if bias.size == 1 and reader is node:
            return np.full(channels, bias.reshape(-1)[0])
        return bias.reshape(-1) if (bias.size, bias.shape[-1:]) == (channels, (channels,)) else None

    def _value(self, name: str) -> np.ndarray:
        from onnx import numpy_helper

        return numpy_helper.to_array(self._constants[name])


def bias_readers(
    graph: onnx.GraphProto, layers: Collection[str], constants: Collection[str]
) -> dict[str, tuple[onnx.NodeProto, int]]:
    """Return for each of the layers (names) the node that adds its bias, and at which input.

    That is the layer itself, but for a MatMul: there it is the Add of a constant that alone reads
    the product. The sum is a float; onnxruntime runs the product on integers only where its bias
    is one too.
    """
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in input_names(node):
            readers.setdefault(name, []).append(node)
    kept = kept_names(graph)
    found = {}
    for node in graph.node:
        if node.name not in layers or node.op_type not in INT8_LAYERS:
            continue
        if node.op_type != "MatMul":
            found[node.name] = (node, 2)
            continue
        name = node.output[0]
        after = readers.get(name, [])
        if len(after) != 1 or after[0].op_type != "Add" or name in kept:
            continue
        at = 1 - list(after[0].input).index(name)
        if after[0].input[at] in constants:
            found[node.name] = (after[0], at)
    return found
