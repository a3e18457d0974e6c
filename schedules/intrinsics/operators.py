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

# Four bytes as the word that they make (`interleave.py`).
INTERLEAVE = "tirx.autoglm_interleave"

# A float as it is: LLVM joins it with no addition, to be rounded once.
ROUNDED = "tirx.autoglm_rounded"

# Brings what lies at an address into the second cache; or into the first.
PREFETCH = "tirx.autoglm_prefetch"
PREFETCH_NEAR = "tirx.autoglm_prefetch_near"

# A signed number of a few bits of a word, as float32.
FIELD = "tirx.autoglm_field"
# The lower or the upper half of each byte of a word, a signed number of four bits, times 16.
HALVES = "tirx.autoglm_halves"

# TVM's CallEffectKind::kPure, and kUpdateState, of calls that are not to be left out.
_PURE, _UPDATES = 1, 3


def word(element: Any, *ends: Any) -> Any:
    """The 32 bits that begin at `element`, a read of a tensor, at any alignment.

    `ends` are reads of other elements that have to exist, too, though nothing loads them by itself.
    """
    return _call(WORD, element, *ends)


def dot(instruction: DotProduct, left: Any, right: Any) -> Any:
    """The int32 sum of the products of the elements of two words."""
    return _call(_DOT + instruction.name, left, right)


def field(stored: Any, shift: Any, bits: int) -> Any:
    """The `bits` bits of a word above its lowest `shift`, a signed number, as float32.

    `shift` must be constant once loops are unrolled.
    """
    return _call(FIELD, stored, shift, bits, dtype="float32")


def halves(stored: Any, upper: Any) -> Any:
    """Bytes of sixteen times the signed numbers in the lower (0) or upper (1) halves of a word's.

    `upper` must be constant once loops are unrolled.
    """
    return _call(HALVES, stored, upper)


def interleave(*elements: Any) -> Any:
    """The word, an int32, whose bytes are four elements of int8 or uint8, the lowest first."""
    return _call(INTERLEAVE, *elements)


def rounded(product: Any) -> Any:
    """A product of float32 that is rounded before anything is added to it."""
    return _call(ROUNDED, product, dtype="float32")


def prefetch(element: Any, *, near: bool = False) -> Any:
    """Bring the cache line of `element`, a read of a tensor, into the second cache.

    `near` is for the first one.
    """
    from tvm import tirx

    name = PREFETCH_NEAR if near else PREFETCH
    return _call(name, tirx.address_of(element), effect=_UPDATES)


def dot_of(operator: Any) -> str:
    """The name of the instruction that a call's operator stands for; empty for any other."""
    name = getattr(operator, "name", "")
    return name.removeprefix(_DOT) if name.startswith(_DOT) else ""


def register_all() -> None:
    """Make all of them known to TVM, so that a kernel with one can be read from JSON."""
    _register(WORD, _PURE)
    _register(INTERLEAVE, _PURE)
    _register(ROUNDED, _PURE)
    _register(FIELD, _PURE)
    _register(HALVES, _PURE)
    _register(PREFETCH, _UPDATES)
    _register(PREFETCH_NEAR, _UPDATES)
    for name in INSTRUCTIONS:
        _register(_DOT + name, _PURE)


def _call(name: str, *operands: Any, effect: int = _PURE, dtype: str = "int32") -> Any:
    from tvm import tirx

    _register(name, effect)
    return tirx.call_intrin(dtype, name, *operands)


def _register(name: str, effect: int) -> None:
    import tvm_ffi
    from tvm import ir

    if name in ir.Op.list_op_names():
        return
    tvm_ffi.get_global_func("ir.RegisterOp")(name, "an instruction")
    ir.register_op_attr(name, "TVectorizable", True)
    ir.register_op_attr(name, "TCallEffectKind", effect)
    ir.register_op_attr(name, "TScriptPrinterName", name.removeprefix("tirx."))
