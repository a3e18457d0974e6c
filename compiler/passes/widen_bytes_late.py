"""Convert bytes where the numbers are needed, not where the bytes are made.

    B = cast(convolution ...)                  the sum of two branches, as quantized models have it
    y = (cast(A) * ra + c) + cast(B) * rb

Fusion would put `cast(A) * ra + c` into the kernel that makes A, which then stores four bytes for
each. As one operator that reads A and B, it goes into the kernel of one of them, and the other
stores bytes. The same for an integer sum of converted bytes, as averages have it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autoglm_tvm.compiler.passes.dataflow import (
    Dataflow,
    Visit,
    constant_number,
    operator_of,
    replace_calls,
)
from autoglm_tvm.schedules.intrinsics.operators import rounded
from autoglm_tvm.schedules.kernel import constant

if TYPE_CHECKING:
    from tvm import IRModule

_BYTES = ("uint8", "int8")
_ARITHMETIC = ("relax.add", "relax.subtract", "relax.multiply")
_WIDE = ("float32", "int32")


@dataclass(frozen=True)
class _Term:
    """Arithmetic with constants on converted bytes.

    Attributes
    ----------
    source
        The bytes, or a tensor that is read as it is.
    dtype
        What they are converted to; empty where they are not.
    steps
        What is done to them, the first first: operator, number, and whether the number is its left
        operand.
    """

    source: Any
    dtype: str
    steps: tuple[tuple[str, float, bool], ...] = ()


def widen_bytes_late(module: IRModule) -> IRModule:
    """Return the module with one operator for each such sum, difference or product of ``main``."""
    graph = Dataflow(module["main"])
    calls = [graph.definition(variable) for variable in graph.variables]
    found = [(call, _operands(call, graph) or _reduced(call, graph)) for call in calls]

    def emit(builder: Any, match: tuple[Any, tuple[_Term, ...]], visit: Visit) -> Any:
        call, terms = match
        sources = [visit(term.source) for term in terms]
        if operator_of(call) == "relax.sum":
            return _sum(builder, call, sources[0], terms[0].dtype)
        return _combine(builder, call, sources, terms)

    matches = [(call, (call, terms)) for call, terms in found if terms is not None]
    return replace_calls(module, matches, emit)


def _operands(call: Any, graph: Dataflow) -> tuple[_Term, ...] | None:
    """Both operands of an arithmetic operator of two tensors, if bytes are behind one of them."""
    if operator_of(call) not in _ARITHMETIC:
        return None
    if any(constant_number(graph.definition(arg)) is not None for arg in call.args):
        return None
    shape = [constant(extent) for extent in call.ty.shape]
    terms = []
    for arg in call.args:
        if [constant(extent) for extent in arg.ty.shape] != shape or None in shape:
            return None
        terms.append(_term(arg, graph) or _Term(arg, ""))
    return tuple(terms) if any(term.dtype for term in terms) else None


def _term(value: Any, graph: Dataflow) -> _Term | None:
    """The arithmetic with constants behind `value`, which nothing else reads, down to bytes."""
    if not graph.is_read_once(value):
        return None
    call = graph.definition(value)
    name = operator_of(call)
    if name == "relax.astype":
        source, dtype = call.args[0], str(call.ty.dtype)
        fits = str(source.ty.dtype) in _BYTES and dtype in _WIDE
        return _Term(source, dtype) if fits else None
    if name not in _ARITHMETIC:
        return None
    numbers = [constant_number(graph.definition(arg)) for arg in call.args]
    if (numbers[0] is None) == (numbers[1] is None):
        return None
    at = 0 if numbers[0] is not None else 1
    other = call.args[1 - at]
    if list(other.ty.shape) != list(call.ty.shape):
        return None
    inner = _term(other, graph)
    number = numbers[at]
    if inner is None or number is None:
        return None
    return _Term(inner.source, inner.dtype, (*inner.steps, (name, number, at == 0)))


def _reduced(call: Any, graph: Dataflow) -> tuple[_Term, ...] | None:
    """What an integer sum adds up, if it is converted bytes."""
    if operator_of(call) != "relax.sum" or str(call.ty.dtype) != "int32":
        return None
    term = _term(call.args[0], graph)
    return None if term is None or term.steps else (term,)


def _sum(builder: Any, call: Any, source: Any, dtype: str) -> Any:
    from tvm import topi

    rank = len(source.ty.shape)
    axes = list(range(rank)) if call.attrs.axis is None else [int(a) for a in call.attrs.axis]
    keepdims = bool(call.attrs.keepdims)
    axes = [axis % rank for axis in axes]

    def body(data: Any) -> Any:
        return topi.sum(topi.cast(data, dtype), axes, keepdims)

    return builder.call_te(body, source, primfunc_name_hint="sum")


def _combine(builder: Any, call: Any, sources: list[Any], terms: tuple[_Term, ...]) -> Any:
    from tvm import te

    name = operator_of(call)

    def body(*tensors: Any) -> Any:
        # One tensor may be both operands: TVM passes it twice.
        def element(*at: Any) -> Any:
            left, right = (
                _value(tensor(*at), term) for tensor, term in zip(tensors, terms, strict=True)
            )
            return _apply(name, left, right)

        return te.compute(tensors[0].shape, element, name=name.removeprefix("relax."))

    hint = name.removeprefix("relax.")
    return builder.call_te(body, *sources, primfunc_name_hint=hint)


def _value(element: Any, term: _Term) -> Any:
    from tvm import tirx

    if not term.dtype:
        return element
    value = element.astype(term.dtype)
    for name, number, is_left in term.steps:
        other = tirx.const(number if term.dtype == "float32" else int(number), term.dtype)
        value = _apply(name, other, value) if is_left else _apply(name, value, other)
        if name == "relax.multiply" and term.dtype == "float32":
            # As onnxruntime rounds it on x86-64; a fused multiply-add may be a step off.
            value = rounded(value)
    return value


def _apply(name: str, left: Any, right: Any) -> Any:
    if name == "relax.add":
        return left + right
    return left - right if name == "relax.subtract" else left * right
