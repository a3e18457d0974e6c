"""EfficientNet-B0 for 224 x 224 images (Tan and Le, 2019)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.models.graph import Graph
from benchmarks.models.layers import classifier, conv, silu

if TYPE_CHECKING:
    import onnx

#: Expansion, output channels, repetitions, first stride and kernel of each stage.
_STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)


def efficientnet_b0() -> onnx.ModelProto:
    """Return EfficientNet-B0 with SiLU and squeeze-excite: 5.3 M weights, 0.39 G multiply-adds."""
    graph = Graph("efficientnet_b0")
    x = graph.input("image", (1, 3, 224, 224))
    x = silu(graph, conv(graph, x, (3, 32), 3, 2))
    width = 32
    for expansion, wide, repetitions, first_stride, kernel in _STAGES:
        for block in range(repetitions):
            stride = first_stride if block == 0 else 1
            x, width = _block(graph, x, (width, wide), expansion, stride, kernel), wide
    x = silu(graph, conv(graph, x, (width, 1280)))
    classifier(graph, x, 1280)
    return graph.model()


def _block(
    graph: Graph, x: str, channels: tuple[int, int], expansion: int, stride: int, kernel: int
) -> str:
    width, wide = channels
    hidden = width * expansion
    y = x if expansion == 1 else silu(graph, conv(graph, x, (width, hidden)))
    y = silu(graph, conv(graph, y, (hidden, hidden), kernel, stride, hidden))
    y = _squeeze_excite(graph, y, hidden, width // 4)
    y = conv(graph, y, (hidden, wide))
    return graph.node("Add", y, x) if stride == 1 and width == wide else y


def _squeeze_excite(graph: Graph, x: str, channels: int, squeezed: int) -> str:
    y = graph.node("GlobalAveragePool", x)
    y = silu(graph, conv(graph, y, (channels, squeezed)))
    y = graph.node("Sigmoid", conv(graph, y, (squeezed, channels)))
    return graph.node("Mul", y, x)
