"""8 bits with the ranges of activations found at run time: no calibration data is needed.

For a layer y = x W + b, with q the stored integers, s the scales and z the zero point of x:

    y = s_x s_w (q_x - z) q_w + b,   q_x, s_x, z = DynamicQuantizeLinear(x)

with sums in int32 by MatMulInteger or ConvInteger. onnxruntime makes one kernel of it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.frontend.graph import FreshNames, attribute, replace_items
from autoglm_tvm.compiler.quantization.qdq import quantized_weight, weight_scales
from autoglm_tvm.compiler.quantization.recipe import Int8Settings
from autoglm_tvm.compiler.quantization.write_qdq import output_axis

if TYPE_CHECKING:
    import numpy as np
    import onnx


def to_dynamic(proto: onnx.ModelProto, nodes: Collection[str], settings: Int8Settings) -> list[str]:
    """Rewrite the layers `nodes` (names) of a self-contained model in place; return notes."""
    rewriter = _Rewriter(proto, settings)
    kept: list[onnx.NodeProto] = []
    for node in proto.graph.node:
        kept += rewriter.rewritten(node) if node.name in nodes else [node]
    replace_items(proto.graph.node, kept)
    if not rewriter.count:
        return []
    return [f"{rewriter.count} layers compute on 8 bits with ranges found at run time"]


class _Rewriter:
    def __init__(self, proto: onnx.ModelProto, settings: Int8Settings) -> None:
        self._graph = proto.graph
        self._settings = settings
        self._fresh = FreshNames(proto.graph)
        self._constants = {tensor.name: tensor for tensor in proto.graph.initializer}
        self._activations: dict[str, list[str]] = {}
        self._weights: dict[tuple[str, bool], tuple[str, str]] = {}
        self.count = 0

    def rewritten(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """Return the nodes that compute what `node` computes, its own name on the integer one."""
        import onnx
        from onnx import helper

        self.count += 1
        added: list[onnx.NodeProto] = []
        data, scale, zero = self._activation(node.input[0], added)
        weight, weight_scale = self._weight(node)
        operator = "ConvInteger" if node.op_type == "Conv" else "MatMulInteger"
        product, real = self._name(node, "int32"), self._name(node, "float")
        scales, scaled = self._name(node, "scales"), self._name(node, "scaled")
        biased = len(node.input) > 2 and bool(node.input[2])
        integer = helper.make_node(operator, [data, weight, zero], [product], node.name)
        if node.op_type == "Conv":
            integer.attribute.extend(node.attribute)
        output = node.output[0]
        added += [
            integer,
            helper.make_node(
                "Cast", [product], [real], self._name(node, "Cast"), to=onnx.TensorProto.FLOAT
            ),
            helper.make_node("Mul", [scale, weight_scale], [scales], self._name(node, "scale")),
            helper.make_node(
                "Mul", [real, scales], [scaled if biased else output], self._name(node, "Mul")
            ),
        ]
        if biased:
            bias = self._bias(node)
            added.append(helper.make_node("Add", [scaled, bias], [output], self._name(node, "Add")))
        return added

    def _activation(self, name: str, added: list[onnx.NodeProto]) -> list[str]:
        """Return stored values, scale and zero point of a tensor; all its readers share them."""
        from onnx import helper

        if name not in self._activations:
            suffixes = ("quantized", "scale", "zero_point")
            outputs = [self._fresh.take(f"{name}_{suffix}") for suffix in suffixes]
            operator = "DynamicQuantizeLinear"
            label = self._fresh.take(f"{name}_{operator}")
            added.append(helper.make_node(operator, [name], outputs, label))
            self._activations[name] = outputs
        return self._activations[name]

    def _weight(self, node: onnx.NodeProto) -> tuple[str, str]:
        """Return the names of the stored weight and of its scales, shaped for the product."""
        import numpy as np

        name = node.input[1]
        transposed = node.op_type == "Gemm" and bool(attribute(node, "transB", 0))
        if (name, transposed) not in self._weights:
            value = self._value(name)
            axis = output_axis(node) if self._settings.per_channel else None
            scales = weight_scales(value, axis, 0.0)
            stored = quantized_weight(value, scales, axis)
            if node.op_type == "Conv" and axis is not None:
                scales = scales.reshape(-1, *(1,) * (value.ndim - 2))
            stored = np.ascontiguousarray(stored.T) if transposed else stored
            self._weights[name, transposed] = (
                self._constant(f"{name}_quantized", stored),
                self._constant(f"{name}_scale", scales),
            )
        return self._weights[name, transposed]

    def _bias(self, node: onnx.NodeProto) -> str:
        if node.op_type == "Gemm" or node.input[2] not in self._constants:
            return node.input[2]
        rank = len(self._constants[node.input[1]].dims)
        value = self._value(node.input[2])
        return self._constant(f"{node.input[2]}_shaped", value.reshape(-1, *(1,) * (rank - 2)))

    def _name(self, node: onnx.NodeProto, suffix: str) -> str:
        return self._fresh.take(f"{node.name}_{suffix}")

    def _constant(self, name: str, value: np.ndarray) -> str:
        from onnx import numpy_helper

        name = self._fresh.take(name)
        self._graph.initializer.append(numpy_helper.from_array(value, name))
        return name

    def _value(self, name: str) -> np.ndarray:
        from onnx import numpy_helper

        return numpy_helper.to_array(self._constants[name])
