"""Layers that several networks share, decomposed as torch's exporter does it."""

from __future__ import annotations

from math import sqrt

from benchmarks.models.graph import Graph


def conv(
    graph: Graph,
    x: str,
    channels: tuple[int, int],
    kernel: int = 1,
    stride: int = 1,
    groups: int = 1,
    *,
    pad: int | None = None,
    dilation: int = 1,
    gain: float = 1.0,
) -> str:
    """Add a convolution with a bias, as what is left of one with a batch norm folded into it.

    Parameters
    ----------
    x
        Tensor of shape ``(n, channels[0], height, width)``.
    channels
        Of the input and of the output.
    pad
        On all four sides; by default what keeps the size at stride 1.
    gain
        Factor on He's deviation of the weights, ``sqrt(2 / fan_in)``.
    """
    fan_in = channels[0] // groups * kernel * kernel
    if pad is None:
        pad = dilation * (kernel - 1) // 2
    weight = graph.weight((channels[1], channels[0] // groups, kernel, kernel), _he(fan_in, gain))
    bias = graph.weight((channels[1],), 0.1)
    return graph.node(
        "Conv",
        x,
        weight,
        bias,
        kernel_shape=[kernel, kernel],
        strides=[stride, stride],
        pads=[pad] * 4,
        dilations=[dilation, dilation],
        group=groups,
    )


def gemm(graph: Graph, x: str, features: tuple[int, int]) -> str:
    """Add a classifier: ``torch.nn.Linear`` on a matrix becomes a Gemm with a transposed weight."""
    weight = graph.weight((features[1], features[0]), _he(features[0], 1.0))
    return graph.node("Gemm", x, weight, graph.weight((features[1],), 0.1), transB=1)


def linear(
    graph: Graph, x: str, features: tuple[int, int], *, bias: bool = True, gain: float = 0.7
) -> str:
    """Add ``torch.nn.Linear`` on a tensor of rank 3: MatMul, and Add of the bias."""
    product = graph.node("MatMul", x, graph.weight(features, _he(features[0], gain)))
    if not bias:
        return product
    return graph.node("Add", graph.weight((features[1],), 0.1), product)


def layer_norm(graph: Graph, x: str, size: int) -> str:
    """Add a LayerNormalization over the last axis."""
    scale = graph.constant([1.0] * size)
    bias = graph.weight((size,), 0.1)
    return graph.node("LayerNormalization", x, scale, bias, axis=-1, epsilon=1e-5)


def gelu(graph: Graph, x: str) -> str:
    """Add GELU by the error function: ``x * (1 + erf(x / sqrt(2))) * 0.5``."""
    error = graph.node("Erf", graph.node("Div", x, graph.constant(sqrt(2.0))))
    sum_ = graph.node("Add", error, graph.constant(1.0))
    return graph.node("Mul", graph.node("Mul", x, sum_), graph.constant(0.5))


def silu(graph: Graph, x: str) -> str:
    """Add ``x * sigmoid(x)``."""
    return graph.node("Mul", x, graph.node("Sigmoid", x))


def relu6(graph: Graph, x: str) -> str:
    """Add ``min(max(x, 0), 6)``."""
    return graph.node("Clip", x, graph.constant(0.0), graph.constant(6.0))


def classifier(graph: Graph, x: str, channels: int, classes: int = 1000) -> None:
    """End the network: global average pool, Flatten, Gemm, output ``logits (1, classes)``."""
    pooled = graph.node("Flatten", graph.node("GlobalAveragePool", x), axis=1)
    graph.output(gemm(graph, pooled, (channels, classes)), (1, classes), "logits")


def _he(fan_in: int, gain: float) -> float:
    return gain * sqrt(2.0 / fan_in)
