"""Elementary functions of float32 as additions, multiplications and integer arithmetic.

A call of libm's `expf` inside a vectorised loop takes the vector apart. These take vectors of any
width (and scalars) and give the same bits in each lane. All of them pass NaN on.

Method: argument reduction by a multiple of ln 2 in two steps (W. J. Cody, W. Waite, "Software
Manual for the Elementary Functions", 1980), then a minimax polynomial. The coefficients are our
own: linear programming (scipy's HiGHS) for the smallest largest relative error over Chebyshev nodes
of the interval, then rounded to float32.
"""

from __future__ import annotations

from collections.abc import Callable

from autoglm_tvm.schedules.lowering.llvm_text import Body, Value

# exp(r) = 1 + r + r^2 q(r) for |r| <= 0.347, ln 2 / 2 and a little; relative error 3.1e-9.
_EXP = (0.49999994, 0.1666652, 0.041668437, 0.008368854, 0.0013812785)
# ln(1 + f) = f - f^2/2 + f^3 q(f) for 1 + f from sqrt(1/2) to sqrt(2); relative error 5.8e-9.
_LOG = (
    0.3333333134651184,
    -0.2500081956386566,
    0.20001249015331268,
    -0.16623365879058838,
    0.1420137584209442,
    -0.1315981149673462,
    0.1276366114616394,
    -0.07637680321931839,
)
# 2^r - 1 = r q(r) for |r| <= 1/2; relative error 1.1e-8.
_EXP2 = (0.6931472, 0.24022649, 0.055503573, 0.009618238, 0.0013390734, 0.00015403623)
# erf(x) = 1 - 2^(x p(x)) for 0 <= x <= 4; relative error of erf 3.5e-8.
_ERF = (
    -1.6279070377349854,
    -0.9184434413909912,
    -0.14832986891269684,
    0.02787541225552559,
    -0.00029688311042264104,
    -0.0018058177083730698,
    0.0005496424273587763,
    -5.8725647249957547e-05,
)
_LOG2_E = 1.4426950408889634
# ln 2 in two parts. The first has 9 bits, so that its product with an exponent is exact.
_LN2_HIGH = 0.693359375
_LN2_LOW = -2.12194440e-4
# Adding 1.5 * 2^23 rounds to an integer, which then stands in the low bits of the sum, together
# with whatever integer is added as well.
_ROUND = 12582912.0
_BIAS = 127
_MANTISSA_BITS = 23
_MANTISSA = 0x007FFFFF
_SIGN = -0x80000000
_SQRT_HALF_BITS = 0x3F3504F3
_SMALLEST_NORMAL = 1.1754943508222875e-38
_INFINITY = float("inf")


def exp(f: Body, x: Value) -> Value:
    """e^x: within 1 ulp, denormal results included; 0 and infinity where it leaves float32."""
    return _exp(f, _at_most(f, x, 89.0))


def tanh(f: Body, x: Value) -> Value:
    """tanh x = (e^2x - 1) / (e^2x + 1): within 3.5 ulp; odd, so computed for |x|."""
    size = _at_most(f, _magnitude(f, x), 9.02)
    rest, scale = _exp2_minus_1(f, size * f.number(2 * _LOG2_E))
    grown = f.multiply_add(rest, scale, scale - f.number(1.0))
    return _with_sign_of(f, x, grown / (grown + f.number(2.0)))


def erf(f: Body, x: Value) -> Value:
    """erf x = 1 - 2^(|x| p(|x|)), odd: within 3.5 ulp, 1e-7 absolute."""
    size = _at_most(f, _magnitude(f, x), 4.0)
    rest, scale = _exp2_minus_1(f, size * _polynomial(f, _ERF, size))
    return _with_sign_of(f, x, f.multiply_add(-rest, scale, f.number(1.0) - scale))


def sigmoid(f: Body, x: Value) -> Value:
    """1 / (1 + e^-x), by e^-|x|, which never overflows: within 3 ulp."""
    small = _exp(f, f.from_bits(f.bits(x) | f.whole(_SIGN)))
    one = f.number(1.0)
    return f.select(x < f.number(0.0), small, one) / (one + small)


def log(f: Body, x: Value) -> Value:
    """ln x: within 1 ulp; minus infinity at 0, NaN below."""
    tiny = x < f.number(_SMALLEST_NORMAL)
    scaled = f.select(tiny, x * f.number(2.0**_MANTISSA_BITS), x)
    bits = f.bits(scaled) - f.whole(_SQRT_HALF_BITS)
    exponent = f.to_float(bits >> _MANTISSA_BITS)
    n = exponent - f.select(tiny, f.number(float(_MANTISSA_BITS)), f.number(0.0))
    mantissa = f.from_bits((bits & f.whole(_MANTISSA)) + f.whole(_SQRT_HALF_BITS))
    rest = mantissa - f.number(1.0)
    square = rest * rest
    tail = f.multiply_add(_polynomial(f, _LOG, rest), square * rest, n * f.number(_LN2_LOW))
    tail = f.multiply_add(square, f.number(-0.5), tail)
    finite = f.multiply_add(n, f.number(_LN2_HIGH), rest + tail)
    positive = f.select(x < f.number(_INFINITY), finite, x)
    at_zero = f.select(x < f.number(0.0), f.number(float("nan")), f.number(-_INFINITY))
    return f.select(x <= f.number(0.0), at_zero, positive)


def root(f: Body, x: Value) -> Value:
    """x^0.5, which is positive for -0 and for minus infinity, unlike sqrt (C17, F.10.4.4)."""
    positive = f.intrinsic("sqrt", x + f.number(0.0))
    return f.select(_same(f, x, -_INFINITY), f.number(_INFINITY), positive)


def _exp(f: Body, x: Value) -> Value:
    """e^x for x <= 89."""
    # Twice the bias of an exponent, since 2^n has two factors: n may lie one beyond the exponents
    # of float32, or be a denormal's.
    rounding = f.number(_ROUND + 2 * _BIAS)
    limited = _at_least(f, x, -104.0)
    shifted = f.multiply_add(limited, f.number(_LOG2_E), rounding)
    n = shifted - rounding
    rest = f.multiply_add(n, f.number(-_LN2_HIGH), limited)
    rest = f.multiply_add(n, f.number(-_LN2_LOW), rest)
    grown = f.multiply_add(_polynomial(f, _EXP, rest), rest * rest, rest)
    mantissa = grown + f.number(1.0)
    if f.has_scale:
        return f.scale(mantissa, n)
    bits = f.bits(shifted)
    half = bits >> 1
    return mantissa * _exponent(f, half) * _exponent(f, bits - half)


def _exp2_minus_1(f: Body, x: Value) -> tuple[Value, Value]:
    """2^x = (1 + r) * s for |x| <= 60: r and the power of two s.

    Its error grows with |x|, as the rounding error of x does.
    """
    rounding = f.number(_ROUND + _BIAS)
    shifted = x + rounding
    rest = x - (shifted - rounding)
    return rest * _polynomial(f, _EXP2, rest), _exponent(f, f.bits(shifted))


def _exponent(f: Body, bits: Value) -> Value:
    """The power of two whose biased exponent is in the low 8 bits; the others are shifted out."""
    return f.from_bits(bits << _MANTISSA_BITS)


def _polynomial(f: Body, coefficients: tuple[float, ...], x: Value) -> Value:
    """Horner's scheme, lowest power first."""
    result = f.number(coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        result = f.multiply_add(result, x, f.number(coefficient))
    return result


def _at_most(f: Body, value: Value, limit: float) -> Value:
    """The smaller one; NaN stays."""
    return f.select(value > f.number(limit), f.number(limit), value)


def _at_least(f: Body, value: Value, limit: float) -> Value:
    """The larger one; NaN stays."""
    return f.select(value < f.number(limit), f.number(limit), value)


def _magnitude(f: Body, x: Value) -> Value:
    """|x|, by clearing the sign."""
    return f.from_bits(f.bits(x) & f.whole(~_SIGN))


def _same(f: Body, value: Value, number: float) -> Value:
    """Whether a value has the bits of `number`, lane by lane."""
    return f.step("icmp eq", f.bits(value), f.bits(f.number(number)), "i1")


def _with_sign_of(f: Body, sign: Value, value: Value) -> Value:
    """`value`, which is not negative, with the sign of `sign`."""
    return f.from_bits(f.bits(value) | (f.bits(sign) & f.whole(_SIGN)))


FUNCTIONS: dict[str, Callable[[Body, Value], Value]] = {
    "exp": exp,
    "tanh": tanh,
    "erf": erf,
    "sigmoid": sigmoid,
    "log": log,
}

# Powers that take a few multiplications or a root; others are libm's.
POWERS: dict[float, Callable[[Body, Value], Value]] = {
    2.0: lambda f, x: x * x,
    3.0: lambda f, x: x * x * x,
    0.5: root,
    -0.5: lambda f, x: f.number(1.0) / root(f, x),
    -1.0: lambda f, x: f.number(1.0) / x,
}
