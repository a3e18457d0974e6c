"""float16 for some of a graph's nodes: weights and arithmetic, with casts at the borders only.

The graph keeps its inputs and outputs. A tensor keeps its name where float16 is all that reads it;
where float32 reads it too, the half one has a name of its own in front of a Cast.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.frontend.graph import captured_names
from autoglm_tvm.compiler.frontend.infer import infer_shapes, static_shape, tensor_types
from autoglm_tvm.compiler.quantization.half_checks import (
    Ranges,
    constant_problem,
    range_problem,
    sum_problem,
    tensor_fits,
)
from autoglm_tvm.compiler.quantization.half_operators import (
    BIASES,
    FOLLOWERS,
    NEVER,
    SUMS,
    half_inputs,
)
from autoglm_tvm.compiler.quantization.half_rewrite import rewrite_half

if TYPE_CHECKING:
    import numpy as np
    import onnx

#: Layers that the notes name; the number of all is said.
_NAMED = 20


def to_half(proto: onnx.ModelProto, nodes: Collection[str], ranges: Ranges | None) -> list[str]:
    """Let `nodes` compute in float16, in place, and return what was done.

    Nodes between them that only move values or work on single ones (`FOLLOWERS`) come along, named
    or not. A node stays in float32 where a constant or a tensor of it would overflow or drown in
    float16, or where its operator counts or sums; the notes say which, and why.

    Parameters
    ----------
    proto
        A self-contained model: all weights are initializers.
    nodes
        Names of nodes of the main graph.
    ranges
        Smallest and largest value of each tensor on the calibration data; None where there is none,
        and then only constants are checked.
    """
    infer_shapes(proto)
    chooser = _Chooser(proto, ranges)
    chosen = [node for node in proto.graph.node if node.name in nodes]
    # What has no weight is worth it next to a layer, not between casts.
    layers = [node for node in chosen if not chooser.follows(node) or node.op_type == "Gather"]
    for node in layers:
        chooser.consider(node)
    for node in [] if chooser.chosen else chosen:
        if node not in layers:
            chooser.consider(node)
    named = len(chooser.chosen)
    if named:
        chooser.follow(nodes)
    casts = rewrite_half(proto, chooser.chosen) if named else 0
    notes = [f"{node} stays in float32: {why}" for node, why in chooser.refused[:_NAMED]]
    if len(chooser.refused) > _NAMED:
        notes.append(f"{len(chooser.refused) - _NAMED} more layers stay in float32 like these")
    if named:
        followers = len(chooser.chosen) - named
        notes.append(
            f"{named} layers compute in float16, {followers} nodes with them; {casts} casts"
        )
    if named and ranges is None:
        notes.append(
            "float16 without calibration data: constants were checked for overflow, activations "
            "were not"
        )
    return notes


class _Chooser:
    """Decides which nodes compute in float16.

    Attributes
    ----------
    chosen
        Names of the outputs' first tensors, by which nodes are known: names of nodes may be empty.
    refused
        Layer and reason.
    """

    def __init__(self, proto: onnx.ModelProto, ranges: Ranges | None) -> None:
        self._graph = proto.graph
        self._ranges = ranges
        self._types = tensor_types(proto.graph)
        self._constants = {tensor.name: tensor for tensor in proto.graph.initializer}
        self._problems: dict[str, str] = {}
        # A branch reads a tensor as it was declared.
        self._captured = {name for node in proto.graph.node for name in captured_names(node)}
        self._half: set[str] = set()
        self.chosen: set[str] = set()
        self.refused: list[tuple[str, str]] = []

    def consider(self, node: onnx.NodeProto) -> None:
        """Choose a node that the recipe names, or note why not."""
        problem = self._problem(node)
        if problem:
            self.refused.append((f"layer {node.name!r} ({node.op_type})", problem))
        elif self._makes_floats(node):
            self._choose(node)

    def follows(self, node: onnx.NodeProto) -> bool:
        """Whether a node comes along at most: it has no weight of its own."""
        product = node.op_type == "MatMul" and not self._constants.keys() & set(node.input)
        return not node.domain and (product or node.op_type in FOLLOWERS)

    def follow(self, named: Collection[str]) -> None:
        """Choose followers of what is chosen; the graph is in topological order.

        Products of two computed tensors have to be in `named` too.
        """
        for node in self._graph.node:
            follows = self.follows(node) and self._makes_floats(node)
            follows = follows and (node.op_type != "MatMul" or node.name in named)
            if follows and node.output[0] not in self.chosen and self._reads_halves(node):
                problem = self._problem(node)
                if not problem:
                    self._choose(node)

    def _choose(self, node: onnx.NodeProto) -> None:
        self.chosen.add(node.output[0])
        self._half.update(name for name in node.output if self._is_float(name))

    def _reads_halves(self, node: onnx.NodeProto) -> bool:
        """Whether some operand is half, and casting the others is worth it."""
        computed = [
            name
            for name in half_inputs(node)
            if self._is_float(name) and name not in self._constants
        ]
        others = [name for name in computed if name not in self._half]
        if len(others) == len(computed):
            return False
        return all(self._may_be_cast(node, name) for name in others)

    def _may_be_cast(self, node: onnx.NodeProto, name: str) -> bool:
        """Residuals of the same shape, and what is added and known to be small: masks.

        Not the means and roots of a normalisation, which is to stay one.
        """
        shape = static_shape(self._types.get(name))
        same = shape is not None and shape == static_shape(self._types.get(node.output[0]))
        fits = self._ranges is None or tensor_fits(name, self._ranges)
        if node.op_type == "Add":
            return (same and fits) or tensor_fits(name, self._ranges)
        return same and fits and node.op_type in ("Mul", "Concat")

    def _problem(self, node: onnx.NodeProto) -> str:
        if node.domain or node.op_type in NEVER:
            return NEVER.get(node.op_type, "its operator is known in float32 only")
        if self._captured.intersection(node.output):
            return "a branch reads its output"
        for name in half_inputs(node):
            problem = self._constant_problem(name)
            if problem:
                return problem
        ranges = self._ranges or {}
        return range_problem(node, ranges, self._bias(node)) or sum_problem(
            node, self._weight(node), ranges
        )

    def _constant_problem(self, name: str) -> str:
        if name not in self._constants or not self._is_float(name):
            return ""
        if name not in self._problems:
            self._problems[name] = constant_problem(self._value(name))
        return self._problems[name]

    def _weight(self, node: onnx.NodeProto) -> np.ndarray | None:
        known = node.op_type in SUMS and len(node.input) > 1 and node.input[1] in self._constants
        return self._value(node.input[1]) if known else None

    def _bias(self, node: onnx.NodeProto) -> float:
        """The largest magnitude of a constant that is added behind the sum of products."""
        import numpy as np

        at = BIASES.get(node.op_type)
        if at is None or len(node.input) <= at or node.input[at] not in self._constants:
            return 0.0
        return float(np.max(np.abs(self._value(node.input[at])), initial=0.0))

    def _value(self, name: str) -> np.ndarray:
        from onnx import numpy_helper

        return numpy_helper.to_array(self._constants[name])

    def _makes_floats(self, node: onnx.NodeProto) -> bool:
        return bool(node.output) and self._is_float(node.output[0])

    def _is_float(self, name: str) -> bool:
        import onnx

        found = self._types.get(name)
        return found is not None and found.tensor_type.elem_type == onnx.TensorProto.FLOAT
