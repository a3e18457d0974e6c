"""Where quantization goes: which nodes compute on bytes, and which tensors are bytes.

A layer that the recipe makes ``int8`` reads bytes. What lies between layers computes on bytes too
where all its operands come from nodes that do, and some node that does reads its result; so a
residual block stays in bytes from end to end, and the additions of a transformer, whose sums go to
a normalisation, stay in float. A result that no such node reads is left in float: storing it in
bytes would cost accuracy and save nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autoglm_tvm.compiler.frontend.graph import input_names, kept_names
from autoglm_tvm.compiler.quantization.operators import (
    BYTE_ARITHMETIC,
    BYTE_MOVES,
    CLIPS,
    INT8_LAYERS,
    is_standard,
    weight_index,
)

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class Placement:
    """Which nodes and tensors of a graph are quantized.

    Attributes
    ----------
    nodes
        Names of the nodes that compute on bytes, without the Relu and Clip behind them.
    tensors
        The tensors that are stored as bytes, in the order of the graph.
    clips
        For each such tensor that a Relu or Clip makes behind a node of `nodes`: that Relu or Clip.
    leaders
        For each tensor that takes over another one's scale and zero point: that other one.
    """

    nodes: frozenset[str]
    tensors: tuple[str, ...]
    clips: Mapping[str, onnx.NodeProto]
    leaders: Mapping[str, str]


def place(proto: onnx.ModelProto, int8_nodes: Collection[str]) -> Placement:
    """Choose the nodes and tensors of a graph to quantize, among `int8_nodes` (names)."""
    return _Placer(proto, int8_nodes).placement()


class _Placer:
    def __init__(self, proto: onnx.ModelProto, int8_nodes: Collection[str]) -> None:
        graph = proto.graph
        self._graph = graph
        self._allowed = int8_nodes
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        self._makers = {name: node for node in graph.node for name in node.output if name}
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in input_names(node):
                self._readers.setdefault(name, []).append(node)
        self._kept = kept_names(graph)
        self._nodes = {
            node.name: node
            for node in graph.node
            if node.name in int8_nodes and is_standard(node) and self._may_be_bytes(node)
        }

    def placement(self) -> Placement:
        """Drop nodes until every one that is left has bytes on both sides."""
        before = -1
        while before != len(self._nodes):
            before = len(self._nodes)
            self._nodes = {
                name: node
                for name, node in self._nodes.items()
                if node.op_type in INT8_LAYERS or self._is_between(node)
            }
        tensors, clips, leaders = [], {}, {}
        for name in self._tensors_in_order():
            if not any(self._reads_bytes(node, name) for node in self._readers.get(name, ())):
                continue
            tensors.append(name)
            maker = self._makers.get(name)
            if maker is not None and maker.op_type in CLIPS and self._source(name) is not None:
                clips[name] = maker
            source = self._source(name)
            if source is not None and source.op_type in BYTE_MOVES and name not in clips:
                leaders[name] = source.input[0]
        self._lead_by_concat(set(tensors), leaders)
        return Placement(frozenset(self._nodes), tuple(tensors), clips, leaders)

    def _may_be_bytes(self, node: onnx.NodeProto) -> bool:
        if node.op_type in INT8_LAYERS:
            return weight_index(node, self._constants) == 1
        if node.op_type == "MaxPool" and len([name for name in node.output if name]) > 1:
            return False
        return node.op_type in (*BYTE_ARITHMETIC, *BYTE_MOVES)

    def _operands(self, node: onnx.NodeProto) -> list[str]:
        """Return the inputs of a node that hold its values, not its shapes or weights."""
        if node.op_type in ("Add", "Concat"):
            return list(node.input)
        return [node.input[0]]

    def _source(self, name: str) -> onnx.NodeProto | None:
        """Return the node on bytes that makes a tensor, looking through one Relu or Clip."""
        node = self._makers.get(name)
        if node is not None and self._is_clip(node):
            node = self._makers.get(node.input[0])
        return self._nodes.get(node.name) if node is not None else None

    def _is_clip(self, node: onnx.NodeProto) -> bool:
        """Whether the node only clips what one other node makes, to constant bounds."""
        if node.op_type not in CLIPS or not is_standard(node) or node.name not in self._allowed:
            return False
        name = node.input[0]
        return (
            name not in self._kept
            and len(self._readers.get(name, ())) == 1
            and all(bound in self._constants for bound in node.input[1:] if bound)
        )

    def _is_between(self, node: onnx.NodeProto) -> bool:
        """Whether all operands of a node come from nodes on bytes, and one of those reads it."""
        if any(self._source(name) is None for name in self._operands(node)):
            return False
        return any(self._is_read(name) for name in node.output)

    def _is_read(self, name: str) -> bool:
        for reader in self._readers.get(name, ()):
            if self._reads_bytes(reader, name):
                return True
            if self._is_clip(reader) and any(
                self._reads_bytes(later, reader.output[0])
                for later in self._readers.get(reader.output[0], ())
            ):
                return True
        return False

    def _reads_bytes(self, node: onnx.NodeProto, name: str) -> bool:
        return node.name in self._nodes and name in self._operands(node)

    def _tensors_in_order(self) -> list[str]:
        names = [value.name for value in self._graph.input]
        return names + [name for node in self._graph.node for name in node.output if name]

    def _lead_by_concat(self, tensors: set[str], leaders: dict[str, Any]) -> None:
        """Let what only a Concat reads have the scale of its result, so that it copies."""
        for node in self._nodes.values():
            if node.op_type != "Concat" or node.output[0] not in tensors:
                continue
            for name in node.input:
                if len(self._readers[name]) == 1 and name not in leaders and name in tensors:
                    leaders[name] = node.output[0]
