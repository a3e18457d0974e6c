"""Weights of four bits: MatMul and Gemm with a constant weight become MatMulNBits.

Each group of neighbours along K has a scale, and a zero point if it is not symmetric. Scales are
rounded to float16, and the integers chosen for the rounded ones: onnxruntime wants them in the type
of the activations, but a bundle stores them as float16 without a difference.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.frontend.graph import attribute
from autoglm_tvm.compiler.quantization.int4_rounding import Groups, round_groups
from autoglm_tvm.compiler.quantization.recipe import GROUPS, Int4Settings
from autoglm_tvm.targets.errors import UserInputError

if TYPE_CHECKING:
    import numpy as np
    import onnx

_BITS = 4
_DOMAIN = "com.microsoft"


def to_int4(
    proto: onnx.ModelProto, nodes: Collection[str], settings: Int4Settings, *, search: bool = True
) -> list[str]:
    """Replace nodes by ``MatMulNBits``, in place, and their weights by packed ones.

    Parameters
    ----------
    proto
        A self-contained model; weights are initializers.
    nodes
        Names of the nodes.
    settings
        Size and kind of the groups.
    search
        Whether the scale of each group is searched for the smallest squared error, or taken from
        its largest weight.

    Returns
    -------
    list of str
        For each node its size, its bits a weight and its error.

    Raises
    ------
    UserInputError
        A node that is no product with a constant matrix, groups that do not divide its K, a weight
        that is not finite; nothing is changed then.
    """
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    chosen = [node for node in proto.graph.node if node.name in nodes]
    for node in chosen:
        _check(node, constants, settings.group)
        _check_finite(constants[node.input[1]])
    stored: dict[tuple[str, bool], tuple[str, Groups]] = {}
    notes = []
    for node in chosen:
        transposed = _is_transposed(node)
        key = (node.input[1], transposed)
        if key not in stored:
            weight = _matrix(constants[node.input[1]], transposed)
            groups = round_groups(weight, settings.group, settings.symmetric, search)
            stored[key] = _store(proto, node.input[1], groups, weight.dtype), groups
        prefix, groups = stored[key]
        notes.append(f"{node.name}: {groups.describe()}")
        _replace(proto, node, groups, prefix)
    if chosen:
        _import_domain(proto)
        _drop_unused(proto, {name for name, _ in stored})
    return notes


def _check(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto], group: int) -> None:
    weight = constants.get(node.input[1]) if len(node.input) > 1 else None
    reason = ""
    if node.op_type not in ("MatMul", "Gemm") or node.domain not in ("", "ai.onnx"):
        reason = "only MatMul and Gemm can"
    elif weight is None:
        reason = "its weight is not constant"
    elif len(weight.dims) != 2:
        reason = f"its weight has {len(weight.dims)} axes, not 2"
    elif weight.data_type not in (1, 10):
        reason = "its weight is neither float32 nor float16"
    elif attribute(node, "transA", 0) or attribute(node, "alpha", 1.0) != 1.0:
        reason = "it has transA or alpha"
    elif attribute(node, "beta", 1.0) != 1.0:
        reason = "it has beta"
    if reason:
        raise UserInputError(
            f"its weight cannot be stored in {_BITS} bits: {reason}",
            where=f"node '{node.name}' ({node.op_type})",
            hint="give the node another precision in the recipe",
        )
    assert weight is not None
    reduced = weight.dims[1 if _is_transposed(node) else 0]
    if reduced % group:
        fitting = [str(size) for size in GROUPS if reduced % size == 0]
        hint = f"choose {' or '.join(fitting)} under int4: group" if fitting else ""
        raise UserInputError(
            f"groups of {group} do not divide its K = {reduced}",
            where=f"node '{node.name}' ({node.op_type})",
            hint=hint or "no group divides it: give the node another precision in the recipe",
        )


def _is_transposed(node: onnx.NodeProto) -> bool:
    return node.op_type == "Gemm" and bool(attribute(node, "transB", 0))


def _matrix(tensor: onnx.TensorProto, transposed: bool) -> np.ndarray:
    """The weight as [N, K]."""
    from onnx import numpy_helper

    array = numpy_helper.to_array(tensor)
    return array if transposed else array.T


def _check_finite(tensor: onnx.TensorProto) -> None:
    import numpy as np
    from onnx import numpy_helper

    if not np.isfinite(numpy_helper.to_array(tensor)).all():
        raise UserInputError(
            "the weight holds NaN or infinity",
            where=f"tensor '{tensor.name}'",
            hint="export the model again; a float model gives no numbers with this weight either",
        )


def _store(proto: onnx.ModelProto, prefix: str, groups: Groups, dtype: np.dtype) -> str:
    """Add the tensors that a MatMulNBits of this weight reads; return how their names begin."""
    from onnx import numpy_helper

    taken = {tensor.name for tensor in proto.graph.initializer}
    while f"{prefix}_int4" in taken:
        prefix += "_again"
    tensors = {"int4": groups.packed, "scales": groups.scales.astype(dtype)}
    if groups.zero_points is not None:
        tensors["zero_points"] = groups.zero_points
    proto.graph.initializer.extend(
        numpy_helper.from_array(array, f"{prefix}_{kind}") for kind, array in tensors.items()
    )
    return prefix


def _replace(proto: onnx.ModelProto, node: onnx.NodeProto, groups: Groups, prefix: str) -> None:
    """Make a MatMulNBits of a node, which keeps its name and its output."""
    from onnx import helper

    operands = [node.input[0], f"{prefix}_int4", f"{prefix}_scales"]
    if groups.zero_points is not None:
        operands.append(f"{prefix}_zero_points")
    bias = node.input[2] if node.op_type == "Gemm" and len(node.input) > 2 else ""
    shape = _shape_of(proto, bias) if bias else ()
    columns = len(groups.scales)
    joined = shape == (columns,)
    if joined:
        operands += [""] * (5 - len(operands)) + [bias]
    (output,) = node.output
    product = helper.make_node(
        "MatMulNBits",
        operands,
        [output if joined or not bias else f"{output}_product"],
        name=node.name,
        domain=_DOMAIN,
        K=groups.reduced,
        N=columns,
        bits=_BITS,
        block_size=groups.group,
    )
    at = list(proto.graph.node).index(node)
    del proto.graph.node[at]
    proto.graph.node.insert(at, product)
    if bias and not joined:
        name = f"{node.name}_bias" if node.name else ""
        addition = helper.make_node("Add", [product.output[0], bias], [output], name=name)
        proto.graph.node.insert(at + 1, addition)


def _shape_of(proto: onnx.ModelProto, name: str) -> tuple[int, ...] | None:
    """The shape of an initializer; None for other tensors."""
    found = (tuple(t.dims) for t in proto.graph.initializer if t.name == name)
    return next(found, None)


def _import_domain(proto: onnx.ModelProto) -> None:
    if all(entry.domain != _DOMAIN for entry in proto.opset_import):
        entry = proto.opset_import.add()
        entry.domain, entry.version = _DOMAIN, 1


def _drop_unused(proto: onnx.ModelProto, names: Collection[str]) -> None:
    """Remove those initializers of `names` that nothing reads any more."""
    from autoglm_tvm.compiler.frontend.graph import walk_graphs

    read = {name for graph in walk_graphs(proto.graph) for n in graph.node for name in n.input}
    read |= {value.name for value in proto.graph.output}
    for at in reversed(range(len(proto.graph.initializer))):
        name = proto.graph.initializer[at].name
        if name in names and name not in read:
            del proto.graph.initializer[at]
    for at in reversed(range(len(proto.graph.input))):
        name = proto.graph.input[at].name
        if name in names and name not in read:
            del proto.graph.input[at]
