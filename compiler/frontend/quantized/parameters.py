"""Refuse scales and zero points that do not fit their tensors, with the node's name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoglm_tvm.compiler.frontend.graph import describe, subgraphs
from autoglm_tvm.compiler.frontend.infer import tensor_types
from autoglm_tvm.compiler.frontend.node_context import NodeContext
from autoglm_tvm.compiler.frontend.quantized.constant_store import ConstantStore
from autoglm_tvm.compiler.frontend.quantized.nbits_shapes import nbits_problem
from autoglm_tvm.targets.errors import UserInputError

if TYPE_CHECKING:
    import onnx

#: The operators with an axis, a block size and a zero point: all that others are written in.
CHECKED = ("QuantizeLinear", "DequantizeLinear")
#: Where an operator takes scales, beside the checked ones; each is followed by its zero point.
SCALES = {"QLinearConv": (1, 4, 6), "QLinearMatMul": (1, 4, 6)}


def check_parameters(model: onnx.ModelProto, constants: ConstantStore, label: str) -> None:
    """Check every Q/DQ and MatMulNBits node, and the scales of QLinearConv and QLinearMatMul.

    Raises
    ------
    UserInputError
        An axis that does not exist, a scale or zero point of another shape than the tensor has
        there, a block size that does not fit, or a scale to divide by that is 0 or not finite.
    """
    _check_graph(model.graph, {}, "", constants, label)


def _check_graph(
    graph: onnx.GraphProto,
    outer: dict[str, onnx.TypeProto],
    path: str,
    constants: ConstantStore,
    label: str,
) -> None:
    types = {**outer, **tensor_types(graph)}
    for node in graph.node:
        for name, inner in subgraphs(node):
            _check_graph(inner, types, f"{path}{node.name}.{name}/", constants, label)
        problem = _problem(NodeContext(node, types), constants)
        if problem:
            raise UserInputError(
                f"{describe(node, path)}: {problem}",
                where=label,
                hint="quantize the model again; onnx.checker.check_model and the definition of "
                "the operator say what fits",
            )


def _problem(context: NodeContext, constants: ConstantStore) -> str:
    node = context.node
    if node.op_type == "MatMulNBits":
        return nbits_problem(context, constants)
    if node.op_type in CHECKED:
        return _shape_problem(context) or _scale_problem(context, constants, 1)
    for index in SCALES.get(node.op_type, ()):
        problem = _scale_problem(context, constants, index) or _zero_problem(context, index)
        if problem:
            return problem
    return ""


def _shape_problem(context: NodeContext) -> str:
    """Say which of axis, scale, zero point and block size does not fit the tensor."""
    data, scale, zero = (context.shape(index) for index in range(3))
    if data is None or scale is None:
        return ""
    if context.has_input(2) and zero is not None and _differ(zero, scale):
        return f"its zero point has the shape {_text(zero)}, its scale {_text(scale)}"
    block = context.attribute("block_size", 0)
    if not block and scale in ((), (1,)):
        return ""
    axis = context.attribute("axis", 1)
    if not -len(data) <= axis < len(data):
        return f"its axis is {axis}, but its input has only {len(data)} dimensions"
    axis %= len(data)
    if block:
        return _block_problem(data, scale, axis, block)
    if len(scale) != 1:
        return f"its scale has the shape {_text(scale)}; one of one dimension is needed"
    if _differ(scale, (data[axis],)):
        return (
            f"its scale has {scale[0]} values, but axis {axis} of its input, "
            f"of shape {_text(data)}, has {data[axis]}"
        )
    return ""


def _block_problem(
    data: tuple[int | None, ...], scale: tuple[int | None, ...], axis: int, block: int
) -> str:
    size = data[axis]
    count = None if size is None else -(-size // block) if block > 0 else 0
    wanted = (*data[:axis], count, *data[axis + 1 :])
    if block < 0 or _differ(scale, wanted):
        return (
            f"its scale has the shape {_text(scale)}, but blocks of {block} along axis {axis} of "
            f"its input, of shape {_text(data)}, need {_text(wanted)}"
        )
    return ""


def _zero_problem(context: NodeContext, index: int) -> str:
    scale, zero = context.shape(index), context.shape(index + 1)
    if scale is None or zero is None or zero in ((), (1,)) or not _differ(scale, zero):
        return ""
    return f"input {index + 1}, a zero point, has the shape {_text(zero)}, its scale {_text(scale)}"


def _scale_problem(context: NodeContext, constants: ConstantStore, index: int) -> str:
    """A scale of 0 is fine to multiply by, and nothing to divide by."""
    import numpy as np

    if not context.has_input(index):
        return ""
    name = context.node.input[index]
    value = constants.value(name)
    if value is None:
        return ""
    value = value.astype(np.float64)
    if not np.isfinite(value).all():
        return f"its scale '{name}' is not finite"
    divides = context.node.op_type == "QuantizeLinear" or index == 6
    if divides and (value == 0).any():
        return f"its scale '{name}' is 0, and quantizing divides by it"
    return ""


def _differ(left: tuple[int | None, ...], right: tuple[int | None, ...]) -> bool:
    """Whether two shapes cannot be the same; () and (1,) count as the same."""
    if left in ((), (1,)) and right in ((), (1,)):
        return False
    return len(left) != len(right) or any(
        a is not None and b is not None and a != b for a, b in zip(left, right, strict=True)
    )


def _text(shape: tuple[int | None, ...]) -> str:
    return f"[{', '.join('?' if dim is None else str(dim) for dim in shape)}]"
