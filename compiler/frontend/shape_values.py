"""Two habits of graphs with shape arithmetic that the importer cannot follow.

The importer carries the result of Shape as a Relax shape, not as a tensor. It refuses Identity on
one, and where one is a graph output, the compiled function returns no tensor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.frontend.graph import (
    FreshNames,
    rename_tensors,
    replace_items,
    subgraphs,
    walk_graphs,
)

if TYPE_CHECKING:
    import onnx

    from autoglm_tvm.compiler.frontend.node_context import NodeContext

#: Operators through which the importer carries a shape as a shape.
SHAPE_OPERATORS = ("Concat", "Gather", "Reshape", "Slice", "Squeeze")
#: Operators with which exporters compute one shape from another; the importer follows most.
SHAPE_ARITHMETIC = (
    *SHAPE_OPERATORS,
    "Add",
    "Cast",
    "ConstantOfShape",
    "Div",
    "Equal",
    "Max",
    "Min",
    "Mul",
    "Size",
    "Sub",
    "Unsqueeze",
    "Where",
)


#: Those of them that the importer computes with numbers and symbols where the result is a scalar.
SCALAR_ARITHMETIC = ("Add", "Cast", "Div", "Mul", "Sub")


def is_shape_arithmetic(context: NodeContext, name: str) -> bool:
    """Say whether the tensor `name` depends on shapes and constants only, not on data."""
    return _all_sources(context, name, lambda node: node.op_type in SHAPE_ARITHMETIC)


def is_carried(context: NodeContext, name: str) -> bool:
    """Say whether the importer carries the tensor `name` as a shape with numbers and symbols."""

    def carries(node: onnx.NodeProto) -> bool:
        parameters_known = all(i in context.constants for i in node.input[1:] if i)
        if node.op_type == "Gather":
            return parameters_known and not context.constants[node.input[1]].dims
        if node.op_type in SCALAR_ARITHMETIC:
            known = context.types.get(node.output[0])
            tensor = known.tensor_type if known is not None else None
            return tensor is not None and tensor.HasField("shape") and not tensor.shape.dim
        return node.op_type in ("Concat", "Equal", "Where") or (
            parameters_known and node.op_type in ("Reshape", "Slice", "Squeeze", "Unsqueeze")
        )

    return _all_sources(context, name, carries)


def _all_sources(context: NodeContext, name: str, passes: Callable[[onnx.NodeProto], bool]) -> bool:
    """Say whether `passes` holds for every node between `name` and the shapes it is made of."""
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        tensor = waiting.pop()
        if not tensor or tensor in seen or tensor in context.constants:
            continue
        seen.add(tensor)
        node = context.producers.get(tensor)
        if node is None or node.domain:
            return False
        if node.op_type in ("Constant", "Shape"):
            continue
        if not passes(node):
            return False
        waiting.extend(node.input)
    return True


def bypass_identities(model: onnx.ModelProto) -> list[str]:
    """Let the readers of an Identity read its input; one that feeds a graph output stays."""
    for graph in walk_graphs(model.graph):
        outputs = {value.name for value in graph.output}
        names: dict[str, str] = {}
        kept = []
        for node in graph.node:
            rename_tensors(node, names)
            if node.op_type == "Identity" and not node.domain and node.output[0] not in outputs:
                names[node.output[0]] = node.input[0]
            else:
                kept.append(node)
        if names:
            replace_items(graph.node, kept)
    return []


def shape_outputs_to_tensors(model: onnx.ModelProto) -> list[str]:
    """Put a Cast to int64 (which changes nothing) before every graph output made of shapes."""
    from onnx import TensorProto, helper

    graph = model.graph
    shapes: set[str] = set()
    for node in graph.node:
        if node.domain or any(True for _ in subgraphs(node)):
            continue
        data = node.input if node.op_type == "Concat" else node.input[:1]
        carries = node.op_type in SHAPE_OPERATORS and shapes.intersection(data)
        if node.op_type == "Shape" or carries:
            shapes.add(node.output[0])
    outputs = [value.name for value in graph.output if value.name in shapes]
    if not outputs:
        return []
    fresh = FreshNames(graph)
    names = {name: fresh.take(f"{name}/shape") for name in outputs}
    for node in graph.node:
        rename_tensors(node, names)
    for name in outputs:
        label = fresh.take(f"{name}/Cast")
        graph.node.append(
            helper.make_node("Cast", [names[name]], [name], name=label, to=TensorProto.INT64)
        )
    return [f"outputs {', '.join(outputs)} are shapes, made tensors by Cast"]
