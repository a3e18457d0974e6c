"""Constant folding by onnxslim, and nothing else of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autoglm_tvm.compiler.frontend.constants import constant_nodes_to_initializers
from autoglm_tvm.compiler.frontend.equivalence import NEWEST_IR
from autoglm_tvm.compiler.frontend.infer import infer_shapes

if TYPE_CHECKING:
    import onnx

#: onnxslim's passes that rename tensors, fuse operators, merge weights, or write -1 for a symbolic
#: dimension in a Reshape (which forgets that it equals an input's).
SKIPPED = [
    "dead_node_elimination",
    "graph_fusion",
    "subexpression_elimination",
    "weight_tying",
]
#: Do not write out a constant larger than this many bytes: an Expand or Tile can make gigabytes.
LARGEST_CONSTANT = 64 * 2**20
#: One round folds what inference knew before it; a few rounds reach the end of shape arithmetic.
MAX_ROUNDS = 10


def fold_with_onnxslim(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return `model` with constants and static shape arithmetic folded.

    Shapes come from onnx's inference instead of onnxslim's own, which merges symbolic dimensions
    that it takes for equal.
    """
    import onnx
    import onnxslim

    # onnxslim annotates each keyword argument with the type of all of them together.
    settings: dict[str, Any] = {
        "model_check": False,
        "no_shape_infer": True,
        "skip_optimizations": SKIPPED,
        "size_threshold": LARGEST_CONSTANT,
    }
    # onnxslim computes constants with onnxruntime, which takes no newer version.
    ir_version = model.ir_version
    model.ir_version = min(ir_version, NEWEST_IR)
    for _ in range(MAX_ROUNDS):
        before = _node_count(model)
        infer_shapes(model)
        folded = onnxslim.slim(model, **settings)
        if not isinstance(folded, onnx.ModelProto):
            raise ValueError("onnxslim returned no model")
        model = folded
        constant_nodes_to_initializers(model)
        if _node_count(model) == before:
            break
    model.ir_version = ir_version
    return model


def _node_count(model: onnx.ModelProto) -> int:
    return len(model.graph.node)
