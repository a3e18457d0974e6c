"""One operator, or the few of one kind, as a network: what each family of schedules is worth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks.models.graph import Graph
from benchmarks.models.layers import conv, gelu, layer_norm

if TYPE_CHECKING:
    import onnx


def matmul(rows: int, depth: int, columns: int) -> onnx.ModelProto:
    """Return ``a (rows, depth) @ w (depth, columns)`` with a constant w."""
    graph = Graph("matmul")
    weight = graph.weight((depth, columns), depth**-0.5)
    graph.output(graph.node("MatMul", graph.input("a", (rows, depth)), weight), (rows, columns))
    return graph.model()


def convolution(
    channels: tuple[int, int], size: int, kernel: int, stride: int = 1, **options: Any
) -> onnx.ModelProto:
    """Return one convolution on ``x (1, channels, size, size)``; options as of `layers.conv`."""
    graph = Graph("convolution")
    x = graph.input("x", (1, channels[0], size, size))
    out = (size - 1) // stride + 1
    y = conv(graph, x, channels, kernel, stride, **options)
    graph.output(y, (1, channels[1], out, out))
    return graph.model()


def attention(heads: int, queries: int, keys: int, depth: int) -> onnx.ModelProto:
    """Return ``softmax(q k^T / sqrt(depth)) v`` on ``(1, heads, queries or keys, depth)``."""
    graph = Graph("attention")
    q = graph.input("q", (1, heads, queries, depth))
    k = graph.node("Transpose", graph.input("k", (1, heads, keys, depth)), perm=[0, 1, 3, 2])
    v = graph.input("v", (1, heads, keys, depth))
    scores = graph.node("Div", graph.node("MatMul", q, k), graph.constant(depth**0.5))
    mixed = graph.node("MatMul", graph.node("Softmax", scores, axis=-1), v)
    graph.output(mixed, (1, heads, queries, depth))
    return graph.model()


def unary(
    operator: str, shape: Sequence[int], out: Sequence[int] | None = None, **attributes: Any
) -> onnx.ModelProto:
    """Return one node with one input."""
    graph = Graph(operator.lower())
    y = graph.node(operator, graph.input("x", shape), **attributes)
    graph.output(y, out or shape)
    return graph.model()


def of_layer(layer: Callable[[Graph, str], str], shape: Sequence[int]) -> onnx.ModelProto:
    """Return a layer that keeps the shape."""
    graph = Graph("layer")
    graph.output(layer(graph, graph.input("x", shape)), shape)
    return graph.model()


_POOL = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
_WIDE = (1, 128, 768)

#: Family and builder of each operator case, by its name.
OPERATORS: dict[str, tuple[str, Callable[[], onnx.ModelProto]]] = {
    "matmul": ("matmul", partial(matmul, 128, 768, 3072)),
    "gemv": ("matmul", partial(matmul, 1, 768, 3072)),
    "conv3x3": ("convolution", partial(convolution, (64, 64), 56, 3)),
    "conv7x7_s2": ("convolution", partial(convolution, (3, 64), 224, 7, 2)),
    "conv1x1": ("convolution", partial(convolution, (256, 64), 56, 1)),
    "conv3x3_grouped": ("convolution", partial(convolution, (128, 128), 28, 3, groups=4)),
    "conv3x3_dilated": ("convolution", partial(convolution, (64, 64), 28, 3, dilation=2)),
    "depthwise3x3": ("depthwise", partial(convolution, (144, 144), 56, 3, groups=144)),
    "depthwise3x3_s2": ("depthwise", partial(convolution, (144, 144), 56, 3, 2, groups=144)),
    "attention": ("attention", partial(attention, 12, 128, 128, 64)),
    "softmax": ("reduction", partial(unary, "Softmax", (1, 12, 128, 128), axis=-1)),
    "layernorm": ("reduction", partial(of_layer, partial(layer_norm, size=768), _WIDE)),
    "global_pool": (
        "reduction",
        partial(unary, "GlobalAveragePool", (1, 512, 14, 14), (1, 512, 1, 1)),
    ),
    "maxpool": ("pooling", partial(unary, "MaxPool", (1, 64, 112, 112), (1, 64, 56, 56), **_POOL)),
    "gelu": ("elementwise", partial(of_layer, gelu, (1, 128, 3072))),
    "transpose": (
        "layout",
        partial(unary, "Transpose", (1, 128, 12, 64), (1, 12, 128, 64), perm=[0, 2, 1, 3]),
    ),
}
