"""One decoder layer in the manner of GLM-4, with a key-value cache (arXiv:2406.12793).

RMS norm, attention with few key-value heads and a bias on the projections, rotary embedding of
neighbouring pairs on half of each head, SwiGLU with one joint projection. The sizes are those of a
model for phones: 11 M weights a layer, which at decode do not fit a cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.models.graph import Graph
from benchmarks.models.layers import linear, silu

if TYPE_CHECKING:
    import onnx

_END = 2**63 - 1


@dataclass(frozen=True)
class Sizes:
    """Width of the activations, heads, key-value heads, elements of a head, width of the MLP."""

    hidden: int
    heads: int
    kv_heads: int
    depth: int
    wide: int

    @property
    def rotary(self) -> int:
        """Elements of a head that are rotated."""
        return self.depth // 2


PHONE = Sizes(1024, 16, 2, 64, 2816)
#: GLM-4-9B: 204 M weights a layer, which fit no cache even with four bits each.
GLM4_9B = Sizes(4096, 32, 2, 128, 13696)


def decoder_layer(tokens: int, past: int, sizes: Sizes = PHONE) -> onnx.ModelProto:
    """Return a layer for `tokens` new tokens behind `past` cached ones.

    Inputs: ``hidden (1, tokens, sizes.hidden)``, ``cos`` and ``sin (1, tokens, sizes.rotary)``, an
    additive ``mask (1, 1, tokens, past + tokens)``, and, where there is a past, ``past_key`` and
    ``past_value (1, sizes.kv_heads, past, sizes.depth)``. Outputs: ``hidden_out``,
    ``present_key``, ``present_value``.
    """
    graph = Graph(f"decoder_{tokens}_{past}")
    x = graph.input("hidden", (1, tokens, sizes.hidden))
    normal = _rms_norm(graph, x, sizes.hidden)
    x = graph.node("Add", x, _attention(graph, normal, tokens, past, sizes))
    y = _mlp(graph, _rms_norm(graph, x, sizes.hidden), sizes)
    graph.output(graph.node("Add", x, y), (1, tokens, sizes.hidden), "hidden_out")
    return graph.model()


def _rms_norm(graph: Graph, x: str, hidden: int) -> str:
    mean = graph.node("ReduceMean", graph.node("Pow", x, graph.constant(2.0)), axes=[-1])
    root = graph.node("Sqrt", graph.node("Add", mean, graph.constant(1e-5)))
    scaled = graph.node("Mul", x, graph.node("Div", graph.constant(1.0), root))
    return graph.node("Mul", graph.constant([1.0] * hidden), scaled)


def _attention(graph: Graph, x: str, tokens: int, past: int, sizes: Sizes) -> str:
    rotation = [
        graph.node("Unsqueeze", graph.input(name, (1, tokens, sizes.rotary)), graph.shape(1))
        for name in ("cos", "sin")
    ]
    mask = graph.input("mask", (1, 1, tokens, past + tokens))

    def heads(count: int) -> str:
        y = linear(graph, x, (sizes.hidden, count * sizes.depth))
        y = graph.node("Reshape", y, graph.shape(1, tokens, count, sizes.depth))
        return graph.node("Transpose", y, perm=[0, 2, 1, 3])

    q = _rotate(graph, heads(sizes.heads), (sizes.heads, tokens), sizes.rotary, rotation)
    k = _rotate(graph, heads(sizes.kv_heads), (sizes.kv_heads, tokens), sizes.rotary, rotation)
    k = _with_past(graph, k, "key", tokens, past, sizes)
    v = _with_past(graph, heads(sizes.kv_heads), "value", tokens, past, sizes)
    keys = graph.node("Transpose", _repeat(graph, k, past + tokens, sizes), perm=[0, 1, 3, 2])
    scores = graph.node("Mul", graph.node("MatMul", q, keys), graph.constant(sizes.depth**-0.5))
    weights = graph.node("Softmax", graph.node("Add", scores, mask), axis=-1)
    mixed = graph.node("MatMul", weights, _repeat(graph, v, past + tokens, sizes))
    mixed = graph.node("Transpose", mixed, perm=[0, 2, 1, 3])
    flat = graph.node("Reshape", mixed, graph.shape(1, tokens, sizes.heads * sizes.depth))
    return linear(graph, flat, (sizes.heads * sizes.depth, sizes.hidden), bias=False)


def _rotate(graph: Graph, x: str, rows: tuple[int, int], rotary: int, rotation: list[str]) -> str:
    """Rotate pairs of neighbours in the first half of each head; the other half passes.

    `rows` are the heads and the tokens.
    """
    cos, sin = rotation
    turned = _slice(graph, x, 0, rotary)
    even, odd = _slice(graph, turned, 0, _END, 2), _slice(graph, turned, 1, _END, 2)
    pairs = [
        graph.node("Unsqueeze", part, graph.shape(-1)) for part in (graph.node("Neg", odd), even)
    ]
    shape = graph.shape(1, *rows, rotary)
    crossed = graph.node("Reshape", graph.node("Concat", *pairs, axis=-1), shape)
    sum_ = graph.node("Add", graph.node("Mul", turned, cos), graph.node("Mul", crossed, sin))
    return graph.node("Concat", sum_, _slice(graph, x, rotary, _END), axis=-1)


def _with_past(graph: Graph, x: str, kind: str, tokens: int, past: int, sizes: Sizes) -> str:
    """Append to the cache; the result is an output too."""
    if past:
        cached = graph.input(f"past_{kind}", (1, sizes.kv_heads, past, sizes.depth))
        x = graph.node("Concat", cached, x, axis=2)
    graph.output(x, (1, sizes.kv_heads, past + tokens, sizes.depth), f"present_{kind}")
    return x


def _repeat(graph: Graph, x: str, length: int, sizes: Sizes) -> str:
    """Give every query head its key-value head."""
    group = sizes.heads // sizes.kv_heads
    wide = graph.node("Unsqueeze", x, graph.shape(2))
    copies = graph.node("Expand", wide, graph.shape(1, sizes.kv_heads, group, length, sizes.depth))
    return graph.node("Reshape", copies, graph.shape(1, sizes.heads, length, sizes.depth))


def _mlp(graph: Graph, x: str, sizes: Sizes) -> str:
    joint = linear(graph, x, (sizes.hidden, 2 * sizes.wide), bias=False)
    gate, up = graph.nodes("Split", [joint, graph.shape(sizes.wide, sizes.wide)], 2, axis=-1)
    return linear(
        graph, graph.node("Mul", up, silu(graph, gate)), (sizes.wide, sizes.hidden), bias=False
    )


def _slice(graph: Graph, x: str, start: int, end: int, step: int = 1) -> str:
    """Slice the last axis."""
    bounds = [graph.shape(value) for value in (start, end, -1, step)]
    return graph.node("Slice", x, *bounds)
