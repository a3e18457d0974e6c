"""The product of `int4_matmul.py` by instructions that sum products of bytes, for any float32 data.

The numbers of a group of the left operand are whole multiples of a unit, (the largest of them) /
(127 * 65536): as three bytes, or digits, they are as exact as float32 is for the largest. A digit
times a weight is summed exactly in int32:

    part[m, g, n] = unit[m, g] * sum over digits d of 256^d * sum over k of digit[m, d, k] * q[k, n]

One NEON instruction multiplies 16 bytes, where as floats 4 numbers take one, and three more to make
floats of 4 weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autoglm_tvm.schedules.intrinsics.dot_product import DotProduct
from autoglm_tvm.schedules.intrinsics.operators import dot, halves, word
from autoglm_tvm.schedules.operators.grouped_sums import Shape, group_sums, scale_groups
from autoglm_tvm.schedules.operators.matmul import pack_panels
from autoglm_tvm.schedules.tiles import Tile

if TYPE_CHECKING:
    import numpy as np

DIGITS = 3
# Units in the largest number of a group.
_STEPS = 127 * 256 ** (DIGITS - 1)
_MAGNITUDE = 0x7FFFFFFF
# Halves of words that are multiplied in one pass of the inner loop: a vector of data has as many.
STEPS = 4
# Numbers in a word of the weight; in each of its halves, one for each byte.
_EACH, _HALF = 8, 4
# `halves` are so many times the weight.
_HALVES_FACTOR = 16
# A group whose largest number is smaller counts as zeros: its unit has no inverse.
_SMALLEST = 1e-31


def pack_halves(blocks: np.ndarray, columns: int) -> np.ndarray:
    """Bytes of MatMulNBits to signed words [panels, groups, words of a group, columns].

    `blocks` is uint8 [N, groups, bytes of a group]. Of the eight neighbours in a word, the lower
    halves of its bytes have the first four.
    """
    import numpy as np

    width, groups, _ = blocks.shape
    low, high = blocks & 0x0F, blocks >> 4
    packed = np.empty_like(blocks)
    for pair in (0, 1):
        first, second = slice(pair, None, 4), slice(pair + 2, None, 4)
        packed[..., 2 * pair :: 4] = low[..., first] | (low[..., second] << 4)
        packed[..., 2 * pair + 1 :: 4] = high[..., first] | (high[..., second] << 4)
    # A number q stands for q - 8, which is its highest bit turned over.
    words = (packed ^ np.uint8(0x88)).view("<i4").reshape(width, -1).T
    panels = pack_panels(words, columns)
    return panels.reshape(len(panels), groups, -1, columns)


def group_peaks(data: Any, group: int) -> Any:
    """The largest magnitude in each group of `data` [..., K]: its bits, [..., K / group], int32.

    The bits of magnitudes are in their order, and those of NaN behind all others.
    """
    from tvm import te, tirx

    *leading, reduced = data.shape
    step = te.reduce_axis((0, tirx.IntImm("int64", group)), "k")
    largest = te.comm_reducer(
        lambda a, b: tirx.max(a, b), lambda dtype: tirx.const(0, dtype), name="peak"
    )

    def peak(*at: Any) -> Any:
        *row, which = at
        value = data(*row, which * group + step).astype("float32")
        bits: Any = tirx.reinterpret("int32", value)
        return largest(bits & _MAGNITUDE, step)

    return te.compute((*leading, reduced // group), peak, name="group_peaks")


def split_digits(data: Any, peaks: Any, group: int) -> Any:
    """The digits of `data` [..., K], the highest first: int8 [..., DIGITS, K]."""
    from tvm import te, tirx

    *leading, reduced = data.shape
    shape = (*leading, tirx.IntImm("int64", DIGITS), reduced)

    def digit(*at: Any) -> Any:
        *row, which, step = at
        peak = tirx.reinterpret("float32", peaks(*row, step // group))
        factor = tirx.Select(
            peak > tirx.const(_SMALLEST, "float32"),
            tirx.const(float(_STEPS), "float32") / peak,
            tirx.const(0.0, "float32"),
        )
        whole = tirx.nearbyint(data(*row, step).astype("float32") * factor).astype("int32")
        shift = ((DIGITS - 1 - which) * 8).astype("int32")
        # Half of a byte in each lower digit: then the lower ones take from -128 to 127.
        rounding = tirx.const(0x8080, "int32") & ((tirx.const(1, "int32") << shift) - 1)
        return ((whole + rounding) >> shift).astype("int8")

    return te.compute(shape, digit, name="digits")


def int4_dot_matmul(
    digits: Any,
    peaks: Any,
    words: Any,
    scales: Any,
    *offsets: Any,
    columns: int,
    instruction: DotProduct,
    tile: Tile,
    dtype: str,
) -> Any:
    """Data [..., M, K] as digits, times a weight of four bits: [..., M, columns] of `dtype`.

    Parameters
    ----------
    digits, peaks
        What `split_digits` and `group_peaks` made.
    words
        What `pack_halves` made: [panels, groups, words, tile.columns].
    scales, offsets, columns
        As of `int4_matmul`.
    instruction
        That takes int8 on both sides.
    tile
        The register tile.
    dtype
        Of the result.
    """
    from tvm import tirx

    *leading, _, _ = digits.shape
    shape = Shape.of(leading, words, columns, tile)

    def left(row: list[Any], group: Any, step: Any) -> Any:
        return word(digits(*row, group * (shape.words * _EACH) + step * _HALF))

    def multiply(value: Any, stored: Any, half: Any) -> Any:
        return dot(instruction, value, halves(stored, half))

    parts = group_sums(left, multiply, words, shape, (tile.rows * DIGITS, 2), "int32")
    unit = tirx.const(1 / (_STEPS * _HALVES_FACTOR), "float32")

    def total(block: Any, panel: Any, within: Any, group: Any, column: Any) -> Any:
        value: Any = None
        for digit in range(DIGITS):
            part = parts(block, panel, within * DIGITS + digit, column, group).astype("float32")
            value = part if value is None else value * tirx.const(256.0, "float32") + part
        peak = tirx.reinterpret("float32", peaks(*shape.row(block, within), group))
        return value * (peak * unit)

    return scale_groups(total, scales, offsets, shape, dtype)
