"""MobileNetV2 for 224 x 224 images (Sandler et al., 2018, "Inverted Residuals")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.models.graph import Graph
from benchmarks.models.layers import classifier, conv, relu6

if TYPE_CHECKING:
    import onnx

#: Expansion, output channels, repetitions and first stride of each stage (table 2 of the paper).
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def mobilenet_v2() -> onnx.ModelProto:
    """Return MobileNetV2 of width 1: 3.5 M weights, 0.30 G multiply-adds."""
    graph = Graph("mobilenet_v2")
    x = graph.input("image", (1, 3, 224, 224))
    x = relu6(graph, conv(graph, x, (3, 32), 3, 2))
    width = 32
    for expansion, wide, repetitions, first_stride in _STAGES:
        for block in range(repetitions):
            stride = first_stride if block == 0 else 1
            x, width = _block(graph, x, (width, wide), expansion, stride), wide
    x = relu6(graph, conv(graph, x, (width, 1280)))
    classifier(graph, x, 1280)
    return graph.model()


def _block(graph: Graph, x: str, channels: tuple[int, int], expansion: int, stride: int) -> str:
    width, wide = channels
    hidden = width * expansion
    y = x if expansion == 1 else relu6(graph, conv(graph, x, (width, hidden)))
    y = relu6(graph, conv(graph, y, (hidden, hidden), 3, stride, hidden))
    y = conv(graph, y, (hidden, wide), gain=0.5)
    return graph.node("Add", x, y) if stride == 1 and width == wide else y
