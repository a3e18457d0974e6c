"""Round floats to integers, and narrow these to bytes, by the instructions that the machine has.

The end of every requantization is, in loops that are vectors,

    cast to a byte (cast to int32 (nearbyint (min (max (x, low), high))) + zero point)

for which LLVM writes one instruction after the other: it must not assume that a conversion rounds,
nor that one to fewer bits saturates. `cvtps2dq` and `fcvtns` round half to even, `sqxtn`, `sqxtun`
and `packuswb` saturate.
"""

from __future__ import annotations

from typing import Any

from autoglm_tvm.schedules.lowering.requantize_code import (
    CVTPS2DQ,
    FCVTNS,
    LANES,
    LIMITS,
    NEON,
    Instruction,
    Requantization,
    conversion,
    requantization,
)
from autoglm_tvm.schedules.lowering.vector_math import has_x86_feature, is_arm64


def requantize() -> Any:
    """The pass, for vectorised kernels before `LowerIntrin`."""
    from tvm import tirx

    return tirx.transform.prim_func_pass(_replace, opt_level=0, name="autoglm.Requantize")


def _replace(function: Any, _module: Any, _context: Any) -> Any:
    import tvm_ffi
    from tvm import tirx

    used: dict[str, str] = {}
    known = _instructions(function)
    arm = is_arm64(function)

    def narrow(cast: Any) -> Any:
        chain = _chain(cast) if arm else None
        lanes = 0 if chain is None else _lanes(chain.value)
        if chain is None or lanes < NEON or lanes not in LANES:
            return cast
        numbers = (chain.zero_point, chain.low, chain.high)
        name = ".".join(str(number).replace("-", "m") for number in numbers)
        symbol = f"autoglm.requantize.{chain.dtype}.v{lanes}.{name}"
        used.setdefault(symbol, requantization(symbol, chain, lanes, known[NEON]))
        return tirx.call_pure_extern(str(cast.ty.dtype), symbol, chain.value)

    def convert(cast: Any) -> Any:
        rounded = _rounded(cast)
        lanes = 0 if rounded is None else _lanes(rounded)
        fitting = [each for each in known if each <= lanes]
        if not fitting or lanes not in LANES:
            return cast
        symbol = f"autoglm.round.v{lanes}"
        used.setdefault(symbol, conversion(symbol, lanes, known[max(fitting)]))
        return tirx.call_pure_extern(str(cast.ty.dtype), symbol, rounded)

    # The whole chain first: what is left of it is a conversion alone.
    body = tvm_ffi.structural_map(function.body, (tirx.Cast, narrow))
    body = tvm_ffi.structural_map(body, (tirx.Cast, convert))
    for symbol in sorted(used):
        text: Any = used[symbol]
        body = tirx.AttrStmt(tirx.const(0), "pragma_import_llvm", text, body)
    return function.with_body(body)


def _instructions(function: Any) -> dict[int, Instruction]:
    """What the kernel's machine has, by lanes."""
    if is_arm64(function):
        return FCVTNS
    has = [each for feature, each in CVTPS2DQ.items() if has_x86_feature(function, feature)]
    return {each.lanes: each for each in has}


def _rounded(cast: Any) -> Any:
    """What `cast` converts to int32 after rounding it; None for any other cast."""
    from tvm import ir

    value: Any = cast.value
    element = str(cast.ty.dtype).partition("x")[0]
    if element != "int32" or not isinstance(value, ir.Call):
        return None
    name = getattr(value.op, "name", "").removeprefix("tirx.")
    floats = str(cast.value.ty.dtype).partition("x")[0] == "float32"
    # TVM's `round` is `nearbyint` as well.
    return value.args[0] if floats and name in ("nearbyint", "round") else None


def _chain(cast: Any) -> Requantization | None:
    """The whole chain that ends with `cast`."""
    from tvm import tirx

    dtype = str(cast.ty.dtype).partition("x")[0]
    if dtype not in LIMITS:
        return None
    value: Any = cast.value
    zero_point = 0
    sign = {tirx.Add: 1, tirx.Sub: -1}.get(type(value), 0)
    if sign:
        added = _integer(value.b)
        if added is None:
            return None
        zero_point, value = sign * added, value.a
    rounded: Any = _rounded(value) if isinstance(value, tirx.Cast) else None
    if rounded is None:
        return None
    low, high = LIMITS[dtype][0] - zero_point, LIMITS[dtype][1] - zero_point
    bounds = []
    for kind in (tirx.Min, tirx.Max):
        bound = _integer(rounded.b) if isinstance(rounded, kind) else None
        if bound is None:
            return None
        bounds.append(bound)
        rounded = rounded.a
    if not low <= bounds[1] <= bounds[0] <= high or abs(zero_point) > 1 << 14:
        return None
    return Requantization(
        rounded, dtype, bounds[1] + zero_point, bounds[0] + zero_point, zero_point
    )


def _integer(value: Any) -> int | None:
    """A whole constant, the same in all lanes."""
    from tvm import tirx

    if isinstance(value, tirx.Broadcast):
        value = value.value
    if not isinstance(value, (tirx.IntImm, tirx.FloatImm)):
        return None
    return int(value.value) if float(value.value).is_integer() else None


def _lanes(value: Any) -> int:
    return int(str(value.ty.dtype).partition("x")[2] or 1)
