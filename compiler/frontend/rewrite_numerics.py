"""Rewrites of operators that TVM's importer reads, but computes otherwise at their edges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autoglm_tvm.compiler.frontend.graph import FreshNames
from autoglm_tvm.compiler.frontend.node_context import NodeContext

if TYPE_CHECKING:
    import onnx

FLOATS = ("float", "float16", "bfloat16", "double")


def float_mod(context: NodeContext, fresh: FreshNames) -> list[onnx.NodeProto] | None:
    """Mod(x, y) = r + y where r is not 0 and of the other sign than y, else r = fmod(x, y).

    The importer's form, x - floor(x / y) * y, is NaN for an infinite y and loses digits for a large
    quotient.
    """
    import numpy as np
    from onnx import helper, numpy_helper

    node, dtype = context.node, context.dtype(0)
    if dtype not in FLOATS or context.attribute("fmod", 0):
        return None
    x, y = node.input
    elem_type = context.types[x].tensor_type.elem_type
    zero = numpy_helper.from_array(np.zeros((), helper.tensor_dtype_to_np_dtype(elem_type)))
    made: list[onnx.NodeProto] = []

    def add(op_type: str, *inputs: str, **attributes: Any) -> str:
        name = fresh.take(f"{node.name}/{op_type}")
        made.append(helper.make_node(op_type, inputs, [name], name=name, **attributes))
        return name

    nothing = add("Constant", value=zero)
    rest = add("Mod", x, y, fmod=1)
    signs_differ = add("Xor", add("Less", rest, nothing), add("Less", y, nothing))
    there = add("Not", add("Equal", rest, nothing))
    inputs = [add("And", there, signs_differ), add("Add", rest, y), rest]
    return [*made, helper.make_node("Where", inputs, list(node.output), name=node.name)]


def nms_thresholds(context: NodeContext, fresh: FreshNames) -> list[onnx.NodeProto] | None:
    """Boxes are suppressed where IoU > t, which is IoU >= the next float32 after t.

    The importer's converter suppresses where IoU >= t, takes an absent iou_threshold as 0.5 instead
    of 0, and an absent score_threshold as 0 instead of none.
    """
    import numpy as np
    from onnx import helper, numpy_helper

    node, limits = context.node, context.constant(3)
    if context.has_input(3) and limits is None:
        return None
    limit = np.float32(0 if limits is None else limits.reshape(-1)[0])
    # The first number after 0 is denormal, which some processors take for 0.
    after = max(np.nextafter(limit, np.float32(2)), np.finfo(np.float32).tiny)
    made = []
    for index, value in ((3, after), (4, np.finfo(np.float32).min)):
        if index == 4 and context.has_input(4):
            continue
        name = fresh.take(f"{node.name}/threshold")
        tensor = numpy_helper.from_array(np.array([value], dtype=np.float32))
        made.append(helper.make_node("Constant", [], [name], name=name, value=tensor))
        node.input.extend([""] * (index + 1 - len(node.input)))
        node.input[index] = name
    return [*made, node]
