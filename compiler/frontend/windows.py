"""Refuse images that a network shrinks to nothing.

onnx's shape inference divides toward zero, so it sees a pixel where a window does not fit; TVM sees
none, and a later mean over none divides by zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoglm_tvm.compiler.frontend.graph import describe, walk_graphs
from autoglm_tvm.compiler.frontend.infer import static_shape, tensor_types
from autoglm_tvm.compiler.frontend.node_context import NodeContext
from autoglm_tvm.targets.errors import UserInputError

if TYPE_CHECKING:
    import onnx

WINDOWED = ("AveragePool", "Conv", "ConvInteger", "LpPool", "MaxPool", "QLinearConv")
RESIZED = ("ConvTranspose", "Resize", "Upsample")


def check_windows_fit(model: onnx.ModelProto, label: str) -> None:
    """Refuse nodes whose output would be empty though none of the model's inputs is.

    Raises
    ------
    UserInputError
        With the first such node, its input and output.
    """
    if any(0 in (static_shape(value.type) or ()) for value in model.graph.input):
        return
    for graph in walk_graphs(model.graph):
        types = tensor_types(graph)
        for node in graph.node:
            if node.domain or node.op_type not in (*WINDOWED, *RESIZED):
                continue
            context = NodeContext(node, types)
            result = static_shape(types.get(node.output[0])) or ()
            empty = any(size is not None and size < 1 for size in result)
            if empty or (node.op_type in WINDOWED and not _window_fits(context)):
                raise UserInputError(
                    f"{describe(node)} leaves nothing of its input '{node.input[0]}' "
                    f"{list(context.shape(0) or ())}: its output '{node.output[0]}' is empty",
                    where=label,
                    hint="give a larger shape with --shape",
                )


def _window_fits(context: NodeContext) -> bool:
    shape = context.shape(0)
    if shape is None or context.attribute("auto_pad", "NOTSET") in ("SAME_UPPER", "SAME_LOWER"):
        return True
    sizes, rank = shape[2:], len(shape) - 2
    kernel = context.attribute("kernel_shape", None) or (context.shape(1) or ())[2:]
    pads = context.attribute("pads", None) or [0] * (2 * rank)
    strides = context.attribute("strides", None) or [1] * rank
    dilations = context.attribute("dilations", None) or [1] * rank
    for axis, (size, width) in enumerate(zip(sizes, kernel, strict=False)):
        if size is None or width is None:
            continue
        reach = (width - 1) * dilations[axis] + 1
        slack = size + pads[axis] + pads[axis + rank] - reach
        # With ceil_mode a window may stick out by less than one stride.
        if slack <= -strides[axis] if context.attribute("ceil_mode", 0) else slack < 0:
            return False
    return True
