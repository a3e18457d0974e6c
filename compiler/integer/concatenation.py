"""Concat of bytes: those parts that have another scale than the result are requantized first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoglm_tvm.compiler.integer.bench import Bench
from autoglm_tvm.compiler.integer.bytes_to_bytes import bytes_to_bytes, quantize_constant
from autoglm_tvm.compiler.integer.products import Taken
from autoglm_tvm.compiler.integer.quantization import Quantization, Quantized
from autoglm_tvm.compiler.integer.refusal import Refusal
from autoglm_tvm.compiler.integer.tail import tail_of

if TYPE_CHECKING:
    import onnx


def concatenation(bench: Bench, node: onnx.NodeProto, method: str) -> Taken | Refusal:
    """Q(Concat(a, b)) = Concat(Q(a), Q(b)), and where all scales agree it needs no Q behind."""
    operands = [bench.quantized.get(name) for name in node.input]
    activations = [each for each in operands if each is not None and each.activation]
    if not activations:
        return Refusal("no operand of it is quantized to bytes with one scale")
    tail = tail_of(bench, node.output[0])
    how = tail.how
    # A Relu between would have to be applied to each part.
    if how is None or tail.nodes:
        how = activations[0].how
        if not all(each is not None and each.how.same_as(how) for each in operands):
            return Refusal("its operands have different scales, and its result is needed in float")
        output = bench.fresh(f"{node.output[0]}/bytes")
        taken: Taken = (node,)
    else:
        if not all(
            (each is not None and each.activation) or bench.real_constant(name) is not None
            for each, name in zip(operands, node.input, strict=True)
        ):
            return Refusal("one of its operands is not quantized")
        output = bench.share_bytes(tail.quantize)
        taken = (node, *tail.quantize)
    parts = [
        _part(bench, name, operand, how, f"{output}/{index}", method)
        for index, (name, operand) in enumerate(zip(node.input, operands, strict=True))
    ]
    axis = next(each.i for each in node.attribute if each.name == "axis")
    bench.add("Concat", *parts, output=output, name=node.name, axis=axis)
    if len(taken) == 1:
        bench.quantized[node.output[0]] = Quantized(output, how)
    return taken


def _part(
    bench: Bench, name: str, operand: Quantized | None, how: Quantization, label: str, method: str
) -> str:
    if operand is not None and operand.how.same_as(how):
        return operand.tensor
    if operand is not None and operand.activation:
        output = bench.fresh(label)
        bytes_to_bytes(bench, operand, how, output, method=method)
        return output
    value = bench.real_constant(name)
    assert value is not None
    return bench.new_constant(quantize_constant(value, how), label)
