"""Operators of TIR that stand for instructions until loops are vectors.

A schedule splits, unrolls and vectorises them like an addition. `lower.py` then replaces each, with
the lanes that it got, by a function of LLVM code. TVM's own way, `tensorize`, needs a schedule that
cuts out each instruction's shape by itself.
"""

from __future__ import annotations

from typing import Any

from autoglm_tvm.schedules.intrinsics.dot_product import INSTRUCTIONS, DotProduct

# A word of 32 bits that begins at an element of a tensor of narrower ones.
WORD = "tirx.autoglm_word"
# The sum of the products of the elements of two words is `_DOT` and the instruction's name.
_DOT = "tirx.autoglm_dot_"

# Brings what lies at an address into the second cache.
PREFETCH = "tirx.autoglm_prefetch"

# TVM's CallEffectKind::kPure, and kUpdateState, of calls that are not to be left out.
_PURE, _UPDATES = 1, 3


def word(element: Any) -> Any:
    """The 32 bits that begin at `element`, a read of a tensor, at any alignment."""
    return _call(WORD, element)


def dot(instruction: DotProduct, left: Any, right: Any) -> Any:
    """The int32 sum of the products of the elements of two words."""
    return _call(_DOT + instruction.name, left, right)


def prefetch(element: Any) -> Any:
    """Bring the cache line of `element`, a read of a tensor, into the second cache."""
    from tvm import tirx

    return _call(PREFETCH, tirx.address_of(element), effect=_UPDATES)


def dot_of(operator: Any) -> str:
    """The name of the instruction that a call's operator stands for; empty for any other."""
    name = getattr(operator, "name", "")
    return name.removeprefix(_DOT) if name.startswith(_DOT) else ""


def register_all() -> None:
    """Make all of them known to TVM, so that a kernel with one can be read from JSON."""
    _register(WORD, _PURE)
    _register(PREFETCH, _UPDATES)
    for name in INSTRUCTIONS:
        _register(_DOT + name, _PURE)


def _call(name: str, *operands: Any, effect: int = _PURE) -> Any:
    from tvm import tirx

    _register(name, effect)
    return tirx.call_intrin("int32", name, *operands)


def _register(name: str, effect: int) -> None:
    import tvm_ffi
    from tvm import ir

    if name in ir.Op.list_op_names():
        return
    tvm_ffi.get_global_func("ir.RegisterOp")(name, "an instruction")
    ir.register_op_attr(name, "TVectorizable", True)
    ir.register_op_attr(name, "TCallEffectKind", effect)
    ir.register_op_attr(name, "TScriptPrinterName", name.removeprefix("tirx."))
