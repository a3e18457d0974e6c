"""Operators of TIR that stand for instructions until loops are vectors.

A schedule splits, unrolls and vectorises them like an addition. `lower.py` then replaces each, with
the lanes that it got, by a function of LLVM code. TVM's own way, `tensorize`, needs a schedule that
cuts out each instruction's shape by itself.
"""

from __future__ import annotations

from typing import Any

from autoglm_tvm.schedules.intrinsics.dot_product import DotProduct

# A word of 32 bits that begins at an element of a tensor of narrower ones.
WORD = "tirx.autoglm_word"
# The sum of the products of the elements of two words is `_DOT` and the instruction's name.
_DOT = "tirx.autoglm_dot_"

# TVM's CallEffectKind::kPure.
_PURE = 1


def word(element: Any) -> Any:
    """The 32 bits that begin at `element`, a read of a tensor, at any alignment."""
    return _call(WORD, element)


def dot(instruction: DotProduct, left: Any, right: Any) -> Any:
    """The int32 sum of the products of the elements of two words."""
    return _call(_DOT + instruction.name, left, right)


def dot_of(operator: Any) -> str:
    """The name of the instruction that a call's operator stands for; empty for any other."""
    name = getattr(operator, "name", "")
    return name.removeprefix(_DOT) if name.startswith(_DOT) else ""


def _call(name: str, *operands: Any) -> Any:
    from tvm import tirx

    _register(name)
    return tirx.call_intrin("int32", name, *operands)


def _register(name: str) -> None:
    import tvm_ffi
    from tvm import ir

    if name in ir.Op.list_op_names():
        return
    tvm_ffi.get_global_func("ir.RegisterOp")(name, "an instruction for integers")
    ir.register_op_attr(name, "TVectorizable", True)
    ir.register_op_attr(name, "TCallEffectKind", _PURE)
    ir.register_op_attr(name, "TScriptPrinterName", name.removeprefix("tirx."))
