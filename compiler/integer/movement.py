"""Operators that move elements or choose among them: f((X - z) s) = (f(X) - z) s.

They run on the bytes, whatever stands behind. That holds for all that copies elements, and, since
scales are positive, for what keeps their order: MaxPool, ReduceMax, ReduceMin.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.frontend.graph import attribute, attributes
from autoglm_tvm.compiler.integer.bench import Bench
from autoglm_tvm.compiler.integer.bytes_to_bytes import quantize_constant
from autoglm_tvm.compiler.integer.products import Taken
from autoglm_tvm.compiler.integer.quantization import Quantized
from autoglm_tvm.compiler.integer.refusal import Refusal

if TYPE_CHECKING:
    import onnx

#: Operators whose first input is moved; what else they read says where to.
MOVEMENTS = (
    "DepthToSpace",
    "Dropout",
    "Expand",
    "Flatten",
    "Gather",
    "GatherElements",
    "GatherND",
    "Identity",
    "MaxPool",
    "Pad",
    "ReduceMax",
    "ReduceMin",
    "Reshape",
    "Resize",
    "Slice",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
)
# The operator sets from which on these take int8 and uint8.
_BYTES_SINCE = {"MaxPool": 12, "ReduceMax": 12, "ReduceMin": 12, "Pad": 13}


def movement(bench: Bench, node: onnx.NodeProto, method: str) -> Taken | Refusal:
    """Do it to the bytes; its outputs have the scale of its input."""
    source = bench.quantized.get(node.input[0])
    if source is None:
        return Refusal("its input is not quantized")
    if source.value is not None and source.how.axis is not None:
        return _constant(bench, node, source)
    if not source.how.of_bytes:
        return Refusal("its input is not quantized to bytes with one scale")
    refusal = _refusal(bench, node)
    if refusal is not None:
        return refusal
    copied = type(node).FromString(node.SerializeToString())
    if node.op_type == "Pad" and not _pad_with_byte(bench, copied, source):
        return Refusal("it pads with a number that no byte stands for")
    for name in node.input[1:]:
        bench.want_real(name)
    copied.input[0] = source.tensor
    for index, name in enumerate(node.output):
        if name:
            copied.output[index] = bench.fresh(f"{name}/bytes")
            bench.quantized[name] = Quantized(copied.output[index], source.how)
    bench.nodes.append(copied)
    return (node,)


def _refusal(bench: Bench, node: onnx.NodeProto) -> Refusal | None:
    if bench.opset < _BYTES_SINCE.get(node.op_type, 0):
        return Refusal(f"{node.op_type} of opset {bench.opset} takes no bytes")
    given = attributes(node)
    if node.op_type == "Resize" and given.get("mode", "nearest") != "nearest":
        return Refusal("it interpolates")
    if node.op_type == "Resize" and (
        given.get("coordinate_transformation_mode") == "tf_crop_and_resize"
    ):
        return Refusal("it fills in a number where it leaves its input")
    if node.op_type in ("MaxPool", "Dropout") and len(node.output) > 1:
        return Refusal("it has a second output")
    if node.op_type == "Dropout" and len(node.input) > 2 and node.input[2]:
        return Refusal("it may be told to train")
    return None


def _pad_with_byte(bench: Bench, node: onnx.NodeProto, source: Quantized) -> bool:
    """Give the copied node the byte to pad with in place of the number; False if there is none."""
    import numpy as np

    if attribute(node, "mode", "constant") != "constant":
        return True
    value = np.zeros((), np.float32)
    if len(node.input) > 2 and node.input[2]:
        known = bench.real_constant(node.input[2])
        if known is None or known.size != 1:
            return False
        value = known.reshape(())
    byte = quantize_constant(value, source.how)
    meant = (byte.astype(np.int32) - source.how.zero_point) * source.how.scale
    if np.float32(meant) != value:
        return False
    while len(node.input) < 3:
        node.input.append("")
    node.input[2] = bench.new_constant(byte.reshape(()), "pad")
    return True


def _constant(bench: Bench, node: onnx.NodeProto, source: Quantized) -> Taken | Refusal:
    """A weight with a scale for each channel, transposed before it is used."""
    if node.op_type == "Identity":
        bench.quantized[node.output[0]] = source
        return (node,)
    if node.op_type != "Transpose" or source.value is None:
        return Refusal("its input has a scale for each channel")
    rank = source.value.ndim
    order = next((tuple(a.ints) for a in node.attribute if a.name == "perm"), None)
    moved = source.transposed(order or tuple(reversed(range(rank))))
    assert moved.value is not None
    name = bench.new_constant(moved.value.copy(), f"{node.output[0]}/integers")
    bench.quantized[node.output[0]] = replace(moved, tensor=name)
    return (node,)
