"""Products of bytes by constant weights.

    x = (X - zx) sx      X: bytes, one scale
    w = (W - zw) sw      W: a constant, sw: one, or one for each output channel
    x w + b = sx sw ((X - zx) (W - zw) + B)      B = round(b / (sx sw)), int32

ConvInteger or MatMulInteger computes the sums, exactly. With QuantizeLinear behind, they are
requantized to bytes; otherwise they become float, and b is added there:

    y = float(sums) (sx sw) + b
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.integer.bench import Bench
from autoglm_tvm.compiler.integer.quantization import Quantized
from autoglm_tvm.compiler.integer.refusal import Refusal
from autoglm_tvm.compiler.integer.requantize import clip_range, requantize, to_bytes, to_real
from autoglm_tvm.compiler.integer.tail import Tail, tail_of

if TYPE_CHECKING:
    import numpy as np
    import onnx

_BYTE = 255
_LARGEST_INT32 = (1 << 31) - 1
Taken = tuple["onnx.NodeProto", ...]
# A bias quantized in the scale of the sums, but for the rounding of their product.
_SAME_SCALE = 1e-3


@dataclass(frozen=True)
class Product:
    """An operator with its operands, ready to be made.

    Attributes
    ----------
    node
        Of the Q/DQ model.
    left
        x.
    weight
        w with the output channels along its `channel_axis`.
    channel_axis
        Of the weight.
    bias
        The tensor that the operator itself adds; empty for none.
    bias_factor
        That a bias is multiplied with (Gemm's beta).
    factor
        That the product is multiplied with (Gemm's alpha).
    output_axis
        Of the result's axes that of the output channels, counted from the last: -1 is the last.
    multiply
        Makes the node of integer sums out of the names of X, W and the zero points; returns the
        sums' name.
    """

    node: onnx.NodeProto
    left: Quantized
    weight: Quantized
    channel_axis: int
    output_axis: int
    multiply: Callable[[list[str], str], str]
    bias: str = ""
    bias_factor: float = 1.0
    factor: float = 1.0


def make_product(bench: Bench, product: Product, method: str) -> Taken | Refusal:
    """Make the integer product and what stands behind it; return the nodes that it takes over."""
    import numpy as np

    shape = bench.shape(product.node.output[0])
    if shape is None or product.weight.value is None or not product.weight.value.size:
        return Refusal("the shape of its result is not known, or it has no weights")
    rank, scale = len(shape), _scale(product)
    if not np.isfinite(scale).all() or (scale <= 0).any():
        return Refusal("the product of its scales is not a positive number")
    weight, zero = centred(product.weight)
    channels = weight.shape[product.channel_axis]
    reduced = tuple(axis for axis in range(weight.ndim) if axis != product.channel_axis)
    exact = weight.astype(np.int32) - _along(zero, product.channel_axis, weight.ndim)
    if 4 * _BYTE * int(np.abs(exact).sum(axis=reduced, dtype=np.int64).max()) > _LARGEST_INT32:
        return Refusal("its sums could leave int32")

    def as_bias(addend: np.ndarray) -> np.ndarray | None:
        return channel_vector(addend, rank, product.output_axis, channels)

    bias = _own_bias(bench, product, scale)
    if isinstance(bias, Refusal):
        return bias
    tail = tail_of(bench, product.node.output[0], as_bias)
    if tail.addends:
        bias = Bias(sum(tail.addends, bias.real), None)
    sums = _sums(bench, product, weight, zero)
    columns = _Columns(scale, bias, rank, product.output_axis)
    if tail.how is None:
        _to_float(bench, sums, columns, product.left.how.float_type, tail.output)
    else:
        output = bench.share_bytes(tail.quantize)
        _to_bytes(bench, sums, columns, tail, output, method)
    return (product.node, *tail.taken)


@dataclass(frozen=True)
class Bias:
    """What is added for each output channel: float32 [C] and, where it came so, int32 sums [C]."""

    real: np.ndarray
    exact: np.ndarray | None

    def integers(self, scale: np.ndarray) -> np.ndarray | None:
        """The bias in the scale of the sums; None where it could leave int32 with them."""
        import numpy as np

        whole = self.exact
        if whole is None:
            whole = np.rint(self.real.astype(np.float64) / scale.astype(np.float64))
        fits = bool((np.abs(whole.astype(np.float64)) <= _LARGEST_INT32 // 4).all())
        return whole.astype(np.int32) if fits else None


@dataclass(frozen=True)
class _Columns:
    """Scale and bias of the output channels, and where these lie in the result."""

    scale: np.ndarray
    bias: Bias
    rank: int
    axis: int

    def shaped(self, vector: np.ndarray) -> np.ndarray:
        """One value for each channel, to broadcast with the result; a scalar where all agree."""
        if vector.size == 1 or (vector == vector[0]).all():
            return vector[0].reshape(())
        return vector.reshape(
            [-1 if axis == self.rank + self.axis else 1 for axis in range(self.rank)]
        )


def centred(weight: Quantized) -> tuple[np.ndarray, np.ndarray]:
    """Return the weight as int8 and its zero point as int32, [] or [C]; zeros where it can be.

    Of machines' instructions all take int8 on the right, and none a zero point.
    """
    import numpy as np

    assert weight.value is not None
    how = weight.how
    axis = 0 if how.axis is None else how.axis
    integers = weight.value.astype(np.int32)
    moved = integers - _along(how.zero_point, axis, integers.ndim)
    if moved.size == 0 or (moved.min() >= -128 and moved.max() <= 127):
        return moved.astype(np.int8), np.zeros((), np.int32)
    shift = 128 if how.dtype == "uint8" else 0
    return (integers - shift).astype(np.int8), how.zero_point - shift


def channel_vector(addend: np.ndarray, rank: int, axis: int, channels: int) -> np.ndarray | None:
    """Return one float32 a channel of a constant that is added; None where it has more.

    Parameters
    ----------
    rank
        Of the result that it is added to.
    axis
        Of the output channels, counted from the last.
    """
    import numpy as np

    if addend.ndim > rank:
        return None
    wide = addend.reshape((1,) * (rank - addend.ndim) + addend.shape)
    if wide.size != wide.shape[axis] or wide.size not in (1, channels):
        return None
    return np.broadcast_to(wide.reshape(-1), (channels,)).astype(np.float32)


def _along(values: np.ndarray, axis: int, rank: int) -> np.ndarray:
    if values.ndim == 0:
        return values
    return values.reshape([-1 if each == axis else 1 for each in range(rank)])


def _scale(product: Product) -> np.ndarray:
    """float32 [C]: sx sw, in that order, as onnxruntime computes it."""
    import numpy as np

    assert product.weight.value is not None
    channels = product.weight.value.shape[product.channel_axis]
    scale = product.left.how.scale * product.weight.how.scale
    if product.factor != 1.0:
        scale = np.float32(product.factor) * scale
    return np.broadcast_to(scale, (channels,)).astype(np.float32)


def _own_bias(bench: Bench, product: Product, scale: np.ndarray) -> Bias | Refusal:
    import numpy as np

    if not product.bias:
        return Bias(np.zeros(scale.shape, np.float32), np.zeros(scale.shape, np.int32))
    value = bench.real_constant(product.bias)
    if value is None:
        return Refusal("its bias is computed")
    if value.size not in (1, len(scale)) or (value.ndim > 1 and value.shape[0] > 1):
        return Refusal(f"its bias of shape {list(value.shape)} is not one number a channel")
    real = np.float32(product.bias_factor) * np.broadcast_to(value.reshape(-1), scale.shape)
    known = bench.quantized.get(product.bias)
    if known is None or known.value is None or known.how.dtype != "int32":
        return Bias(real, None)
    same = np.allclose(known.how.scale, scale, rtol=_SAME_SCALE, atol=0)
    same = same and product.bias_factor == 1.0 and not known.how.zero_point.any()
    return Bias(real, np.broadcast_to(known.value.reshape(-1), scale.shape) if same else None)


def _sums(bench: Bench, product: Product, weight: np.ndarray, zero: np.ndarray) -> str:
    """The int32 sums, under a name of their own."""
    import numpy as np

    names = [product.left.tensor, bench.new_constant(np.ascontiguousarray(weight), "weight")]
    names.append(bench.zero_point_constant(product.left.how) if product.left.how.zero_point else "")
    # onnxruntime's ConvInteger takes one zero point of the weights alone.
    zero = zero.reshape(-1)[0] if (zero == zero.reshape(-1)[0]).all() else zero
    names.append(bench.new_constant(zero.astype(np.int8), "zero_point") if zero.any() else "")
    while not names[-1]:
        names.pop()
    return product.multiply(names, bench.fresh(f"{product.node.output[0]}/sums"))


def _with_integers(bench: Bench, sums: str, columns: _Columns, integers: np.ndarray) -> str:
    if not integers.any():
        return sums
    constant = bench.new_constant(columns.shaped(integers), "bias")
    return bench.add("Add", sums, constant, output=bench.fresh(f"{sums}/biased"))


def _to_bytes(
    bench: Bench, sums: str, columns: _Columns, tail: Tail, output: str, method: str
) -> None:
    import numpy as np

    how = tail.how
    assert how is not None
    multiplier = (columns.scale / how.scale).astype(np.float32)
    integers = columns.bias.integers(columns.scale)
    if integers is not None:
        sums = _with_integers(bench, sums, columns, integers)
        requantize(bench, sums, columns.shaped(multiplier), tail.bounds, how, output, method)
        return
    # A bias that dwarfs the scale of the sums is added in float.
    addend = (columns.bias.real / how.scale + how.zero_point).astype(np.float32)
    scaled = to_real(bench, sums, columns.shaped(multiplier), bench.fresh(f"{output}/scaled"))
    biased = bench.add(
        "Add",
        scaled,
        bench.new_constant(columns.shaped(addend), "bias"),
        output=bench.fresh(f"{output}/biased"),
    )
    to_bytes(bench, biased, *clip_range(tail.bounds, how), how, output)


def _to_float(bench: Bench, sums: str, columns: _Columns, float_type: int, output: str) -> None:
    import onnx

    addend = None
    if columns.bias.exact is not None:
        sums = _with_integers(bench, sums, columns, columns.bias.exact)
    elif columns.bias.real.any():
        addend = bench.new_constant(columns.shaped(columns.bias.real), "bias")
    half = float_type != onnx.TensorProto.FLOAT
    steps = [("Mul", bench.new_constant(columns.shaped(columns.scale), "scale"))]
    steps += [("Add", addend)] if addend is not None else []
    real = bench.add("Cast", sums, to=onnx.TensorProto.FLOAT, output=bench.fresh(f"{output}/float"))
    for number, (op_type, operand) in enumerate(steps, 1):
        last = number == len(steps) and not half
        name = output if last else bench.fresh(f"{output}/{op_type}")
        real = bench.add(op_type, real, operand, output=name)
    if half:
        bench.add("Cast", real, to=float_type, output=output)
    bench.made_real(output)
