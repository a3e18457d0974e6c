"""How far rounding alone takes a quantized model: the reference against itself, hardly changed.

Between its integers a quantized model computes in float. A rounding error there can end before or
behind half a step of the next quantization; a whole step is the difference then, and later layers
carry it on, up to other decisions. How much that is depends on the network and on the input, so it
is measured: what is quantized is scaled by one part in a million, and the outputs are compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.compare import compare
from autoglm_tvm.compiler.frontend.infer import tensor_types
from autoglm_tvm.compiler.reference import run_reference

if TYPE_CHECKING:
    import numpy as np
    import onnx

    from autoglm_tvm.compiler.read import ReadModel

# Some units in the last place of float32: what sums of hundreds of products are off by.
_SCALES = (1 + 1e-6, 1 - 1e-6, 1 + 2e-6, 1 - 2e-6)
_QUANTIZES = ("QuantizeLinear", "DynamicQuantizeLinear")


def step_noise(
    model: ReadModel, inputs: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """Return for each output the largest noise that rounding before quantization makes of it.

    Noise is the energy of the difference over the output's (`TensorError.energy`).

    Parameters
    ----------
    model
        The quantized reference, as it was read.
    inputs
        What it runs on.
    expected
        Its outputs.
    """
    noise = dict.fromkeys(expected, 0.0)
    for scale in _SCALES:
        scaled = _scaled(model.proto, scale)
        found = run_reference(scaled, {**inputs, **model.weights}, list(expected))
        for name, array in found.items():
            noise[name] = max(noise[name], compare(name, array, expected[name]).energy)
    return noise


def _scaled(proto: onnx.ModelProto, scale: float) -> onnx.ModelProto:
    """Return the model with every float32 that is quantized scaled."""
    import numpy as np
    import onnx
    from onnx import helper, numpy_helper

    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    graph = copy.graph
    constants = {tensor.name for tensor in graph.initializer}
    factor = "autoglm_rounding"
    graph.initializer.append(numpy_helper.from_array(np.array(scale, np.float32), factor))
    types = tensor_types(graph)
    nodes: list[onnx.NodeProto] = []
    for number, node in enumerate(graph.node):
        quantized = node.input[0] if node.op_type in _QUANTIZES else ""
        kind = types.get(quantized)
        if quantized not in constants and kind is not None and kind.tensor_type.elem_type == 1:
            scaled = f"{quantized}/rounding{number}"
            nodes.append(helper.make_node("Mul", [quantized, factor], [scaled]))
            node.input[0] = scaled
        nodes.append(node)
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
    return copy
