"""Replace calls of libm by functions of our own, which take vectors.

A call of `expf` inside a vectorised loop takes the vector apart. The replacements are written as
LLVM IR and always inlined. As TIR they would be a chain of `Let`s, whose values TVM's simplifier
substitutes: its time, and that of TVM's code generator, is exponential in the length of the chain
(23 s for exp(exp(x))).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from autoglm_tvm.schedules.lowering.elementary import FUNCTIONS, POWERS
from autoglm_tvm.schedules.lowering.llvm_text import Body, Value, function_text

_HALVES = ("float16", "bfloat16")
# Functions for which an error of the argument is never larger in the result.
_SATURATING = ("erf", "tanh")


def vector_math() -> Any:
    """The pass, for vectorised kernels before `LowerIntrin`.

    It replaces functions of float32, and of narrower floats by way of float32. Those of float64
    stay libm's.
    """
    from tvm import tirx

    return tirx.transform.prim_func_pass(_replace, opt_level=0, name="autoglm.VectorMath")


def _replace(function: Any, _module: Any, _context: Any) -> Any:
    import tvm_ffi
    from tvm import ir, tirx

    used: dict[str, str] = {}
    avx512 = has_avx512(function)

    def replace(call: Any) -> Any:
        name, build = _function(call)
        dtype = str(call.ty.dtype) if build is not None else ""
        element, _, lanes = dtype.partition("x")
        if build is None or element not in ("float32", *_HALVES):
            return call
        wide = "float32" + (f"x{lanes}" if lanes else "")
        # The name is like LLVM's own: llvm.exp.v16f32.
        symbol = f"autoglm.{name}.{f'v{lanes}' if lanes else ''}f32"
        if symbol not in used:
            used[symbol] = function_text(symbol, Body(int(lanes or 1), avx512), build)
        argument = _without_division(call.args[0]) if name in _SATURATING else call.args[0]
        if element in _HALVES:
            argument = argument.astype(wide)
        result: Any = tirx.call_pure_extern(wide, symbol, argument)
        return result.astype(dtype) if element in _HALVES else result

    body = tvm_ffi.structural_map(function.body, (ir.Call, replace))
    for symbol in sorted(used):
        text: Any = used[symbol]
        body = tirx.AttrStmt(tirx.const(0), "pragma_import_llvm", text, body)
    return function.with_body(body)


def _without_division(argument: Any) -> Any:
    """x / c as x * (1 / c), off by one rounding: a division costs as much as half of erf."""
    from tvm import tirx

    divisor = _constant(argument.b) if isinstance(argument, tirx.Div) else None
    if divisor is None or not 1e-30 < abs(divisor) < 1e30:
        return argument
    dividend: Any = argument.a
    return dividend * tirx.const(1.0 / divisor, str(dividend.ty.dtype))


def _function(call: Any) -> tuple[str, Callable[[Body, Value], Value] | None]:
    """The function that a call becomes, and its name; None if there is none."""
    name = getattr(call.op, "name", "").removeprefix("tirx.")
    if name != "pow":
        return name, FUNCTIONS.get(name)
    exponent = _constant(call.args[1])
    return f"pow{exponent}", None if exponent is None else POWERS.get(exponent)


def has_avx512(function: Any) -> bool:
    """Whether the kernel's target has AVX-512."""
    return has_x86_feature(function, "avx512f")


def has_x86_feature(function: Any, feature: str) -> bool:
    """Whether the kernel's target is an x86-64 CPU with `feature`, as LLVM calls it."""
    from tvm.target.codegen import target_has_features

    is_x86 = _triple(function).startswith("x86_64")
    return is_x86 and bool(target_has_features(feature, function.attrs["target"]))


def is_arm64(function: Any) -> bool:
    """Whether the kernel's target is an arm64 CPU."""
    return _triple(function).startswith("aarch64")


def _triple(function: Any) -> str:
    target = function.attrs.get("target")
    return "" if target is None else str(target.attrs.get("mtriple", ""))


def _constant(value: Any) -> float | None:
    from tvm import tirx

    if isinstance(value, tirx.Broadcast):
        value = value.value
    return float(value.value) if isinstance(value, tirx.FloatImm) else None
