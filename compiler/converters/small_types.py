"""Values of 4 and 2 bits and of float8 and float4: from their bytes to numbers, and back.

`artifacts/carried_types.py` says how they are carried. TVM 0.27 has no 4-bit and 2-bit tensors, and
its casts to float8 are wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# Limits of the integers.
INTEGERS = {"int4": (-8, 7), "uint4": (0, 15), "int2": (-2, 1), "uint2": (0, 3)}
_SIGN = 0x80


@dataclass(frozen=True)
class SmallFloat:
    """A float of 8 or 4 bits.

    Attributes
    ----------
    mantissa, bias
        Bits of the mantissa; what is added to the exponent.
    largest
        Code of the largest finite number, without the sign.
    sign
        The sign's bit.
    overflow, not_a_number
        Codes of what is too large, where nothing is saturated, and of NaN; overflow gets the sign
        where the type has infinities.
    signed_zero
        Whether the sign's bit alone is -0; where it is not, it is NaN.
    """

    mantissa: int
    bias: int
    largest: int
    sign: int
    overflow: int
    not_a_number: int
    signed_zero: bool


FLOATS = {
    "float8_e4m3fn": SmallFloat(3, 7, 0x7E, _SIGN, 0x7F, 0x7F, True),
    "float8_e4m3fnuz": SmallFloat(3, 8, 0x7F, _SIGN, _SIGN, _SIGN, False),
    "float8_e5m2": SmallFloat(2, 15, 0x7B, _SIGN, 0x7C, 0x7F, True),
    "float8_e5m2fnuz": SmallFloat(2, 16, 0x7F, _SIGN, _SIGN, _SIGN, False),
    # No NaN and no infinity: infinity becomes the largest number, NaN a zero of the other sign.
    "float4_e2m1fn": SmallFloat(1, 1, 0x07, 0x08, 0x07, 0x08, True),
}


def decode_float(builder: Any, codes: Any, dtype: str) -> Any:
    """Return float32 numbers of the codes (uint8) of a small float: one look at a table each."""
    import ml_dtypes  # noqa: F401 - registers the small floats with numpy
    import numpy as np
    from tvm import relax

    table = np.arange(256, dtype=np.uint8)
    if dtype == "float4_e2m1fn":
        table &= 15
    values = table.view(np.dtype(dtype)).astype(np.float32)
    indices = builder.normalize(relax.op.astype(codes, "int32"))
    flat = builder.normalize(relax.op.reshape(indices, (-1,)))
    found = builder.normalize(relax.op.take(relax.const(values), flat, axis=0))
    return builder.normalize(relax.op.reshape(found, codes.ty.shape))


def encode_float(builder: Any, numbers: Any, dtype: str, saturate: bool) -> Any:
    """Return the codes (uint8) of the small floats nearest to float32 `numbers`, ties to even.

    Parameters
    ----------
    saturate
        Whether what is too large becomes the largest number; else it becomes infinity, or NaN
        where the type has no infinity.
    """
    from tvm import te

    form = FLOATS[dtype]

    def encode(data: Any) -> Any:
        return te.compute(
            data.shape, lambda *at: _encoded(data(*at), form, saturate), name="to_small_float"
        )

    return builder.normalize(builder.call_te(encode, numbers, primfunc_name_hint="to_small_float"))


def _encoded(value: Any, form: SmallFloat, saturate: bool) -> Any:
    """The code of one number, by integer arithmetic on the bits of float32."""
    from tvm import tirx

    def integer(number: int) -> Any:
        return tirx.const(number, "int32")

    bits = tirx.reinterpret("int32", value)
    magnitude = bits & integer(0x7FFFFFFF)
    dropped = 23 - form.mantissa
    # Round half to even in the bits that go, then move the exponent to the other bias.
    odd = (magnitude >> integer(dropped)) & integer(1)
    rounded = (magnitude + odd + integer((1 << (dropped - 1)) - 1)) >> integer(dropped)
    normal = rounded - integer((127 - form.bias) << form.mantissa)
    # Below the smallest normal number the step is 2 ** (1 - bias - mantissa).
    steps = tirx.abs(value) * tirx.const(2.0 ** (form.bias - 1 + form.mantissa), "float32")
    few = tirx.Cast("int32", tirx.round(tirx.min(steps, tirx.const(2.0**20, "float32"))))
    smallest_normal = (127 + 1 - form.bias) << 23
    code = tirx.Select(magnitude < integer(smallest_normal), few, normal)
    overflow = form.largest if saturate else form.overflow
    code = tirx.Select(code > integer(form.largest), integer(overflow), code)
    sign = tirx.Select(bits < integer(0), integer(form.sign), integer(0))
    signed = code | sign
    if not form.signed_zero:
        signed = tirx.Select(code == integer(0), integer(0), signed)
    not_a_number = integer(form.not_a_number)
    if form.signed_zero:
        not_a_number = not_a_number ^ sign
    nan = magnitude > integer(0x7F800000)
    return tirx.Cast("uint8", tirx.Select(nan, not_a_number, signed))
