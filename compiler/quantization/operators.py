"""Which operators can be quantized, and how: tables, and what makes a node a layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autoglm_tvm.compiler.frontend.graph import DEFAULT_DOMAINS, attribute
from autoglm_tvm.compiler.frontend.infer import static_shape
from autoglm_tvm.compiler.integer.kernels import average_pool_problem, convolution_problem

if TYPE_CHECKING:
    import onnx

#: Operators with a weight: sums of products, which is where quantization saves time.
LAYERS = ("Conv", "ConvTranspose", "MatMul", "Gemm")
#: Layers that integer kernels compute, on ranges known beforehand or found at run time.
INT8_LAYERS = ("Conv", "MatMul", "Gemm")
#: Layers that kernels for weights of four bits compute.
INT4_LAYERS = ("MatMul", "Gemm")
#: Computed on bytes where all operands and some consumer are bytes; the result has its own range.
BYTE_ARITHMETIC = ("Add", "Concat", "GlobalAveragePool", "AveragePool")
#: Moves or chooses bytes: the result keeps the scale and zero point of the first operand.
BYTE_MOVES = (
    *("MaxPool", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Split"),
    *("Identity", "Dropout", "DepthToSpace", "SpaceToDepth"),
)
#: How `int4_problem` begins where the size of a group is what is wrong.
GROUPS_DO_NOT_FIT = "groups of"
#: Fused behind a layer or an addition: clips what saturation would clip anyway.
CLIPS = ("Relu", "Clip")


def is_standard(node: onnx.NodeProto) -> bool:
    """Whether the node's operator is one of ONNX's own."""
    return node.domain in DEFAULT_DOMAINS


def weight_index(node: onnx.NodeProto, constants: Mapping[str, Any]) -> int | None:
    """Return which input is the constant weight of a layer; None where the node is no layer.

    Parameters
    ----------
    constants
        What is known of the constants, by name.
    """
    if not is_standard(node) or node.op_type not in LAYERS or len(node.input) < 2:
        return None
    if node.input[1] in constants:
        return 1
    if node.op_type == "MatMul" and node.input[0] in constants:
        return 0
    return None


def int8_problem(node: onnx.NodeProto, types: Mapping[str, Any], constants: Mapping) -> str:
    """Say why a node cannot be quantized to 8 bits; empty where it can.

    Parameters
    ----------
    types
        Types of the graph's tensors by name.
    constants
        Its constants by name.
    """
    if not is_standard(node):
        return "its operator is not one of ONNX's own"
    if node.op_type in (*BYTE_ARITHMETIC, *BYTE_MOVES, *CLIPS):
        if not is_float32(node.input[0], types):
            return "it does not compute in float32"
        averages = node.op_type == "AveragePool"
        return average_pool_problem(node, static_shape(types[node.input[0]])) if averages else ""
    if node.op_type not in INT8_LAYERS:
        return f"{node.op_type} has no integer kernel"
    return _layer_problem(node, types, constants)


def dynamic_problem(node: onnx.NodeProto, types: Mapping[str, Any], constants: Mapping) -> str:
    """Say why a node cannot be quantized to 8 bits with ranges found at run time."""
    if not is_standard(node) or node.op_type not in INT8_LAYERS:
        return f"only {', '.join(INT8_LAYERS)} with a constant weight can"
    return _layer_problem(node, types, constants)


def int4_problem(
    node: onnx.NodeProto, types: Mapping[str, Any], constants: Mapping, group: int
) -> str:
    """Say why the weight of a node cannot be stored in 4 bits in groups of `group` along K."""
    if not is_standard(node) or node.op_type not in INT4_LAYERS:
        return f"only {' and '.join(INT4_LAYERS)} with a constant weight can"
    problem = _layer_problem(node, types, constants)
    if problem:
        return problem
    shape = list(static_shape(types[node.input[1]]) or ())
    transposed = node.op_type == "Gemm" and attribute(node, "transB", 0)
    rows = shape[1] if transposed else shape[0]
    if rows is None or rows % group:
        return f"{GROUPS_DO_NOT_FIT} {group} do not divide K = {rows}"
    return ""


def _layer_problem(node: onnx.NodeProto, types: Mapping[str, Any], constants: Mapping) -> str:
    at = weight_index(node, constants)
    if at is None:
        return "its weight is not constant"
    if at == 0:
        return "its constant operand is the left one"
    if not is_float32(node.input[1], types) or not is_float32(node.input[0], types):
        return "it does not compute in float32"
    if len(node.input) > 2 and node.input[2] and node.input[2] not in constants:
        return "its bias is not constant"
    rank = len(static_shape(types[node.input[1]]) or ())
    if node.op_type == "Conv":
        return convolution_problem(rank)
    if rank != 2:
        return f"its weight has {rank} axes, not 2"
    if node.op_type == "Gemm" and attribute(node, "transA", 0):
        return "it reads its left operand transposed"
    return ""


def is_float32(name: str, types: Mapping[str, Any]) -> bool:
    """Whether a tensor is known to hold float32."""
    import onnx

    known = types.get(name)
    return known is not None and known.tensor_type.elem_type == onnx.TensorProto.FLOAT
