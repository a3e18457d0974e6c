"""ResNet-18 and ResNet-50 for 224 x 224 images (He et al., 2015, "Deep Residual Learning")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.models.graph import Graph
from benchmarks.models.layers import classifier, conv

if TYPE_CHECKING:
    import onnx

_WIDTHS = (64, 128, 256, 512)
#: The last convolution of a block is scaled down, or the sum grows from block to block.
_GAIN = 0.3


def resnet18() -> onnx.ModelProto:
    """Return ResNet-18: 11.7 M weights, 1.8 G multiply-adds; ``image (1, 3, 224, 224)``."""
    graph = Graph("resnet18")
    x = _stem(graph)
    width = 64
    for stage, wide in enumerate(_WIDTHS):
        for block in range(2):
            stride = 2 if stage > 0 and block == 0 else 1
            x, width = _basic_block(graph, x, width, wide, stride), wide
    classifier(graph, x, width)
    return graph.model()


def resnet50() -> onnx.ModelProto:
    """Return ResNet-50 with the stride in the 3x3: 25.6 M weights, 4.1 G multiply-adds."""
    graph = Graph("resnet50")
    x = _stem(graph)
    width = 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        for block in range(blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            x = _bottleneck(graph, x, width, _WIDTHS[stage], stride)
            width = 4 * _WIDTHS[stage]
    classifier(graph, x, width)
    return graph.model()


def _stem(graph: Graph) -> str:
    x = graph.input("image", (1, 3, 224, 224))
    x = graph.node("Relu", conv(graph, x, (3, 64), 7, 2))
    return graph.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])


def _basic_block(graph: Graph, x: str, width: int, wide: int, stride: int) -> str:
    y = graph.node("Relu", conv(graph, x, (width, wide), 3, stride))
    y = conv(graph, y, (wide, wide), 3, gain=_GAIN)
    return graph.node("Relu", graph.node("Add", y, _shortcut(graph, x, width, wide, stride)))


def _bottleneck(graph: Graph, x: str, width: int, narrow: int, stride: int) -> str:
    y = graph.node("Relu", conv(graph, x, (width, narrow)))
    y = graph.node("Relu", conv(graph, y, (narrow, narrow), 3, stride))
    y = conv(graph, y, (narrow, 4 * narrow), gain=_GAIN)
    return graph.node("Relu", graph.node("Add", y, _shortcut(graph, x, width, 4 * narrow, stride)))


def _shortcut(graph: Graph, x: str, width: int, wide: int, stride: int) -> str:
    if stride == 1 and width == wide:
        return x
    return conv(graph, x, (width, wide), 1, stride, gain=0.7)
