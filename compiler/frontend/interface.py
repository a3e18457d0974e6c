"""Hold the model's inputs and outputs fixed while its inside is rewritten."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.frontend.graph import (
    FreshNames,
    initializer_names,
    rename_tensors,
    replace_items,
)

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class Interface:
    """The inputs (detached weights included) and outputs of a graph, in order, with their types."""

    inputs: tuple[onnx.ValueInfoProto, ...]
    outputs: tuple[onnx.ValueInfoProto, ...]

    @staticmethod
    def of(model: onnx.ModelProto) -> Interface:
        """Copy the interface of `model`."""

        def copies(values: object) -> tuple[onnx.ValueInfoProto, ...]:
            return tuple(type(v).FromString(v.SerializeToString()) for v in values)  # type: ignore[attr-defined]

        return Interface(copies(model.graph.input), copies(model.graph.output))

    def restore(self, model: onnx.ModelProto) -> str | None:
        """Give `model` this interface back, in place; return why that is impossible, or None.

        An input that became unused stays an input. An output that became a constant is fed from it
        by an Identity node, so that every output has a producer.
        """
        graph = model.graph
        known = {value.name for value in self.inputs}
        extra = [v.name for v in graph.input if v.name not in known]
        if extra:
            return f"it added the input '{extra[0]}'"
        changed = _changed_types(self.outputs, graph.output)
        if changed:
            return f"it changed the dtype or rank of output '{changed}'"
        replace_items(graph.input, list(self.inputs))
        produced = {name for node in graph.node for name in node.output} | known
        for value in self.outputs:
            if value.name in produced:
                continue
            if value.name not in initializer_names(graph):
                return f"it lost the output '{value.name}'"
            _feed_from_constant(graph, value.name)
        replace_items(graph.output, list(self.outputs))
        return None


def _feed_from_constant(graph: onnx.GraphProto, output: str) -> None:
    from onnx import helper

    fresh = FreshNames(graph)
    constant = fresh.take(f"{output}/constant")
    for tensor in graph.initializer:
        if tensor.name == output:
            tensor.name = constant
    for node in graph.node:
        rename_tensors(node, {output: constant})
    name = fresh.take(f"{output}/Identity")
    graph.node.append(helper.make_node("Identity", [constant], [output], name=name))


def _changed_types(before: tuple[onnx.ValueInfoProto, ...], after: object) -> str | None:
    now = {value.name: value.type.tensor_type for value in after}  # type: ignore[attr-defined]
    for value in before:
        was, other = value.type.tensor_type, now.get(value.name)
        if other is None:
            continue
        if other.elem_type and was.elem_type and other.elem_type != was.elem_type:
            return value.name
        both = was.HasField("shape") and other.HasField("shape")
        if both and len(was.shape.dim) != len(other.shape.dim):
            return value.name
    return None
