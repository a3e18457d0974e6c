"""Which precision each node of a graph gets by a recipe."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from autoglm_tvm.compiler.frontend.infer import tensor_types
from autoglm_tvm.compiler.quantization.operators import (
    BYTE_ARITHMETIC,
    BYTE_MOVES,
    CLIPS,
    GROUPS_DO_NOT_FIT,
    LAYERS,
    dynamic_problem,
    int4_problem,
    int8_problem,
    is_float32,
    is_standard,
    weight_index,
)
from autoglm_tvm.compiler.quantization.recipe import Recipe, layer_range
from autoglm_tvm.targets.errors import UserInputError
from autoglm_tvm.targets.near import did_you_mean

if TYPE_CHECKING:
    import onnx

_WILDCARDS = re.compile(r"[*?\[]")


def assign_precisions(
    recipe: Recipe, proto: onnx.ModelProto, detached: Collection[str] = ()
) -> dict[str, str]:
    """Return the precision of each node that the recipe is about, by node name.

    A layer that cannot have the recipe's default is ``fp32``: a convolution with ``default: int4``,
    for example. Nodes around layers (`BYTE_ARITHMETIC`, `BYTE_MOVES`) are in it with ``int8`` where
    they may be computed on bytes; whether they are depends on their neighbours.

    Parameters
    ----------
    proto
        A normalised model whose nodes have unique names. Of constants only name, type and shape
        are looked at.
    detached
        Names of the graph inputs that are constants (`ReadModel.weights`).

    Raises
    ------
    UserInputError
        An exception matches no node, or a later one overrides it for all its nodes, or it
        asks for a precision that the node it names cannot have; or groups of 4 bits do not divide
        the weight of a node.
    """
    graph = _Graph.of(proto, detached)
    result = {
        node.name: _default(node, graph, recipe)
        for node in proto.graph.node
        if graph.is_candidate(node, recipe.default)
    }
    matched: dict[str, list[str]] = {}
    deciding: dict[str, str] = {}
    chosen: dict[str, str] = {}
    for key, precision in recipe.exceptions:
        matched[key] = [node.name for node in _matched(key, precision, graph, recipe)]
        deciding.update(dict.fromkeys(matched[key], key))
        chosen.update(dict.fromkeys(matched[key], precision))
    for key, precision in recipe.exceptions:
        if all(chosen[name] != precision for name in matched[key]):
            name = matched[key][-1]
            raise UserInputError(
                f"the recipe contradicts itself: '{key}' wants {precision} of node '{name}', and "
                f"'{deciding[name]}', which comes later, {chosen[name]}; it decides nothing",
                where=recipe.label,
                hint="put the more special one last, or remove one of them",
            )
    result.update(chosen)
    return {node.name: result[node.name] for node in proto.graph.node if node.name in result}


def layer_names(proto: onnx.ModelProto, detached: Collection[str] = ()) -> list[str]:
    """Return the names of the layers in the order of the graph: what ``layer:N`` counts."""
    return [node.name for node in _Graph.of(proto, detached).layers]


@dataclass(frozen=True)
class _Graph:
    """A graph with what the choice of a precision looks at."""

    nodes: tuple[onnx.NodeProto, ...]
    types: Mapping[str, Any]
    constants: Mapping[str, Any]
    layers: tuple[onnx.NodeProto, ...]
    layer_names: frozenset[str]

    @staticmethod
    def of(proto: onnx.ModelProto, detached: Collection[str]) -> _Graph:
        graph = proto.graph
        constants: dict[str, Any] = {tensor.name: None for tensor in graph.initializer}
        constants.update(dict.fromkeys(detached))
        layers = tuple(n for n in graph.node if weight_index(n, constants) is not None)
        names = frozenset(node.name for node in layers)
        return _Graph(tuple(graph.node), tensor_types(graph), constants, layers, names)

    def is_candidate(self, node: onnx.NodeProto, default: str) -> bool:
        """Whether the recipe's default is about a node."""
        if not is_standard(node):
            return False
        if default in ("int8", "fp32"):
            return node.op_type in (*LAYERS, *BYTE_ARITHMETIC, *BYTE_MOVES, *CLIPS)
        if default == "fp16" and node.op_type == "Gather":
            # A table of embeddings.
            return node.input[0] in self.constants and is_float32(node.input[0], self.types)
        return node.op_type in LAYERS

    def problem(self, node: onnx.NodeProto, precision: str, recipe: Recipe) -> str:
        """Say why a node cannot have a precision; empty where it can."""
        if precision == "int8":
            return int8_problem(node, self.types, self.constants)
        if precision == "int8-dynamic":
            return dynamic_problem(node, self.types, self.constants)
        if precision == "int4":
            return int4_problem(node, self.types, self.constants, recipe.int4.group)
        return ""


def _default(node: onnx.NodeProto, graph: _Graph, recipe: Recipe) -> str:
    """Return the default, or ``fp32`` where the node cannot have it."""
    problem = graph.problem(node, recipe.default, recipe)
    if problem.startswith(GROUPS_DO_NOT_FIT):
        raise _cannot(node, recipe.default, problem, recipe.label)
    return "fp32" if problem else recipe.default


def _cannot(node: onnx.NodeProto, precision: str, problem: str, where: str) -> UserInputError:
    hint = f"leave the node out of this exception; {precision} needs another kind of node"
    if problem.startswith(GROUPS_DO_NOT_FIT):
        hint = (
            "choose another group under int4: group, or another precision for this node: "
            f'exceptions: {{"{node.name}": int8-dynamic}}'
        )
    return UserInputError(
        f"node '{node.name}' ({node.op_type}) cannot be {precision}: {problem}",
        where=where,
        hint=hint,
    )


def _matched(key: str, precision: str, graph: _Graph, recipe: Recipe) -> list[onnx.NodeProto]:
    """Return the nodes that an exception names and that can have its precision."""
    named = _named(key, graph)
    if not named:
        raise _matches_nothing(key, graph, recipe)
    problems = {node.name: graph.problem(node, precision, recipe) for node in named}
    able = [node for node in named if not problems[node.name]]
    refused = [node for node in named if problems[node.name] and node.name in graph.layer_names]
    # A module holds additions and activations too: only layers must have what is asked for.
    if refused or not able:
        node = (refused or named)[0]
        where = f"{recipe.label}: exception '{key}'"
        raise _cannot(node, precision, problems[node.name], where)
    return able


def _named(key: str, graph: _Graph) -> list[onnx.NodeProto]:
    if key.startswith("op:"):
        return [node for node in graph.nodes if node.op_type == key[len("op:") :]]
    span = layer_range(key)
    if span is not None:
        first, last = span
        if first < 0:
            return list(graph.layers[first:][:1]) if -first <= len(graph.layers) else []
        return list(graph.layers[first : last + 1]) if last < len(graph.layers) else []
    return [node for node in graph.nodes if node_matches(key, node.name)]


def node_matches(pattern: str, name: str) -> bool:
    """Whether a node's name fits a pattern, or a plain name of it or of a module around it."""
    pattern, name = pattern.strip("/"), name.strip("/")
    if name == pattern or fnmatchcase(name, pattern):
        return True
    return not _WILDCARDS.search(pattern) and f"/{pattern}/" in f"/{name}/"


def _matches_nothing(key: str, graph: _Graph, recipe: Recipe) -> UserInputError:
    if layer_range(key) is not None:
        hint = f"the model has {len(graph.layers)} layers, counted from 0"
    elif key.startswith("op:"):
        operators = sorted({node.op_type for node in graph.nodes})
        near = did_you_mean(key[len("op:") :], operators).lstrip("; ")
        hint = near or f"the model's operators: {', '.join(operators)}"
    else:
        hint = _near_names(key, graph)
    return UserInputError(
        f"the exception '{key}' matches no node of the model",
        where=recipe.label,
        hint=hint,
    )


def _near_names(key: str, graph: _Graph) -> str:
    """Return names that look like the pattern: of nodes, and of the modules around them."""
    names = {node.name.strip("/") for node in graph.nodes}
    parts = {part for name in names for part in name.split("/")}
    words = [word for word in re.split(r"[*?/]", key) if len(word) > 2]
    near = did_you_mean(key.strip("/*?"), names | parts)
    for word in sorted(words, key=len, reverse=True):
        near = near or did_you_mean(word, parts)
    shown = [node.name for node in graph.layers[:3]]
    return near.lstrip("; ") or f"the model's layers are called {', '.join(shown)}, ..."
