"""Take the mean error that a quantized weight makes off the bias behind it.

With the weight W, what is stored of it W', and the mean E[x] of the layer's input on calibration
data, the layer's output is off by (W' - W) E[x] in the mean (Nagel et al., 2019, section 4.2; they
estimate E[x], here it is measured). For a convolution E[x] is one number an input channel, so that
the border, where zeros stand in for x, is corrected a little too much.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.frontend.graph import FreshNames, attribute, replace_items
from autoglm_tvm.compiler.quantization.channel_statistics import ChannelStatistics
from autoglm_tvm.compiler.quantization.operators import INT8_LAYERS
from autoglm_tvm.compiler.quantization.qdq import dequantized_weight
from autoglm_tvm.compiler.quantization.recipe import Int8Settings
from autoglm_tvm.compiler.quantization.write_qdq import bias_readers, output_axis

if TYPE_CHECKING:
    import numpy as np
    import onnx


def channel_axes(proto: onnx.ModelProto, nodes: Collection[str]) -> dict[str, int]:
    """Return the inputs of layers whose means are needed, with the axis of their channels."""
    return {
        node.input[0]: 1 if node.op_type == "Conv" else -1
        for node in proto.graph.node
        if node.name in nodes and node.op_type in INT8_LAYERS
    }


def correct_biases(
    proto: onnx.ModelProto,
    nodes: Collection[str],
    statistics: Mapping[str, ChannelStatistics],
    settings: Int8Settings,
) -> list[str]:
    """Correct the biases of the layers `nodes` (names) of a float model, in place; return notes.

    A convolution and a Gemm without a bias get one. A MatMul is corrected where a constant is added
    behind it.

    Parameters
    ----------
    statistics
        Means of the channels of the layers' inputs; see `channel_axes`.
    """
    import numpy as np
    from onnx import numpy_helper

    graph = proto.graph
    fresh = FreshNames(graph)
    constants = {tensor.name: tensor for tensor in graph.initializer}
    readers = bias_readers(graph, nodes, constants)
    count = 0
    for node in graph.node:
        if node.name not in nodes or node.name not in readers or node.input[0] not in statistics:
            continue
        weight = numpy_helper.to_array(constants[node.input[1]]).astype(np.float64)
        axis = output_axis(node)
        error = dequantized_weight(weight, axis if settings.per_channel else None) - weight
        shift = _mean_error(node, error, statistics[node.input[0]].mean)
        reader, at = readers[node.name]
        name = reader.input[at] if len(reader.input) > at else ""
        bias = numpy_helper.to_array(constants[name]) if name else np.zeros(len(shift), np.float32)
        if bias.size != 1 and (bias.size, bias.shape[-1]) != (len(shift), len(shift)):
            continue
        corrected = (bias.reshape(-1) - shift).reshape(*bias.shape[:-1], len(shift))
        label = fresh.take(f"{name or node.name}_corrected")
        graph.initializer.append(numpy_helper.from_array(corrected.astype(np.float32), label))
        inputs = list(reader.input) + [""] * (at + 1 - len(reader.input))
        inputs[at] = label
        replace_items(reader.input, inputs)
        count += 1
    return [f"corrected the biases of {count} layers"] if count else []


def _mean_error(node: onnx.NodeProto, error: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Return the mean error of each output channel, from that of the weight."""
    import numpy as np

    if node.op_type != "Conv":
        return mean @ (error.T if attribute(node, "transB", 0) else error)
    groups = attribute(node, "group", 1)
    of_inputs = error.reshape(*error.shape[:2], -1).sum(axis=2)
    by_group = mean.reshape(groups, -1)
    outputs = np.repeat(np.arange(groups), len(error) // groups)
    return (of_inputs * by_group[outputs]).sum(axis=1)
