"""ViT-tiny for 224 x 224 images, as `timm` exports it (Dosovitskiy et al., 2020)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.models.graph import Graph
from benchmarks.models.layers import conv, gelu, gemm, layer_norm, linear

if TYPE_CHECKING:
    import onnx

_HIDDEN, _HEADS, _LAYERS, _PATCH, _CLASSES = 192, 3, 12, 16, 1000
_PATCHES = (224 // _PATCH) ** 2
_TOKENS = _PATCHES + 1
_DEPTH = _HIDDEN // _HEADS


def vit_tiny() -> onnx.ModelProto:
    """Return ViT-tiny of 16 x 16 patches: 5.7 M weights, 1.3 G multiply-adds, 197 tokens."""
    graph = Graph("vit_tiny")
    image = graph.input("image", (1, 3, 224, 224))
    patches = conv(graph, image, (3, _HIDDEN), _PATCH, _PATCH, pad=0)
    flat = graph.node("Reshape", patches, graph.shape(1, _HIDDEN, _PATCHES))
    tokens = graph.node("Transpose", flat, perm=[0, 2, 1])
    x = graph.node("Concat", graph.weight((1, 1, _HIDDEN), 0.1), tokens, axis=1)
    x = graph.node("Add", x, graph.weight((1, _TOKENS, _HIDDEN), 0.1))
    for _ in range(_LAYERS):
        x = graph.node("Add", x, _attention(graph, layer_norm(graph, x, _HIDDEN)))
        wide = linear(graph, layer_norm(graph, x, _HIDDEN), (_HIDDEN, 4 * _HIDDEN))
        x = graph.node("Add", x, linear(graph, gelu(graph, wide), (4 * _HIDDEN, _HIDDEN)))
    first = graph.node("Gather", layer_norm(graph, x, _HIDDEN), graph.constant(0, "int64"), axis=1)
    graph.output(gemm(graph, first, (_HIDDEN, _CLASSES)), (1, _CLASSES), "logits")
    return graph.model()


def _attention(graph: Graph, x: str) -> str:
    joint = linear(graph, x, (_HIDDEN, 3 * _HIDDEN))
    split = graph.node("Reshape", joint, graph.shape(1, _TOKENS, 3, _HEADS, _DEPTH))
    stacked = graph.node("Transpose", split, perm=[2, 0, 3, 1, 4])
    parts = graph.nodes("Split", [stacked, graph.shape(1, 1, 1)], 3, axis=0)
    q, k, v = (graph.node("Squeeze", part, graph.shape(0)) for part in parts)
    scaled = graph.node("Mul", q, graph.constant(_DEPTH**-0.5))
    scores = graph.node("MatMul", scaled, graph.node("Transpose", k, perm=[0, 1, 3, 2]))
    mixed = graph.node("MatMul", graph.node("Softmax", scores, axis=-1), v)
    mixed = graph.node("Transpose", mixed, perm=[0, 2, 1, 3])
    flat = graph.node("Reshape", mixed, graph.shape(1, _TOKENS, _HIDDEN))
    return linear(graph, flat, (_HIDDEN, _HIDDEN))
