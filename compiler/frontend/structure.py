"""Check that the graph is a graph: one producer a tensor, no dangling edge, nodes in order.

TVM's importer answers a dangling edge with a ``KeyError``, keeps only the last of two tensors of
one name, and needs the nodes in topological order.
"""

from __future__ import annotations

from collections import Counter
from difflib import get_close_matches
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.frontend.graph import (
    DEFAULT_DOMAINS,
    FreshNames,
    describe,
    initializer_names,
    input_names,
    replace_items,
    subgraphs,
    walk_graphs,
    walk_nodes,
)
from autoglm_tvm.targets.errors import UserInputError

if TYPE_CHECKING:
    import onnx


def name_nodes(model: onnx.ModelProto) -> list[str]:
    """Give every node without a name one of its own, and spell the default domain one way."""
    fresh = FreshNames(model.graph)
    seen: set[str] = set()
    for _, node in walk_nodes(model.graph):
        if node.domain in DEFAULT_DOMAINS:
            node.domain = ""
        if not node.name or node.name in seen:
            node.name = fresh.take(node.name or f"{node.op_type}_{len(seen)}")
        seen.add(node.name)
    for entry in model.opset_import:
        if entry.domain in DEFAULT_DOMAINS:
            entry.domain = ""
    return []


def check_structure(model: onnx.ModelProto, label: str) -> list[str]:
    """Refuse duplicate and dangling names; sort nodes that come before what they read.

    Raises
    ------
    UserInputError
        Naming the tensor and its nodes, or the nodes of a cycle.
    """
    notes: list[str] = []
    _check_graph(model.graph, set(), "", label, notes)
    return notes


def _check_graph(
    graph: onnx.GraphProto, outer: set[str], path: str, label: str, notes: list[str]
) -> None:
    _check_unique(graph, path, label)
    given = {value.name for value in graph.input} | initializer_names(graph)
    produced = {name for node in graph.node for name in node.output if name}
    known = outer | given | produced
    _check_dangling(graph, known, path, label)
    if _sort_nodes(graph, outer | given, path, label):
        notes.append(f"sorted the nodes of {_place(path)} into execution order")
    for node in graph.node:
        for name, inner in subgraphs(node):
            _check_graph(inner, known, f"{path}{node.name}.{name}/", label, notes)


def _check_unique(graph: onnx.GraphProto, path: str, label: str) -> None:
    producers: dict[str, str] = {}
    given = [(value.name, "graph input") for value in graph.input]
    given += [
        (tensor.name, "initializer")
        for tensor in graph.initializer
        if tensor.name not in {value.name for value in graph.input}
    ]
    for node in graph.node:
        given += [(name, describe(node, path)) for name in node.output if name]
    for name, producer in given:
        if name in producers:
            raise UserInputError(
                f"two tensors have the name '{name}': {producers[name]} and {producer}",
                where=label,
                hint="give each tensor a name of its own and save the model again",
            )
        producers[name] = producer
    for kind, names in (
        ("graph output", [value.name for value in graph.output]),
        ("initializer", [tensor.name for tensor in graph.initializer]),
    ):
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise UserInputError(
                f"{kind} '{twice[0]}' of {_place(path)} is listed twice",
                where=label,
                hint="give each one a name of its own and save the model again",
            )


def _check_dangling(graph: onnx.GraphProto, known: set[str], path: str, label: str) -> None:
    problems = [
        (name, f"{describe(node, path)} reads '{name}'")
        for node in graph.node
        for name in node.input
        if name and name not in known
    ]
    problems += [
        (value.name, f"{_place(path)} has the output '{value.name}'")
        for value in graph.output
        if value.name not in known
    ]
    if not problems:
        return
    shown = "; ".join(text for _, text in problems[:8])
    more = f"; and {len(problems) - 8} more" if len(problems) > 8 else ""
    near = get_close_matches(problems[0][0], sorted(known), n=3)
    hint = f"near names: {', '.join(near)}" if near else "export the model again"
    raise UserInputError(
        f"{shown}{more}, which no node, input or initializer provides", where=label, hint=hint
    )


def _sort_nodes(graph: onnx.GraphProto, available: set[str], path: str, label: str) -> bool:
    """Order the nodes stably so that each follows its producers; say whether anything moved."""
    produced = {name for node in graph.node for name in node.output if name}
    waiting = [(node, (input_names(node) & produced) - available) for node in graph.node]
    order: list[onnx.NodeProto] = []
    done: set[str] = set()
    while waiting:
        blocked = []
        for node, needs in waiting:
            if needs <= done:
                order.append(node)
                done.update(node.output)
            else:
                blocked.append((node, needs))
        if len(blocked) == len(waiting):
            names = ", ".join(describe(node, path) for node, _ in blocked[:6])
            raise UserInputError(
                f"the graph has a cycle through {names}",
                where=label,
                hint="an ONNX graph must be acyclic; use Loop or Scan for recurrence",
            )
        waiting = blocked
    if all(left is right for left, right in zip(order, graph.node, strict=True)):
        return False
    replace_items(graph.node, order)
    return True


def _place(path: str) -> str:
    return f"the branch '{path.rstrip('/')}'" if path else "the graph"


def check_initializers_named(model: onnx.ModelProto, label: str) -> list[str]:
    """Refuse initializers without a name: nothing can refer to them.

    Raises
    ------
    UserInputError
        Saying how many there are.
    """
    unnamed = sum(not t.name.strip() for g in walk_graphs(model.graph) for t in g.initializer)
    if unnamed:
        raise UserInputError(
            f"{unnamed} initializer(s) have no name", where=label, hint="export the model again"
        )
    return []
