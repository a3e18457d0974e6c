"""MatMul and Gemm of bytes by constant weights: MatMulInteger."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoglm_tvm.compiler.frontend.graph import attributes
from autoglm_tvm.compiler.integer.bench import Bench
from autoglm_tvm.compiler.integer.products import Product, Taken, make_product
from autoglm_tvm.compiler.integer.quantization import Quantized
from autoglm_tvm.compiler.integer.refusal import Refusal

if TYPE_CHECKING:
    import onnx


def matrix_product(bench: Bench, node: onnx.NodeProto, method: str) -> Taken | Refusal:
    """MatMul(x, w) = sx sw MatMulInteger(X, W, zx, zw)."""
    operands = _operands(bench, node)
    if isinstance(operands, Refusal):
        return operands
    left, weight = operands
    shape = bench.shape(node.input[0])
    if shape is None or len(shape) < 2:
        return Refusal("its input is not known to be a matrix")
    return make_product(bench, _product(bench, node, left, weight), method)


def general_product(bench: Bench, node: onnx.NodeProto, method: str) -> Taken | Refusal:
    """Gemm = alpha sx sw MatMulInteger(X, W or its transpose) + beta b."""
    operands = _operands(bench, node)
    if isinstance(operands, Refusal):
        return operands
    left, weight = operands
    given = attributes(node)
    if given.get("transA"):
        return Refusal("its input is transposed")
    if given.get("transB"):
        weight = weight.transposed((1, 0))
    bias = node.input[2] if len(node.input) > 2 else ""
    factors = (given.get("alpha", 1.0), given.get("beta", 1.0))
    return make_product(bench, _product(bench, node, left, weight, bias, factors), method)


def _operands(bench: Bench, node: onnx.NodeProto) -> tuple[Quantized, Quantized] | Refusal:
    left, weight = (bench.quantized.get(name) for name in node.input[:2])
    if left is not None and weight is not None and left.activation and weight.activation:
        return Refusal("both of its operands are computed, and its kernels take constant weights")
    if left is None or not left.activation:
        return Refusal("its input is not quantized to bytes with one scale")
    if weight is None or weight.value is None:
        return Refusal("its weight is not a quantized constant")
    if weight.value.ndim != 2:
        return Refusal(f"its weight has {weight.value.ndim} axes")
    transposed = node.op_type == "Gemm" and any(a.name == "transB" and a.i for a in node.attribute)
    if weight.how.axis not in (None, 0 if transposed else 1):
        return Refusal("its weight is not quantized along the output channels")
    return left, weight


def _product(
    bench: Bench,
    node: onnx.NodeProto,
    left: Quantized,
    weight: Quantized,
    bias: str = "",
    factors: tuple[float, float] = (1.0, 1.0),
) -> Product:
    def multiply(names: list[str], output: str) -> str:
        return bench.add("MatMulInteger", *names, output=output, name=node.name)

    return Product(
        node,
        left,
        weight,
        channel_axis=1,
        output_axis=-1,
        multiply=multiply,
        bias=bias,
        factor=factors[0],
        bias_factor=factors[1],
    )
