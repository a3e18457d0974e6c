"""Turn chosen nodes of a graph to float16: constants rounded, casts where float32 begins."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.frontend.graph import FreshNames, input_names, replace_items
from autoglm_tvm.compiler.frontend.infer import infer_shapes, tensor_types
from autoglm_tvm.compiler.frontend.prune import prune
from autoglm_tvm.compiler.quantization.half_operators import half_inputs

if TYPE_CHECKING:
    import onnx


def rewrite_half(proto: onnx.ModelProto, chosen: Collection[str]) -> int:
    """Let the nodes whose first output is in `chosen` compute in float16, in place.

    Returns
    -------
    int
        How many Casts the graph has got.
    """
    rewriter = _Rewriter(proto, chosen)
    for node in proto.graph.node:
        rewriter.visit(node)
    replace_items(proto.graph.node, rewriter.nodes)
    proto.graph.initializer.extend(rewriter.constants)
    del proto.graph.value_info[:]
    prune(proto)
    infer_shapes(proto)
    return rewriter.casts


class _Rewriter:
    """Rebuilds the list of nodes in its order."""

    def __init__(self, proto: onnx.ModelProto, chosen: Collection[str]) -> None:
        import onnx

        graph = proto.graph
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.casts = 0
        self._chosen = chosen
        self._fresh = FreshNames(graph)
        self._known = {tensor.name: tensor for tensor in graph.initializer}
        types = tensor_types(graph)
        float32 = onnx.TensorProto.FLOAT
        self._floats = {n for n, t in types.items() if t.tensor_type.elem_type == float32}
        self._read_as_float = self._readers_of_floats(graph)
        # The half twin of each float32 tensor that has one.
        self._halves: dict[str, str] = {}

    def _readers_of_floats(self, graph: onnx.GraphProto) -> set[str]:
        """Tensors that something reads as float32."""
        read = {value.name for value in graph.output}
        for node in graph.node:
            if self._is_chosen(node):
                read |= input_names(node) - set(half_inputs(node))
            else:
                read |= input_names(node)
        return read

    def _is_chosen(self, node: onnx.NodeProto) -> bool:
        return bool(node.output) and node.output[0] in self._chosen

    def visit(self, node: onnx.NodeProto) -> None:
        """Append `node`, in float16 if it is chosen, with the casts that it needs."""
        if not self._is_chosen(node):
            self.nodes.append(node)
            return
        wanted = set(half_inputs(node))
        inputs = [self._half(name) if name in wanted else name for name in node.input]
        back: list[tuple[str, str]] = []
        outputs = []
        for name in node.output:
            if name not in self._floats:
                outputs.append(name)
                continue
            half = name
            if name in self._read_as_float:
                half = self._fresh.take(f"{name}_half")
                back.append((half, name))
            self._halves[name] = half
            outputs.append(half)
        replace_items(node.input, inputs)
        replace_items(node.output, outputs)
        self.nodes.append(node)
        for half, name in back:
            self._cast(half, name, to_half=False)

    def _half(self, name: str) -> str:
        """The half twin of a tensor, made here if there is none yet."""
        if name not in self._floats:
            return name
        if name not in self._halves:
            self._halves[name] = half = self._fresh.take(f"{name}_half")
            if name in self._known:
                self._round(name, half)
            else:
                self._cast(name, half, to_half=True)
        return self._halves[name]

    def _round(self, name: str, half: str) -> None:
        import numpy as np
        from onnx import numpy_helper

        value = numpy_helper.to_array(self._known[name]).astype(np.float16)
        self.constants.append(numpy_helper.from_array(value, half))

    def _cast(self, source: str, target: str, *, to_half: bool) -> None:
        from onnx import TensorProto, helper

        to = TensorProto.FLOAT16 if to_half else TensorProto.FLOAT
        label = self._fresh.take(f"{target}/Cast")
        self.nodes.append(helper.make_node("Cast", [source], [target], name=label, to=to))
        self.casts += 1
