"""SqueezeNet 1.1 for 224 x 224 images (Iandola et al., 2016)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.models.graph import Graph
from benchmarks.models.layers import conv

if TYPE_CHECKING:
    import onnx

_CLASSES = 1000
#: Input channels, squeezed channels, channels of each of both expansions; None is a pooling.
_FIRES = (
    (64, 16, 64),
    (128, 16, 64),
    None,
    (128, 32, 128),
    (256, 32, 128),
    None,
    (256, 48, 192),
    (384, 48, 192),
    (384, 64, 256),
    (512, 64, 256),
)


def squeezenet() -> onnx.ModelProto:
    """Return SqueezeNet 1.1: 1.2 M weights, 0.35 G multiply-adds."""
    graph = Graph("squeezenet")
    x = graph.input("image", (1, 3, 224, 224))
    x = _pool(graph, graph.node("Relu", conv(graph, x, (3, 64), 3, 2, pad=0)))
    for fire in _FIRES:
        x = _fire(graph, x, *fire) if fire else _pool(graph, x)
    x = graph.node("Relu", conv(graph, x, (512, _CLASSES)))
    y = graph.node("Flatten", graph.node("GlobalAveragePool", x), axis=1)
    graph.output(y, (1, _CLASSES), "logits")
    return graph.model()


def _pool(graph: Graph, x: str) -> str:
    return graph.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)


def _fire(graph: Graph, x: str, width: int, squeezed: int, expanded: int) -> str:
    y = graph.node("Relu", conv(graph, x, (width, squeezed)))
    one = graph.node("Relu", conv(graph, y, (squeezed, expanded)))
    three = graph.node("Relu", conv(graph, y, (squeezed, expanded), 3))
    return graph.node("Concat", one, three, axis=1)
