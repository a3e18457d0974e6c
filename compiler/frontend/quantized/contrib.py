"""Operators on quantized tensors that only onnxruntime has (domain com.microsoft).

Each is Q(f(DQ(x), ...)) with f the standard operator, as onnxruntime's definitions say. Its kernels
may differ from that by one step where they use tables or fixed-point arithmetic.
"""

from __future__ import annotations

from typing import Any

from autoglm_tvm.compiler.frontend.quantized.qdq_builder import QdqBuilder

#: Inputs of the elementwise operators: a, its scale and zero point, b and its, those of the result.
_TWO = ((0, 1, 2), (3, 4, 5), (6, 7))


def qlinear_add(builder: QdqBuilder) -> bool:
    """QLinearAdd = Q(Add(DQ(a), DQ(b)))."""
    return _elementwise(builder, "Add")


def qlinear_mul(builder: QdqBuilder) -> bool:
    """QLinearMul = Q(Mul(DQ(a), DQ(b)))."""
    return _elementwise(builder, "Mul")


def _elementwise(builder: QdqBuilder, op_type: str) -> bool:
    left, right, result = _TWO
    total = builder.compute(op_type, builder.dequantize(*left), builder.dequantize(*right))
    builder.quantize(total, *result)
    return True


def qlinear_where(builder: QdqBuilder) -> bool:
    """QLinearWhere(c, x, ...) = Q(Where(c, DQ(x), DQ(y)))."""
    left, right = builder.dequantize(1, 2, 3), builder.dequantize(4, 5, 6)
    builder.quantize(builder.compute("Where", builder.input(0), left, right), 7, 8)
    return True


def qlinear_concat(builder: QdqBuilder) -> bool:
    """QLinearConcat(sy, zy, x, sx, zx, ...) = Q(Concat(DQ(x), ...))."""
    firsts = range(2, len(builder.node.input), 3)
    parts = [builder.dequantize(first, first + 1, first + 2) for first in firsts]
    result = builder.compute("Concat", *parts, **builder.kept_attributes())
    builder.quantize(result, 0, 1)
    return True


def qlinear_sigmoid(builder: QdqBuilder) -> bool:
    """QLinearSigmoid = Q(Sigmoid(DQ(x)))."""
    return _one(builder, "Sigmoid")


def qlinear_leaky_relu(builder: QdqBuilder) -> bool:
    """QLinearLeakyRelu = Q(LeakyRelu(DQ(x)))."""
    return _one(builder, "LeakyRelu", **builder.kept_attributes())


def _one(builder: QdqBuilder, op_type: str, *more: str, **attributes: Any) -> bool:
    result = builder.compute(op_type, builder.dequantize(0, 1, 2), *more, **attributes)
    builder.quantize(result, 3, 4)
    return True


def qlinear_reduce_mean(builder: QdqBuilder) -> bool:
    """QLinearReduceMean = Q(ReduceMean(DQ(x))); since opset 18 the axes are an input there."""
    import numpy as np

    attributes = builder.kept_attributes()
    axes = attributes.get("axes")
    if builder.opset < 18 or axes is None:
        return _one(builder, "ReduceMean", **attributes)
    del attributes["axes"]
    name = builder.constant(np.array(axes, dtype=np.int64), "axes")
    return _one(builder, "ReduceMean", name, **attributes)


def qlinear_average_pool(builder: QdqBuilder) -> bool:
    """QLinearAveragePool = Q(AveragePool(DQ(x))), channels first or last."""
    return _pool(builder, "AveragePool")


def qlinear_global_average_pool(builder: QdqBuilder) -> bool:
    """QLinearGlobalAveragePool = Q(GlobalAveragePool(DQ(x))), channels first or last."""
    return _pool(builder, "GlobalAveragePool")


def _pool(builder: QdqBuilder, op_type: str) -> bool:
    attributes = builder.kept_attributes("channels_last")
    if not builder.context.attribute("channels_last", 0):
        return _one(builder, op_type, **attributes)
    shape = builder.context.shape(0)
    if shape is None:
        return False
    rank = len(shape)
    first = [0, rank - 1, *range(1, rank - 1)]
    last = [0, *range(2, rank), 1]
    image = builder.add("Transpose", builder.dequantize(0, 1, 2), perm=first)
    pooled = builder.compute(op_type, image, **attributes)
    builder.quantize(builder.add("Transpose", pooled, perm=last), 3, 4)
    return True


def qlinear_softmax(builder: QdqBuilder) -> bool:
    """QLinearSoftmax = Q(Softmax(DQ(x))); in the form of opset 12, over all axes from `axis` on."""
    shape = builder.context.shape(0)
    old = int(builder.context.attribute("opset", 0)) < 13
    axis = int(builder.context.attribute("axis", 1 if old else -1))
    if shape is None:
        return False
    axis += len(shape) if axis < 0 else 0
    if not old or axis == len(shape) - 1:
        return _one(builder, "Softmax", axis=axis)
    data = builder.dequantize(0, 1, 2)
    flat = builder.compute("Softmax", builder.add("Flatten", data, axis=axis), axis=1)
    builder.quantize(builder.add("Reshape", flat, builder.add("Shape", data)), 3, 4)
    return True
