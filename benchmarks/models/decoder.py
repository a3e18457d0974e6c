"""One decoder layer in the manner of GLM-4, with a key-value cache (arXiv:2406.12793).

RMS norm, attention with few key-value heads and a bias on the projections, rotary embedding of
neighbouring pairs on half of each head, SwiGLU with one joint projection. The sizes are those of a
model for phones: 11 M weights a layer, which at decode do not fit a cache.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.models.graph import Graph
from benchmarks.models.layers import linear, silu

if TYPE_CHECKING:
    import onnx

_HIDDEN, _HEADS, _KV_HEADS, _DEPTH, _WIDE = 1024, 16, 2, 64, 2816
_ROTARY = _DEPTH // 2
_END = 2**63 - 1


def decoder_layer(tokens: int, past: int) -> onnx.ModelProto:
    """Return a layer for `tokens` new tokens behind `past` cached ones.

    Inputs: ``hidden (1, tokens, 1024)``, ``cos`` and ``sin (1, tokens, 32)``, an additive ``mask
    (1, 1, tokens, past + tokens)``, and, where there is a past, ``past_key`` and ``past_value
    (1, 2, past, 64)``. Outputs: ``hidden_out``, ``present_key``, ``present_value``.
    """
    graph = Graph(f"decoder_{tokens}_{past}")
    x = graph.input("hidden", (1, tokens, _HIDDEN))
    x = graph.node("Add", x, _attention(graph, _rms_norm(graph, x), tokens, past))
    y = _mlp(graph, _rms_norm(graph, x))
    graph.output(graph.node("Add", x, y), (1, tokens, _HIDDEN), "hidden_out")
    return graph.model()


def _rms_norm(graph: Graph, x: str) -> str:
    mean = graph.node("ReduceMean", graph.node("Pow", x, graph.constant(2.0)), axes=[-1])
    root = graph.node("Sqrt", graph.node("Add", mean, graph.constant(1e-5)))
    scaled = graph.node("Mul", x, graph.node("Div", graph.constant(1.0), root))
    return graph.node("Mul", graph.constant([1.0] * _HIDDEN), scaled)


def _attention(graph: Graph, x: str, tokens: int, past: int) -> str:
    rotation = [
        graph.node("Unsqueeze", graph.input(name, (1, tokens, _ROTARY)), graph.shape(1))
        for name in ("cos", "sin")
    ]
    mask = graph.input("mask", (1, 1, tokens, past + tokens))

    def heads(count: int) -> str:
        y = linear(graph, x, (_HIDDEN, count * _DEPTH))
        y = graph.node("Reshape", y, graph.shape(1, tokens, count, _DEPTH))
        return graph.node("Transpose", y, perm=[0, 2, 1, 3])

    q = _rotate(graph, heads(_HEADS), _HEADS, tokens, rotation)
    k = _rotate(graph, heads(_KV_HEADS), _KV_HEADS, tokens, rotation)
    k = _with_past(graph, k, "key", tokens, past)
    v = _with_past(graph, heads(_KV_HEADS), "value", tokens, past)
    keys = graph.node("Transpose", _repeat(graph, k, past + tokens), perm=[0, 1, 3, 2])
    scores = graph.node("Mul", graph.node("MatMul", q, keys), graph.constant(_DEPTH**-0.5))
    weights = graph.node("Softmax", graph.node("Add", scores, mask), axis=-1)
    mixed = graph.node("MatMul", weights, _repeat(graph, v, past + tokens))
    mixed = graph.node("Transpose", mixed, perm=[0, 2, 1, 3])
    flat = graph.node("Reshape", mixed, graph.shape(1, tokens, _HEADS * _DEPTH))
    return linear(graph, flat, (_HEADS * _DEPTH, _HIDDEN), bias=False)


def _rotate(graph: Graph, x: str, heads: int, tokens: int, rotation: list[str]) -> str:
    """Rotate pairs of neighbours in the first half of each head; the other half passes."""
    cos, sin = rotation
    turned = _slice(graph, x, 0, _ROTARY)
    even, odd = _slice(graph, turned, 0, _END, 2), _slice(graph, turned, 1, _END, 2)
    pairs = [
        graph.node("Unsqueeze", part, graph.shape(-1)) for part in (graph.node("Neg", odd), even)
    ]
    shape = graph.shape(1, heads, tokens, _ROTARY)
    crossed = graph.node("Reshape", graph.node("Concat", *pairs, axis=-1), shape)
    sum_ = graph.node("Add", graph.node("Mul", turned, cos), graph.node("Mul", crossed, sin))
    return graph.node("Concat", sum_, _slice(graph, x, _ROTARY, _END), axis=-1)


def _with_past(graph: Graph, x: str, kind: str, tokens: int, past: int) -> str:
    """Append to the cache; the result is an output too."""
    if past:
        cached = graph.input(f"past_{kind}", (1, _KV_HEADS, past, _DEPTH))
        x = graph.node("Concat", cached, x, axis=2)
    graph.output(x, (1, _KV_HEADS, past + tokens, _DEPTH), f"present_{kind}")
    return x


def _repeat(graph: Graph, x: str, length: int) -> str:
    """Give every query head its key-value head."""
    group = _HEADS // _KV_HEADS
    wide = graph.node("Unsqueeze", x, graph.shape(2))
    copies = graph.node("Expand", wide, graph.shape(1, _KV_HEADS, group, length, _DEPTH))
    return graph.node("Reshape", copies, graph.shape(1, _HEADS, length, _DEPTH))


def _mlp(graph: Graph, x: str) -> str:
    joint = linear(graph, x, (_HIDDEN, 2 * _WIDE), bias=False)
    gate, up = graph.nodes("Split", [joint, graph.shape(_WIDE, _WIDE)], 2, axis=-1)
    return linear(graph, graph.node("Mul", up, silu(graph, gate)), (_WIDE, _HIDDEN), bias=False)


def _slice(graph: Graph, x: str, start: int, end: int, step: int = 1) -> str:
    """Slice the last axis."""
    bounds = [graph.shape(value) for value in (start, end, -1, step)]
    return graph.node("Slice", x, *bounds)
