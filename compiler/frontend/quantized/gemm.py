"""Matrix products that only onnxruntime has: QGemm, DynamicQuantizeMatMul, MatMulIntegerToFloat."""

from __future__ import annotations

from autoglm_tvm.compiler.frontend.quantized.qdq_builder import QdqBuilder


def qgemm(builder: QdqBuilder) -> bool:
    """QGemm(a, sa, za, b, sb, zb, c, sy, zy) = Q(Gemm(DQ(a), DQ(b), DQ(c))).

    c is int32 at the scale alpha * sa * sb. Without sy the result is the float.
    """
    import numpy as np

    attributes = builder.kept_attributes()
    columns = 0 if attributes.get("transB", 0) else 1
    inputs = [builder.dequantize(0, 1, 2), builder.dequantize(3, 4, 5, axis=columns)]
    if builder.input(6):
        scale = builder.product(builder.input(1), builder.input(4))
        alpha = float(attributes.get("alpha", 1.0))
        if alpha != 1.0:
            scale = builder.product(scale, builder.constant(np.array(alpha, np.float32), "alpha"))
        rank = len(builder.context.shape(6) or ())
        inputs.append(builder.dequantize_by(builder.input(6), scale, "", axis=max(rank - 1, 0)))
    if not builder.input(7):
        builder.compute("Gemm", *inputs, **attributes)
        builder.name_output()
        return True
    builder.quantize(builder.compute("Gemm", *inputs, **attributes), 7, 8)
    return True


def dynamic_quantize_matmul(builder: QdqBuilder) -> bool:
    """DynamicQuantizeMatMul(a, b, sb, zb, bias): a is quantized at run time to uint8."""
    quantized, scale, zero = builder.add_dynamic_quantize(builder.input(0))
    scales = builder.add("Mul", scale, builder.input(2))
    return _integers_to_float(builder, quantized, builder.input(1), zero, 3, scales, 4)


def matmul_integer_to_float(builder: QdqBuilder) -> bool:
    """MatMulIntegerToFloat(a, b, sa, sb, za, zb, bias) = MatMulInteger * sa * sb + bias."""
    scales = builder.product(builder.input(2), builder.input(3))
    left, right = builder.input(0), builder.input(1)
    return _integers_to_float(builder, left, right, builder.input(4), 5, scales, 6)


def _integers_to_float(
    builder: QdqBuilder,
    left: str,
    right: str,
    left_zero: str,
    right_zero: int,
    scales: str,
    bias: int,
) -> bool:
    from onnx import TensorProto

    inputs = [left, right, left_zero, builder.input(right_zero)]
    while not inputs[-1]:
        inputs.pop()
    total = builder.add("Cast", builder.compute("MatMulInteger", *inputs), to=TensorProto.FLOAT)
    result = builder.add("Mul", total, scales)
    if builder.input(bias):
        builder.add("Add", result, builder.input(bias))
    builder.name_output()
    return True
