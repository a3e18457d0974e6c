"""The sign of inner activations: that which the machine's instruction wants on its left.

    real = (uint8 - z) s = (int8 - (z - 128)) s      int8 = uint8 - 128

So a Q node and the DQ nodes behind it may use the other type; zero point and bytes move by 128, and
nothing rounds otherwise. Inputs and outputs of the model keep theirs, and so does what any node but
DQ reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoglm_tvm.compiler.frontend.graph import FreshNames, input_names, known_tensors
from autoglm_tvm.schedules.machine import Machine

if TYPE_CHECKING:
    import numpy as np
    import onnx

# What a machine's instruction for sums of products takes on the left; either where it is not here.
_WANTED = {"vnni": "uint8", "i8mm": "int8", "dotprod": "int8", "neon": "int8"}
_OTHER = {"uint8": "int8", "int8": "uint8"}
_MOVE = {"uint8": 128, "int8": -128}


def move_activation_signs(proto: onnx.ModelProto, machine: Machine) -> list[str]:
    """Give inner activations of the main graph the wanted type, in place; a note says how many."""
    wanted = _WANTED.get(machine.dot_product)
    if wanted is None:
        return []
    graph = proto.graph
    known = known_tensors(graph)
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in sorted(input_names(node)):
            readers.setdefault(name, []).append(node)
    outputs = {value.name for value in graph.output}
    zero_points = _NewZeroPoints(graph)
    count = 0
    for node in graph.node:
        if node.op_type != "QuantizeLinear" or node.output[0] in outputs:
            continue
        island = [node, *readers.get(node.output[0], [])]
        if not all(_reads_data(each, node.output[0]) for each in island[1:]):
            continue
        values = [_zero_point(each, known) for each in island]
        if any(value is None or value.dtype.name != _OTHER[wanted] for value in values):
            continue
        for each, value in zip(island, values, strict=True):
            if value is not None:
                zero_points.give(each, value, wanted)
        count += 1
    plural = "s" if count > 1 else ""
    return [f"{count} inner activation{plural} made {wanted} for {machine.dot_product}"] * bool(
        count
    )


def _reads_data(node: onnx.NodeProto, name: str) -> bool:
    """Whether it dequantizes the tensor, and uses it in no other way."""
    return node.op_type == "DequantizeLinear" and name not in node.input[1:]


def _zero_point(node: onnx.NodeProto, known: dict[str, onnx.TensorProto]) -> np.ndarray | None:
    """The zero point of a Q or DQ node; None where it is computed, or left out."""
    from onnx import numpy_helper

    name = node.input[2] if len(node.input) > 2 else ""
    return numpy_helper.to_array(known[name]) if name in known else None


class _NewZeroPoints:
    """Makes the moved zero points, one for each value."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.fresh = FreshNames(graph)
        self.made: dict[tuple[str, bytes, tuple[int, ...]], str] = {}

    def give(self, node: onnx.NodeProto, value: np.ndarray, wanted: str) -> None:
        """Let the node read the zero point in the wanted type."""
        import numpy as np
        from onnx import helper, numpy_helper

        moved = (value.astype(np.int32) + _MOVE[wanted]).astype(wanted)
        key = (wanted, moved.tobytes(), moved.shape)
        if key not in self.made:
            self.made[key] = self.fresh.take(f"{node.input[2]}/{wanted}")
            self.graph.initializer.append(numpy_helper.from_array(moved, self.made[key]))
        node.input[2] = self.made[key]
        for attribute in node.attribute:
            if attribute.name == "output_dtype" and node.op_type == "QuantizeLinear":
                attribute.i = helper.np_dtype_to_tensor_dtype(np.dtype(wanted))
