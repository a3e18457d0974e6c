"""How many multiply-adds a network, or one of its kernels, asks for."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.read import ReadModel

if TYPE_CHECKING:
    import onnx

Shapes = dict[str, tuple[int, ...]]


def tensor_shapes(model: ReadModel) -> Shapes:
    """Return the shape of every tensor of a model that was read with fixed shapes."""
    graph = model.proto.graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for info in [*graph.input, *graph.value_info, *graph.output]:
        dims = info.type.tensor_type.shape.dim
        shapes[info.name] = tuple(dim.dim_value for dim in dims)
    return shapes


def multiply_adds(node: onnx.NodeProto, shapes: Shapes) -> int:
    """Return the multiply-adds of a convolution or a matrix product; any other node has none."""
    if node.op_type not in ("Conv", "ConvTranspose", "MatMul", "Gemm"):
        return 0
    # A tensor whose shape is not known counts nothing.
    first, second = (shapes.get(name, (0,)) for name in node.input[:2])
    result = shapes.get(node.output[0], (0,))
    if node.op_type == "Conv":
        return prod(result) * prod(second[1:])
    if node.op_type == "ConvTranspose":
        return prod(first) * prod(second[1:])
    if node.op_type == "MatMul":
        return prod(result) * first[-1]
    transposed = any(item.name == "transA" and item.i for item in node.attribute)
    return prod(result) * first[0 if transposed else 1]


def total_multiply_adds(model: ReadModel) -> int:
    """Return the multiply-adds of a whole network."""
    shapes = tensor_shapes(model)
    return sum(multiply_adds(node, shapes) for node in model.proto.graph.node)


def kernel_multiply_adds(model: ReadModel, outputs: Sequence[str]) -> list[int]:
    """Return the multiply-adds of each kernel, given the tensor that each one computes.

    A kernel is what lies between its tensor and the tensors of other kernels. What a kernel without
    a name computes counts for the next one.
    """
    shapes = tensor_shapes(model)
    producers = {name: node for node in model.proto.graph.node for name in node.output}
    counted: set[str] = set()
    return [_behind(output, producers, shapes, set(outputs), counted) for output in outputs]


def _behind(
    output: str,
    producers: dict[str, onnx.NodeProto],
    shapes: Shapes,
    borders: set[str],
    counted: set[str],
) -> int:
    total, waiting = 0, [output]
    while waiting:
        node = producers.get(waiting.pop())
        if node is None or node.output[0] in counted:
            continue
        counted.add(node.output[0])
        total += multiply_adds(node, shapes)
        waiting += [name for name in node.input if name not in borders]
    return total
