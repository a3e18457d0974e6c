"""Multiply-adds of a node: what one node's part of the whole work is measured by."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.frontend.graph import attributes
from autoglm_tvm.compiler.frontend.infer import static_shape

if TYPE_CHECKING:
    import onnx

#: Operators that multiply and add, and which operand of theirs is the weight.
CONTRACTIONS = {
    "Conv": 1,
    "ConvInteger": 1,
    "ConvTranspose": 1,
    "Gemm": 1,
    "MatMul": 1,
    "MatMulInteger": 1,
    "MatMulNBits": 1,
}


def multiply_adds(node: onnx.NodeProto, types: dict[str, onnx.TypeProto]) -> int | None:
    """Return how many one run takes; 0 for what is no contraction, None where a size is unknown."""
    if node.op_type not in CONTRACTIONS:
        return 0
    left, right, result = (
        static_shape(types.get(name)) for name in (node.input[0], node.input[1], node.output[0])
    )
    given = attributes(node)
    if left is None or result is None or right is None:
        return None
    if node.op_type == "ConvTranspose":
        each: tuple[int | None, ...] = right[1:]
        outer = left
    elif node.op_type in ("Conv", "ConvInteger"):
        each, outer = right[1:], result
    elif node.op_type == "MatMulNBits":
        each, outer = (given["K"],), result
    else:
        each, outer = (left[0 if given.get("transA") else -1],), result
    sizes = (*outer, *each)
    known = [size for size in sizes if size is not None]
    return math.prod(known) if len(known) == len(sizes) else None
