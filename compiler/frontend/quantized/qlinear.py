"""The standard operators on quantized tensors: QLinearConv and QLinearMatMul."""

from __future__ import annotations

from autoglm_tvm.compiler.frontend.quantized.qdq_builder import QdqBuilder


def qlinear_conv(builder: QdqBuilder) -> bool:
    """QLinearConv(x, sx, zx, w, sw, zw, sy, zy, bias) = Q(Conv(DQ(x), DQ(w), DQ(bias))).

    The weight's scale may be one for each output channel. The bias is int32 at the scale sx * sw.
    """
    inputs = [builder.dequantize(0, 1, 2), builder.dequantize(3, 4, 5, axis=0)]
    if builder.input(8):
        scale = builder.product(builder.input(1), builder.input(4))
        inputs.append(builder.dequantize_by(builder.input(8), scale, "", axis=0))
    result = builder.compute("Conv", *inputs, **builder.kept_attributes())
    builder.quantize(result, 6, 7)
    return True


def qlinear_matmul(builder: QdqBuilder) -> bool:
    """QLinearMatMul(a, sa, za, b, sb, zb, sy, zy) = Q(MatMul(DQ(a), DQ(b))).

    A vector of scales goes along the rows of a, the columns of b, or the rows of y.
    """
    left, right = builder.context.shape(0), builder.context.shape(3)
    if left is None or right is None:
        return False
    rows, columns = max(len(left) - 2, 0), len(right) - 1
    inputs = [builder.dequantize(0, 1, 2, axis=rows), builder.dequantize(3, 4, 5, axis=columns)]
    result = builder.compute("MatMul", *inputs)
    builder.quantize(result, 6, 7, axis=max(len(left), len(right)) - 2)
    return True
