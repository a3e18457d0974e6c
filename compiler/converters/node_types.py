"""The ONNX element types of a node's inputs and outputs, which its Relax inputs may not show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autoglm_tvm.artifacts.carried_types import CARRIERS

if TYPE_CHECKING:
    import onnx

_NAME = "types"


@dataclass(frozen=True)
class NodeTypes:
    """Names of dtypes, as numpy and ``ml_dtypes`` have them; empty where unknown."""

    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()

    def input(self, index: int) -> str:
        """Return the type of an input; empty where it is left out or unknown."""
        return self.inputs[index] if index < len(self.inputs) else ""


def node_types(graph: onnx.GraphProto) -> dict[str, NodeTypes]:
    """Return the types around each node of `graph` and of the graphs nested in it, by its name."""
    return dict(_walk(graph, {}))


def _walk(graph: onnx.GraphProto, outer: dict[str, str]) -> Iterator[tuple[str, NodeTypes]]:
    from autoglm_tvm.compiler.frontend.dtypes import numpy_dtype
    from autoglm_tvm.compiler.frontend.graph import subgraphs
    from autoglm_tvm.compiler.frontend.infer import tensor_types

    types = dict(outer)
    for name, kind in tensor_types(graph).items():
        if kind.tensor_type.elem_type:
            types[name] = str(numpy_dtype(kind.tensor_type.elem_type))
    for node in graph.node:
        inputs = tuple(types.get(name, "") for name in node.input)
        yield node.name, NodeTypes(inputs, tuple(types.get(name, "") for name in node.output))
        for _, inner in subgraphs(node):
            yield from _walk(inner, types)


def carried_inputs(graph: onnx.GraphProto) -> dict[str, str]:
    """Return what carries each input of a small type, by name, for TVM's importer to declare."""
    from autoglm_tvm.compiler.frontend.dtypes import is_carried, numpy_dtype

    types = {value.name: value.type.tensor_type.elem_type for value in graph.input}
    return {
        name: CARRIERS[str(numpy_dtype(elem_type))]
        for name, elem_type in types.items()
        if is_carried(elem_type)
    }


def set_types(attributes: dict[str, Any], types: NodeTypes) -> None:
    """Let a converter see the types, among what TVM's importer puts beside the attributes."""
    attributes["tvm_custom"][_NAME] = types


def types_of(attributes: dict[str, Any]) -> NodeTypes:
    """Return what :func:`set_types` put there."""
    return attributes["tvm_custom"].get(_NAME, NodeTypes())
