"""Two habits of graphs with shape arithmetic that the importer cannot follow.

The importer carries the result of Shape as a Relax shape, not as a tensor. It refuses Identity on
one, and where one is a graph output, the compiled function returns no tensor.
"""

from __future__ import annotations

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

#: Operators through which the importer carries a shape as a shape.
SHAPE_OPERATORS = ("Concat", "Gather", "Reshape", "Slice", "Squeeze")


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
