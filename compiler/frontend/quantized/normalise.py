"""Apply the rules that bring a quantized model into one form, and say what was changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.frontend.graph import (
    FreshNames,
    default_opset,
    known_tensors,
    replace_items,
    subgraphs,
    walk_nodes,
)
from autoglm_tvm.compiler.frontend.infer import infer_shapes, tensor_types
from autoglm_tvm.compiler.frontend.node_context import NodeContext
from autoglm_tvm.compiler.frontend.prune import prune
from autoglm_tvm.compiler.frontend.quantized import contrib, gather_block, gemm, qlinear
from autoglm_tvm.compiler.frontend.quantized.constant_store import ConstantStore
from autoglm_tvm.compiler.frontend.quantized.constants import (
    fold_constant_quantize,
    transpose_constants,
    widen_constants,
)
from autoglm_tvm.compiler.frontend.quantized.parameters import check_parameters
from autoglm_tvm.compiler.frontend.quantized.qdq_builder import QdqBuilder
from autoglm_tvm.compiler.frontend.quantized.standard_qdq import one_spelling, standard_qdq
from autoglm_tvm.compiler.frontend.quantized.tables import gather_before_dequantizing
from autoglm_tvm.compiler.frontend.quantized.weight_only import weight_only_products

if TYPE_CHECKING:
    import numpy as np
    import onnx

MICROSOFT = "com.microsoft"

Rule = Callable[[QdqBuilder], bool]

#: By domain and operator. A rule adds the nodes to its builder, and answers False where it does
#: not know enough of the node to do so.
RULES: dict[tuple[str, str], Rule] = {
    ("", "DequantizeLinear"): one_spelling,
    ("", "QuantizeLinear"): one_spelling,
    ("", "QLinearConv"): qlinear.qlinear_conv,
    ("", "QLinearMatMul"): qlinear.qlinear_matmul,
    (MICROSOFT, "DequantizeLinear"): standard_qdq,
    (MICROSOFT, "DynamicQuantizeMatMul"): gemm.dynamic_quantize_matmul,
    (MICROSOFT, "GatherBlockQuantized"): gather_block.gather_block_quantized,
    (MICROSOFT, "MatMulIntegerToFloat"): gemm.matmul_integer_to_float,
    (MICROSOFT, "QGemm"): gemm.qgemm,
    (MICROSOFT, "QLinearAdd"): contrib.qlinear_add,
    (MICROSOFT, "QLinearAveragePool"): contrib.qlinear_average_pool,
    (MICROSOFT, "QLinearConcat"): contrib.qlinear_concat,
    (MICROSOFT, "QLinearGlobalAveragePool"): contrib.qlinear_global_average_pool,
    (MICROSOFT, "QLinearLeakyRelu"): contrib.qlinear_leaky_relu,
    (MICROSOFT, "QLinearMul"): contrib.qlinear_mul,
    (MICROSOFT, "QLinearReduceMean"): contrib.qlinear_reduce_mean,
    (MICROSOFT, "QLinearSigmoid"): contrib.qlinear_sigmoid,
    (MICROSOFT, "QLinearSoftmax"): contrib.qlinear_softmax,
    (MICROSOFT, "QLinearWhere"): contrib.qlinear_where,
    (MICROSOFT, "QuantizeLinear"): standard_qdq,
}
#: Operators that say that a model is quantized, whatever becomes of them.
INTEGER_OPERATORS = (
    "ConvInteger",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "MatMulInteger",
    "MatMulNBits",
    "QuantizeLinear",
)


def is_quantized(model: onnx.ModelProto) -> bool:
    """Say whether any node of `model` computes with quantized tensors."""
    return first_quantized(model) is not None


def first_quantized(model: onnx.ModelProto) -> str | None:
    """Return the name of the first node that computes with quantized tensors; None without one."""
    for path, node in walk_nodes(model.graph):
        if (node.domain, node.op_type) in RULES or node.op_type in INTEGER_OPERATORS:
            return f"{path}{node.name}"
    return None


def normalise_quantized(
    model: onnx.ModelProto, weights: dict[str, np.ndarray], label: str
) -> list[str]:
    """Bring the quantized nodes of `model` into the one form, in place; types must be inferred.

    Parameters
    ----------
    weights
        The detached weights, to which new ones may be added, and from which unused ones go.

    Raises
    ------
    UserInputError
        Naming the node whose axis, scale or zero point does not fit its tensor.
    """
    if not is_quantized(model):
        return []
    fresh = FreshNames(model.graph)
    check_parameters(model, ConstantStore(model, weights), label)
    counts: dict[str, int] = {}
    opset, before = default_opset(model), -1
    # A rule may want the rank of what another one makes, which inference then knows. It replaces
    # the graph's messages, which a store refers to.
    while sum(counts.values()) != before:
        before = sum(counts.values())
        _apply(model.graph, {}, ConstantStore(model, weights), fresh, opset, counts)
        infer_shapes(model)
    constants = ConstantStore(model, weights)
    fold_constant_quantize(model, constants)
    transpose_constants(model, constants, fresh)
    infer_shapes(model)
    constants = ConstantStore(model, weights)
    products = weight_only_products(model, constants, fresh)
    widen_constants(model, constants, fresh)
    gather_before_dequantizing(model, constants, fresh)
    prune(model)
    constants.drop_unused_weights()
    infer_shapes(model)
    notes = []
    if counts:
        listed = ", ".join(f"{name} ({count})" for name, count in sorted(counts.items()))
        notes.append(f"quantized operators as Q/DQ: {listed}")
    if products:
        notes.append(f"{products} products of a weight in 4 or 8 bits as MatMulNBits")
    return notes


def _apply(
    graph: onnx.GraphProto,
    outer: dict[str, onnx.TypeProto],
    constants: ConstantStore,
    fresh: FreshNames,
    opset: int,
    counts: dict[str, int],
) -> None:
    types = {**outer, **tensor_types(graph)}
    known = known_tensors(graph)
    nodes: list[onnx.NodeProto] = []
    changed = False
    for node in graph.node:
        for _, inner in subgraphs(node):
            _apply(inner, types, constants, fresh, opset, counts)
        rule = RULES.get((node.domain, node.op_type))
        builder = QdqBuilder(NodeContext(node, types, known), constants, fresh, opset)
        typed = all(name in types for name in node.input if name)
        if rule is None or not typed or not rule(builder):
            nodes.append(node)
            continue
        nodes.extend(builder.made)
        changed = True
        if rule is not one_spelling:
            counts[node.op_type] = counts.get(node.op_type, 0) + 1
    if changed:
        replace_items(graph.node, nodes)
