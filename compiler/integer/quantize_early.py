"""QuantizeLinear before what only moves elements: Q(f(x)) = f(DQ(Q(x))) as bytes.

    op -> Transpose -> Q        becomes        op -> Q -> DQ -> Transpose -> Q

The second Q, of the same scale, is nothing then; the operator's result is bytes at once, and bytes
are what moves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoglm_tvm.compiler.frontend.graph import FreshNames, input_names, replace_items
from autoglm_tvm.compiler.integer.bench import Bench

if TYPE_CHECKING:
    import onnx

# Operators of one data input and one output that keep every element.
_MOVES = ("Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
Q, DQ = "QuantizeLinear", "DequantizeLinear"


def quantize_early(proto: onnx.ModelProto, bench: Bench) -> None:
    """Put Q and DQ before every movement whose result is quantized and nothing else, in place.

    Parameters
    ----------
    bench
        What is known of `proto`; out of date afterwards where something was put in.
    """
    fresh = FreshNames(proto.graph)
    outputs = {value.name for value in proto.graph.output}
    producers = {name: node for node in proto.graph.node for name in node.output}
    readers = _readers(proto.graph)
    before: dict[str, list[onnx.NodeProto]] = {}
    for node in proto.graph.node:
        how = bench.quantization(node) if node.op_type == Q else None
        if how is None or not how.of_bytes:
            continue
        move = producers.get(node.input[0])
        while move is not None and move.op_type in _MOVES and not move.domain:
            source, result = move.input[0], move.output[0]
            above = producers.get(source)
            alone = readers[source] == 1 and readers[result] == 1
            if above is None or above.op_type == DQ or not alone or {source, result} & outputs:
                break
            before[_key(move)] = _pair(node, move, fresh)
            move = above
    if before:
        nodes = [each for node in proto.graph.node for each in (*before.get(_key(node), ()), node)]
        replace_items(proto.graph.node, nodes)


def _pair(
    quantize: onnx.NodeProto, move: onnx.NodeProto, fresh: FreshNames
) -> list[onnx.NodeProto]:
    """Q and DQ, as `quantize` does it, for the movement to read from."""
    from onnx import helper

    source = move.input[0]
    names = [fresh.take(f"{source}/{each}") for each in (Q, DQ)]
    how = quantize.input[1:]
    made = [
        helper.make_node(Q, [source, *how], [names[0]], name=names[0]),
        helper.make_node(DQ, [names[0], *how], [names[1]], name=names[1]),
    ]
    move.input[0] = names[1]
    return made


def _readers(graph: onnx.GraphProto) -> dict[str, int]:
    """How many nodes read each tensor."""
    found = {name: 0 for node in graph.node for name in node.output}
    for node in graph.node:
        for name in input_names(node):
            found[name] = found.get(name, 0) + 1
    return found


def _key(node: onnx.NodeProto) -> str:
    return node.output[0]
