"""Conv of bytes by constant weights, dense, grouped and depthwise: ConvInteger."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoglm_tvm.compiler.integer.bench import Bench
from autoglm_tvm.compiler.integer.kernels import convolution_problem
from autoglm_tvm.compiler.integer.products import Product, Taken, make_product
from autoglm_tvm.compiler.integer.refusal import Refusal

if TYPE_CHECKING:
    import onnx


def convolution(bench: Bench, node: onnx.NodeProto, method: str) -> Taken | Refusal:
    """Conv(x, w, b) = sx sw (ConvInteger(X, W, zx, zw) + B); padding is with zx, which is 0."""
    left, weight = (bench.quantized.get(name) for name in node.input[:2])
    if left is None or not left.activation:
        return Refusal("its input is not quantized to bytes with one scale")
    if weight is None or weight.value is None:
        return Refusal("its weight is not a quantized constant")
    if weight.how.axis not in (None, 0):
        return Refusal("its weight is not quantized along the output channels")
    problem = convolution_problem(weight.value.ndim)
    if problem:
        return Refusal(problem)
    kept = {each.name: each for each in node.attribute}

    def multiply(names: list[str], output: str) -> str:
        made = bench.add("ConvInteger", *names, output=output, name=node.name)
        bench.nodes[-1].attribute.extend(kept.values())
        return made

    return make_product(
        bench,
        Product(
            node,
            left,
            weight,
            channel_axis=0,
            output_axis=1 - weight.value.ndim,
            multiply=multiply,
            bias=node.input[2] if len(node.input) > 2 else "",
        ),
        method,
    )
