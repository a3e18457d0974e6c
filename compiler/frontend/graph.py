"""Walking an ONNX graph and its nested graphs (If, Loop, Scan), and naming what is found there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx

#: The default operator set has two spellings in ONNX files.
DEFAULT_DOMAINS = ("", "ai.onnx")


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """Return the value of an attribute, strings decoded."""
    return next((_value(each) for each in node.attribute if each.name == name), default)


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Return the values of a node's attributes by name, strings decoded."""
    return {each.name: _value(each) for each in node.attribute}


def _value(attribute: onnx.AttributeProto) -> Any:
    from onnx import helper

    value = helper.get_attribute_value(attribute)
    return value.decode() if isinstance(value, bytes) else value


def subgraphs(node: onnx.NodeProto) -> Iterator[tuple[str, onnx.GraphProto]]:
    """Yield the name and graph of every graph-valued attribute of `node`."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.name, attribute.g
        for graph in attribute.graphs:
            yield attribute.name, graph


def walk_graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yield `graph` and every graph nested in it, outer ones first."""
    yield graph
    for node in graph.node:
        for _, inner in subgraphs(node):
            yield from walk_graphs(inner)


def walk_nodes(graph: onnx.GraphProto, path: str = "") -> Iterator[tuple[str, onnx.NodeProto]]:
    """Yield every node with the path of the branch that holds it ('' in the main graph)."""
    for node in graph.node:
        yield path, node
        for name, inner in subgraphs(node):
            yield from walk_nodes(inner, f"{path}{node.name or node.op_type}.{name}/")


def describe(node: onnx.NodeProto, path: str = "") -> str:
    """Name `node` for a message: node 'branch/name' (domain::Operator)."""
    domain = "" if node.domain in DEFAULT_DOMAINS else f"{node.domain}::"
    return f"node '{path}{node.name}' ({domain}{node.op_type})"


def default_opset(model: onnx.ModelProto) -> int:
    """Return the version of the default operator set that `model` imports; 0 where it has none."""
    for entry in model.opset_import:
        if entry.domain in DEFAULT_DOMAINS:
            return entry.version
    return 0


def captured_names(node: onnx.NodeProto) -> set[str]:
    """Return the names of outer tensors that the nested graphs of `node` read."""
    captured: set[str] = set()
    for _, graph in subgraphs(node):
        local = {value.name for value in graph.input} | {t.name for t in graph.initializer}
        for inner in graph.node:
            captured |= {name for name in inner.input if name and name not in local}
            captured |= captured_names(inner) - local
            local.update(inner.output)
        captured |= {value.name for value in graph.output} - local
    return captured


def input_names(node: onnx.NodeProto) -> set[str]:
    """Return every tensor that `node` needs: its own inputs and those its nested graphs read."""
    return {name for name in node.input if name} | captured_names(node)


def kept_names(graph: onnx.GraphProto) -> set[str]:
    """Return the tensors that must exist under their names: outputs, and what branches read."""
    captured = {name for node in graph.node for name in captured_names(node)}
    return captured | {value.name for value in graph.output}


def initializer_names(graph: onnx.GraphProto) -> set[str]:
    """Return the names of the dense and sparse initializers of `graph`."""
    names = {tensor.name for tensor in graph.initializer}
    return names | {sparse.values.name for sparse in graph.sparse_initializer}


def known_tensors(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """Return the tensors of `graph` whose values are known, by name."""
    return {tensor.name: tensor for tensor in graph.initializer}


def replace_items(field: object, items: list) -> None:
    """Replace the content of a repeated protobuf field."""
    del field[:]  # type: ignore[attr-defined]
    field.extend(items)  # type: ignore[attr-defined]


class FreshNames:
    """Hands out tensor and node names that no graph of the model uses yet."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._used: set[str] = set()
        for inner in walk_graphs(graph):
            self._used |= {value.name for value in inner.input}
            self._used |= {value.name for value in inner.output}
            self._used |= initializer_names(inner)
            for node in inner.node:
                self._used.add(node.name)
                self._used.update(node.output)

    def take(self, wanted: str) -> str:
        """Return `wanted`, or `wanted` with the smallest free number, and mark it as used."""
        name, number = wanted, 1
        while name in self._used or not name:
            name, number = f"{wanted}_{number}", number + 1
        self._used.add(name)
        return name


def rename_tensors(node: onnx.NodeProto, names: dict[str, str]) -> None:
    """Rename the inputs and outputs of `node`, and what its nested graphs read, in place."""
    for field in (node.input, node.output):
        replace_items(field, [names.get(name, name) for name in field])
    for _, graph in subgraphs(node):
        for inner in graph.node:
            rename_tensors(inner, names)
        for output in graph.output:
            output.name = names.get(output.name, output.name)
