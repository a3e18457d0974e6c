"""Compute elementwise steps where their reader is, so that they need no memory of their own."""

from __future__ import annotations

from math import prod
from typing import Any

from autoglm_tvm.schedules.kernel import constant

# Loads in one expression. A step that is read twice is written twice, and a chain of such steps
# doubles at each; the code generator's common subexpressions make it one again, but see it first.
_MOST_LOADS = 32

# How often a cheap step, such as padding, is computed anew in a window of a pooling.
_MOST_REPEATS = 32


def inline_spatial(schedule: Any, blocks: list[Any]) -> list[Any]:
    """Inline the spatial steps into their one reader; return the blocks that are left, in order.

    A step stays where its reader is a product that reads each element many times (matmul,
    convolution), and where it is costly and its reader repeats it.
    """
    from tvm import s_tir

    kept = []
    for block in blocks:
        if _worthwhile(schedule, block):
            try:
                schedule.compute_inline(block)
                continue
            except s_tir.ScheduleError:
                pass
        kept.append(block)
    return kept


def is_spatial(schedule: Any, block: Any) -> bool:
    """Whether the block reduces nothing."""
    return all(axis.iter_type == axis.DataPar for axis in schedule.get(block).iter_vars)


def math_calls(statement: Any) -> int:
    """Count the calls of elementary functions in a block."""
    import tvm_ffi
    from tvm import ir

    found: list[str] = []
    tvm_ffi.structural_walk(
        statement.body, (ir.Call, lambda call: found.append(getattr(call.op, "name", "")))
    )
    return sum(name.removeprefix("tirx.") in _COSTLY for name in found)


_COSTLY = {"exp", "log", "tanh", "erf", "sigmoid", "pow", "sin", "cos", "exp2", "log2", "log10"}


def _worthwhile(schedule: Any, block: Any) -> bool:
    statement = schedule.get(block)
    consumers = schedule.get_consumers(block)
    if len(consumers) != 1 or not is_spatial(schedule, block) or _stores(statement) != 1:
        return False
    consumer = schedule.get(consumers[0])
    buffer = statement.writes[0].source
    own, reads = _loads(statement), _loads(consumer, buffer)
    loads = _loads(consumer) - _loads(consumer, consumer.writes[0].source)
    if loads + reads * (own - 1) > _MOST_LOADS:
        return False
    if is_spatial(schedule, consumers[0]):
        return not _costly(statement) or _elements(consumer) <= 2 * _elements(statement)
    repeats = _iterations(consumer) / max(1, _elements(statement))
    if repeats <= 1:
        return True
    cheap = loads == 1 and not _costly(statement) and not _pads_last_axis(statement)
    return repeats <= _MOST_REPEATS and cheap


def _costly(statement: Any) -> bool:
    """Whether a step takes more than a few additions and multiplications."""
    import tvm_ffi
    from tvm import ir, tirx

    found: list[Any] = []
    tvm_ffi.structural_walk(
        statement.body,
        [
            (ir.Call, lambda call: found.append(getattr(call.op, "name", ""))),
            (tirx.Div, lambda _: found.append("tirx.sqrt")),
        ],
    )
    return any(name.removeprefix("tirx.") in (*_COSTLY, "sqrt", "rsqrt") for name in found)


def _pads_last_axis(statement: Any) -> bool:
    """Whether a step has a condition on its last axis, which takes vectors along it apart."""
    import tvm_ffi
    from tvm import ir, tirx

    conditions: list[Any] = []

    def visit(call: Any) -> None:
        if getattr(call.op, "name", "") == "prim.if_then_else":
            conditions.append(call.args[0])

    tvm_ffi.structural_walk(statement.body, (ir.Call, visit))
    found: list[Any] = []
    for condition in conditions:
        tvm_ffi.structural_walk(condition, (tirx.Var, found.append))
    last = statement.iter_vars[-1].var
    return any(variable.same_as(last) for variable in found)


def _loads(statement: Any, buffer: Any = None) -> int:
    import tvm_ffi
    from tvm.ir import TensorLoad

    found: list[Any] = []
    tvm_ffi.structural_walk(statement.body, (TensorLoad, lambda load: found.append(load.source)))
    return sum(buffer is None or source.same_as(buffer) for source in found)


def _stores(statement: Any) -> int:
    import tvm_ffi
    from tvm import tirx

    found: list[Any] = []
    tvm_ffi.structural_walk(statement.body, (tirx.BufferStore, found.append))
    return len(found)


def _elements(statement: Any) -> int:
    """Elements of what a block writes; a symbolic extent counts as one."""
    return prod(constant(extent) or 1 for extent in statement.writes[0].source.shape)


def _iterations(statement: Any) -> int:
    """Iterations of a block; a symbolic extent counts as one."""
    return prod(constant(axis.dom.extent) or 1 for axis in statement.iter_vars)
