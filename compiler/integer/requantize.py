"""Integer sums to bytes: the last step of every product, and between two scales.

    real = sums s      byte = saturate(round(real / s_out) + zero_out)

``float32``, as onnxruntime's MLAS does it, bit for bit:

    m = float32(s / s_out)      byte = int(round_half_even(clip(float32(sums) m))) + zero_out

``fixed-point``, without any float: m = M 2^-shift with M of 31 bits, at most one step apart:

    byte = clip(((int64(sums) M + 2^(shift - 1)) >> shift) + zero_out)

ONNX shifts unsigned integers alone, so a multiple of 2^shift makes the product positive first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autoglm_tvm.compiler.integer.bench import Bench
from autoglm_tvm.compiler.integer.quantization import Quantization

if TYPE_CHECKING:
    import numpy as np

FLOAT32, FIXED_POINT = "float32", "fixed-point"
METHODS = (FLOAT32, FIXED_POINT)
# The product of a sum below 2^29 and a multiplier of 31 bits, plus this, is positive in int64.
_OFFSET_BITS = 62
_LARGEST_SHIFT = 60


def requantize(
    bench: Bench,
    sums: str,
    multiplier: np.ndarray,
    bounds: tuple[float, float],
    how: Quantization,
    output: str,
    method: str = FLOAT32,
) -> None:
    """Make the nodes from int32 sums, below 2^29 in size, to bytes.

    Parameters
    ----------
    multiplier
        s / s_out in float32, of a shape that broadcasts with the sums.
    bounds
        The real result is clipped to them: what a Relu or Clip on the way asks for.
    how
        What the bytes stand for.
    output
        The tensor of bytes to make.
    """
    if method == FIXED_POINT:
        _in_fixed_point(bench, sums, multiplier, bounds, how, output)
        return
    zero = int(how.zero_point)
    lowest, highest = clip_range(bounds, how)
    scaled = to_real(bench, sums, multiplier, bench.fresh(f"{output}/scaled"))
    to_bytes(bench, scaled, lowest - zero, highest - zero, how, output, zero)


def to_real(bench: Bench, integers: str, factor: np.ndarray, output: str) -> str:
    """Make `output`, float32(integers) factor; return its name."""
    real = bench.add("Cast", integers, to=_type("float32"), output=bench.fresh(f"{output}/float"))
    return bench.add("Mul", real, bench.new_constant(factor, "factor"), output=output)


def to_bytes(
    bench: Bench,
    scaled: str,
    lowest: int,
    highest: int,
    how: Quantization,
    output: str,
    zero: int = 0,
) -> None:
    """Clip a float32 tensor, round it half to even, convert it, and add `zero`."""
    import numpy as np

    limits = [
        bench.new_constant(np.array(limit, np.float32), "limit") for limit in (lowest, highest)
    ]
    clipped = bench.add("Clip", scaled, *limits, output=bench.fresh(f"{output}/clipped"))
    rounded = bench.add("Round", clipped, output=bench.fresh(f"{output}/rounded"))
    whole = bench.add("Cast", rounded, to=_type("int32"), output=bench.fresh(f"{output}/int32"))
    if zero:
        shift = bench.new_constant(np.array(zero, np.int32), "zero")
        whole = bench.add("Add", whole, shift, output=bench.fresh(f"{output}/moved"))
    bench.add("Cast", whole, to=_type(how.dtype), output=output)


def clip_range(bounds: tuple[float, float], how: Quantization) -> tuple[int, int]:
    """Return the smallest and the largest byte of a result within real bounds.

    Rounding is monotone: round(min(x, high)) = min(round(x), round(high)).
    """
    import numpy as np

    limits = []
    for bound, extreme in zip(bounds, (how.lowest, how.highest), strict=True):
        if np.isinf(bound):
            limits.append(extreme)
            continue
        byte = float(np.rint(np.float32(bound) / how.scale)) + int(how.zero_point)
        limits.append(int(min(max(byte, how.lowest), how.highest)))
    return limits[0], limits[1]


def fixed_point(multiplier: np.ndarray, bits: int, largest_shift: int) -> tuple[np.ndarray, ...]:
    """Return M below 2^bits and the shift, int64, with M 2^-shift nearest to the multiplier."""
    import numpy as np

    fraction, exponent = np.frexp(multiplier.astype(np.float64))
    shift = np.clip(bits - exponent, 1, largest_shift).astype(np.int64)
    whole = np.rint(np.ldexp(fraction, shift + exponent)).astype(np.int64)
    full = whole >= 1 << bits
    return np.where(full, whole >> 1, whole), np.where(full, shift - 1, shift)


def _in_fixed_point(
    bench: Bench,
    sums: str,
    multiplier: np.ndarray,
    bounds: tuple[float, float],
    how: Quantization,
    output: str,
) -> None:
    import numpy as np

    whole, shift = fixed_point(multiplier, 31, _LARGEST_SHIFT)
    lowest, highest = clip_range(bounds, how)
    offset = (1 << _OFFSET_BITS) + (1 << (shift - 1))
    back = int(how.zero_point) - (1 << (_OFFSET_BITS - shift))

    def constant(value: np.ndarray | int, dtype: type = np.int64) -> str:
        return bench.new_constant(np.asarray(value, dtype), "fixed")

    def step(op_type: str, *inputs: str, **more: Any) -> str:
        return bench.add(op_type, *inputs, output=bench.fresh(f"{output}/{op_type}"), **more)

    wide = step("Cast", sums, to=_type("int64"))
    product = step("Add", step("Mul", wide, constant(whole)), constant(offset))
    positive = step("Cast", product, to=_type("uint64"))
    shifted = step("BitShift", positive, constant(shift, np.uint64), direction="RIGHT")
    moved = step("Add", step("Cast", shifted, to=_type("int64")), constant(back))
    clipped = step("Clip", moved, constant(lowest), constant(highest))
    bench.add("Cast", clipped, to=_type(how.dtype), output=output)


def _type(name: str) -> int:
    import onnx

    names = {"float32": "FLOAT"}
    return onnx.TensorProto.DataType.Value(names.get(name, name.upper()))
