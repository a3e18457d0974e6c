"""Sums, differences and products of bytes, element by element, quantized again behind.

    a = (A - za) sa      b = (B - zb) sb      y = saturate(round(r / sy) + zy)

Add, Sub (with -sb for sb), in float32 registers as onnxruntime's QLinearAdd computes it:

    r / sy + zy = (A ra + c) + B rb      ra = sa / sy, rb = sb / sy, c = zy - (ra za + rb zb)

and with ``fixed-point``, multipliers below 2^20 and int32 throughout:

    Y = (A Ma + B Mb + C) >> s

Mul, as QLinearMul: ((A - za) (B - zb)) (sa sb / sy) + zy; Div by a constant is Mul by its inverse.
A constant operand becomes part of the constants.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autoglm_tvm.compiler.integer.bench import Bench
from autoglm_tvm.compiler.integer.products import Taken
from autoglm_tvm.compiler.integer.quantization import Quantization, Quantized
from autoglm_tvm.compiler.integer.refusal import Refusal
from autoglm_tvm.compiler.integer.requantize import (
    FIXED_POINT,
    clip_range,
    fixed_point,
    requantize,
    to_bytes,
)
from autoglm_tvm.compiler.integer.tail import Tail, tail_of

if TYPE_CHECKING:
    import numpy as np
    import onnx

# Two products of a byte, a bit for the sign of the rest, and the rounding fit into 31 bits.
_MULTIPLIER_BITS = 20
_LARGEST_SHIFT = 29


def weighted_sum(bench: Bench, node: onnx.NodeProto, method: str) -> Taken | Refusal:
    """Add and Sub."""
    import numpy as np

    found = _operands_and_tail(bench, node)
    if isinstance(found, Refusal):
        return found
    operands, constant, tail, how = found
    signs = [1, -1 if node.op_type == "Sub" else 1]
    ratios = [
        (operand, np.asarray(sign * operand.how.scale / how.scale, np.float32))
        for operand, sign in zip(operands, signs, strict=True)
        if operand is not None
    ]
    fixed = np.float32(how.zero_point)
    for operand, ratio in ratios:
        fixed = fixed - ratio * np.float32(operand.how.zero_point)
    if constant is not None:
        index, value = constant
        fixed = fixed + np.float32(signs[index]) * (value / how.scale)
    output = bench.share_bytes(tail.quantize)
    fits = method == FIXED_POINT and _fits(ratios, np.asarray(fixed))
    make = _in_fixed_point if fits else _in_float
    make(bench, ratios, np.asarray(fixed, np.float32), tail, how, output)
    return (node, *tail.taken)


def scaled_product(bench: Bench, node: onnx.NodeProto, method: str) -> Taken | Refusal:
    """Mul, and Div by a constant."""
    import numpy as np
    import onnx

    if node.op_type == "Div":
        divisor = bench.real_constant(node.input[1])
        if divisor is None or not divisor.all():
            return Refusal("it divides by what is computed, or by zero")
    found = _operands_and_tail(bench, node)
    if isinstance(found, Refusal):
        return found
    operands, constant, tail, how = found
    computed = [operand for operand in operands if operand is not None]
    output = bench.share_bytes(tail.quantize)
    parts = [bench.centred(operand, f"{output}/{index}") for index, operand in enumerate(computed)]
    factor = np.float32(1)
    for operand in computed:
        factor = factor * operand.how.scale
    if constant is not None:
        value = constant[1]
        factor = factor / value if node.op_type == "Div" else factor * value
    factor = np.asarray(factor / how.scale, np.float32)
    sums = parts[0]
    if len(parts) == 2:
        sums = bench.add("Mul", *parts, output=bench.fresh(f"{output}/product"))
    if method == FIXED_POINT and (factor > 0).all():
        requantize(bench, sums, factor, tail.bounds, how, output, method)
        return (node, *tail.taken)
    real = bench.add("Cast", sums, to=onnx.TensorProto.FLOAT, output=bench.fresh(f"{output}/float"))
    scaled = _step(bench, "Mul", real, factor, output)
    if how.zero_point:
        scaled = _step(bench, "Add", scaled, how.zero_point.astype(np.float32), output)
    to_bytes(bench, scaled, *clip_range(tail.bounds, how), how, output)
    return (node, *tail.taken)


def _operands_and_tail(bench: Bench, node: onnx.NodeProto) -> Any:
    """The computed operands (None for a constant), the constant with its place, and the tail."""
    operands = [bench.quantized.get(name) for name in node.input]
    constants = [bench.real_constant(name) for name in node.input]
    computed = [
        operand if operand is not None and operand.activation else None for operand in operands
    ]
    known = [(i, value) for i, value in enumerate(constants) if value is not None]
    if not any(computed):
        return Refusal("no operand of it is quantized to bytes with one scale")
    if sum(operand is not None for operand in computed) + len(known) < 2:
        return Refusal("one of its operands is not quantized")
    tail = tail_of(bench, node.output[0])
    if tail.how is None:
        return Refusal("its result is needed in float")
    return computed, known[0] if known else None, tail, tail.how


def _step(bench: Bench, op_type: str, name: str, value: np.ndarray, output: str) -> str:
    constant = bench.new_constant(value, "constant")
    return bench.add(op_type, name, constant, output=bench.fresh(f"{output}/{op_type}"))


def _in_float(
    bench: Bench,
    ratios: list[tuple[Quantized, np.ndarray]],
    fixed: np.ndarray,
    tail: Tail,
    how: Quantization,
    output: str,
) -> None:
    import numpy as np
    import onnx

    total = ""
    for operand, ratio in ratios:
        wide = bench.fresh(f"{output}/float")
        real = bench.add("Cast", operand.tensor, to=onnx.TensorProto.FLOAT, output=wide)
        scaled = _step(bench, "Mul", real, np.asarray(ratio), output)
        if total:
            total = bench.add("Add", total, scaled, output=bench.fresh(f"{output}/sum"))
        else:
            total = _step(bench, "Add", scaled, fixed, output)
    to_bytes(bench, total, *clip_range(tail.bounds, how), how, output)


def _fits(ratios: list[tuple[Quantized, np.ndarray]], fixed: np.ndarray) -> bool:
    """Whether the multipliers share a shift, and no sum leaves 31 bits."""
    import numpy as np

    largest = max(abs(float(ratio)) for _, ratio in ratios)
    _, shift = fixed_point(np.asarray(largest), _MULTIPLIER_BITS, _LARGEST_SHIFT)
    total = sum(abs(float(ratio)) for _, ratio in ratios) * 256 + float(np.abs(fixed).max())
    return bool(shift >= 1 and (total + 1) * 2.0 ** float(shift) < 2.0**30)


def _in_fixed_point(
    bench: Bench,
    ratios: list[tuple[Quantized, np.ndarray]],
    fixed: np.ndarray,
    tail: Tail,
    how: Quantization,
    output: str,
) -> None:
    import numpy as np
    import onnx

    largest = np.asarray(max(abs(float(ratio)) for _, ratio in ratios))
    shift = int(fixed_point(largest, _MULTIPLIER_BITS, _LARGEST_SHIFT)[1])
    total = ""
    for operand, ratio in ratios:
        whole = np.asarray(np.rint(np.ldexp(np.float64(ratio), shift)), np.int32)
        wide = bench.fresh(f"{output}/int32")
        name = bench.add("Cast", operand.tensor, to=onnx.TensorProto.INT32, output=wide)
        scaled = _step(bench, "Mul", name, whole, output)
        total = (
            bench.add("Add", total, scaled, output=bench.fresh(f"{output}/sum"))
            if total
            else scaled
        )
    # ONNX shifts unsigned integers alone: a multiple of 2^shift makes the sum positive first.
    offset = np.rint(np.ldexp(fixed.astype(np.float64), shift)) + (1 << (shift - 1)) + (1 << 30)
    total = _step(bench, "Add", total, offset.astype(np.int32), output)
    positive = bench.add(
        "Cast", total, to=onnx.TensorProto.UINT32, output=bench.fresh(f"{output}/uint32")
    )
    constant = bench.new_constant(np.array(shift, np.uint32), "shift")
    shifted = bench.add(
        "BitShift", positive, constant, output=bench.fresh(f"{output}/shifted"), direction="RIGHT"
    )
    moved = bench.add(
        "Cast", shifted, to=onnx.TensorProto.INT32, output=bench.fresh(f"{output}/moved")
    )
    back = _step(bench, "Sub", moved, np.array(1 << (30 - shift), np.int32), output)
    limits = [
        bench.new_constant(np.array(limit, np.int32), "limit")
        for limit in clip_range(tail.bounds, how)
    ]
    clipped = bench.add("Clip", back, *limits, output=bench.fresh(f"{output}/clipped"))
    bench.add(
        "Cast", clipped, to=onnx.helper.np_dtype_to_tensor_dtype(np.dtype(how.dtype)), output=output
    )
