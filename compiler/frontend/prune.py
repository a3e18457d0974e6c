"""Remove what nothing uses: nodes, initializers, and optional outputs of nodes that stay.

An unused optional output matters: the importer makes up LayerNormalization's and lacks MaxPool's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoglm_tvm.compiler.frontend.graph import default_opset, input_names, replace_items, subgraphs

if TYPE_CHECKING:
    import onnx


def prune(model: onnx.ModelProto) -> list[str]:
    """Drop unused nodes, optional outputs and initializers of every graph, in place."""
    _prune_graph(model.graph, default_opset(model))
    return []


def _prune_graph(graph: onnx.GraphProto, opset: int) -> None:
    needed = {value.name for value in graph.output}
    kept: list[onnx.NodeProto] = []
    for node in reversed(graph.node):
        if not needed.intersection(node.output):
            continue
        for _, inner in subgraphs(node):
            _prune_graph(inner, opset)
        _drop_optional_outputs(node, needed, opset)
        needed |= input_names(node)
        kept.append(node)
    if len(kept) < len(graph.node):
        replace_items(graph.node, kept[::-1])
    used = [tensor for tensor in graph.initializer if tensor.name in needed]
    if len(used) < len(graph.initializer):
        replace_items(graph.initializer, used)
    _forget_values(graph)


def _drop_optional_outputs(node: onnx.NodeProto, needed: set[str], opset: int) -> None:
    """Blank unused outputs that the operator declares optional; cut blank ones at the end."""
    import onnx

    if node.domain or len(node.output) < 2:
        return
    try:
        outputs = onnx.defs.get_schema(node.op_type, opset, "").outputs
    except onnx.defs.SchemaError:
        return
    optional = onnx.defs.OpSchema.FormalParameterOption.Optional
    names = [
        name if name in needed or formal.option != optional else ""
        for name, formal in zip(node.output, outputs, strict=False)
    ]
    names += node.output[len(outputs) :]
    while not names[-1]:
        names.pop()
    replace_items(node.output, names)


def _forget_values(graph: onnx.GraphProto) -> None:
    produced = {name for node in graph.node for name in node.output if name}
    values = [value for value in graph.value_info if value.name in produced]
    if len(values) < len(graph.value_info):
        replace_items(graph.value_info, values)
