"""The pass that turns our operators into calls of LLVM code, which is always inlined."""

from __future__ import annotations

from typing import Any

from autoglm_tvm.schedules.intrinsics.interleave import interleaved_bytes
from autoglm_tvm.schedules.intrinsics.llvm_code import (
    byte_halves,
    load_words,
    multiply_add,
    prefetch_line,
    rounded_floats,
    signed_field,
    symbol,
)
from autoglm_tvm.schedules.intrinsics.operators import (
    FIELD,
    HALVES,
    INTERLEAVE,
    PREFETCH,
    PREFETCH_NEAR,
    ROUNDED,
    WORD,
    dot_of,
)
from autoglm_tvm.schedules.lowering.vector_math import has_avx512, has_x86_feature, is_arm64

_WORD_BYTES = 4


def lower_intrinsics() -> Any:
    """The pass, for vectorised kernels of flat buffers."""
    from tvm import tirx

    return tirx.transform.prim_func_pass(_replace, opt_level=0, name="autoglm.LowerIntrinsics")


def _replace(function: Any, _module: Any, _context: Any) -> Any:
    import tvm_ffi
    from tvm import ir, tirx

    used: dict[str, Any] = {}
    avx512, vbmi = has_avx512(function), has_x86_feature(function, "avx512vbmi")
    arm = is_arm64(function)

    def multiply_and_add(total: Any, call: Any) -> Any:
        name, dtype = dot_of(call.op), str(call.ty.dtype)
        lanes = _lanes(dtype)
        used.setdefault(symbol(name, lanes), multiply_add(name, lanes))
        return tirx.call_pure_extern(dtype, symbol(name, lanes), total, *call.args)

    def add(node: Any) -> Any:
        for total, product in ((node.a, node.b), (node.b, node.a)):
            if isinstance(product, ir.Call) and dot_of(product.op):
                return multiply_and_add(total, product)
        return node

    def call(node: Any) -> Any:
        if dot_of(node.op):
            return multiply_and_add(tirx.const(0, str(node.ty.dtype)), node)
        name = getattr(node.op, "name", "")
        if name in (PREFETCH, PREFETCH_NEAR):
            near = name == PREFETCH_NEAR
            label = "prefetch_near" if near else "prefetch"
            used.setdefault(symbol(label, 1), prefetch_line(label, near=near))
            return tirx.call_extern("int32", symbol(label, 1), *node.args)
        if name == FIELD:
            return numbers(node)
        if name == HALVES:
            upper, lanes = _scalar(node.args[1]), _lanes(str(node.ty.dtype))
            label = symbol(f"half{upper}", lanes)
            used.setdefault(label, byte_halves(label, lanes, upper=bool(upper)))
            return tirx.call_pure_extern(str(node.ty.dtype), label, node.args[0])
        if name == ROUNDED:
            label = symbol("rounded", _lanes(str(node.ty.dtype)))
            used.setdefault(label, rounded_floats(label, _lanes(str(node.ty.dtype))))
            return tirx.call_pure_extern(str(node.ty.dtype), label, *node.args)
        if name == INTERLEAVE:
            lanes = _lanes(str(node.ty.dtype))
            label = symbol("interleave", lanes)
            used.setdefault(label, interleaved_bytes(label, lanes, arm=arm, permutes=vbmi))
            return tirx.call_pure_extern(str(node.ty.dtype), label, *node.args)
        if name != WORD:
            return node
        lanes = _lanes(str(node.ty.dtype))
        used.setdefault(symbol("word", lanes), load_words(lanes))
        address = tirx.address_of(_first(node.args[0]))
        return tirx.call_pure_extern(str(node.ty.dtype), symbol("word", lanes), address)

    def numbers(node: Any) -> Any:
        words, shift, bits = node.args[0], _scalar(node.args[1]), _scalar(node.args[2])
        dtype = str(node.ty.dtype)
        lanes = _lanes(dtype)
        name = symbol(f"field{bits}at{shift}", lanes)
        used.setdefault(name, signed_field(name, lanes, shift, bits, lookup=avx512))
        return tirx.call_pure_extern(dtype, name, words)

    # Sums first: what is left then has nothing to be added to.
    body = tvm_ffi.structural_map(function.body, (tirx.Add, add))
    body = tvm_ffi.structural_map(body, (ir.Call, call))
    for name in sorted(used):
        body = tirx.AttrStmt(tirx.const(0), "pragma_import_llvm", used[name], body)
    return function.with_body(body)


def _first(load: Any) -> Any:
    """The element at which a load of words begins."""
    from tvm import tirx

    (index,) = load.indices
    if not isinstance(index, tirx.Ramp):
        return load
    stride: Any = index.stride
    if int(stride) * load.source.dtype.itemsize != _WORD_BYTES:
        raise ValueError(f"words {index.stride} elements apart are not neighbours: {load}")
    return load.source[index.base]


def _scalar(value: Any) -> int:
    """A constant, the same in all lanes."""
    from tvm import tirx

    if isinstance(value, tirx.Broadcast):
        value = value.value
    if not isinstance(value, tirx.IntImm):
        raise ValueError(f"{value} is not constant: its loop is not unrolled")
    return int(value)


def _lanes(dtype: str) -> int:
    return int(dtype.partition("x")[2] or 1)
