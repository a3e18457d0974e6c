"""Which graph operators and which ONNX tensor stand behind each kernel after fusion.

Fusion gives its results new variables. Value numbering (Cocke and Schwartz, 1970) finds the old
ones again: two variables have one number if they are the same operation on operands of the same
numbers. A fused function is numbered as if it were inlined at its call.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tvm import IRModule


@dataclass(frozen=True)
class Origin:
    """What one call of the fused ``main`` computes.

    Attributes
    ----------
    operators
        The operators that were fused into it.
    tensor
        The ONNX tensor that it returns; empty if it has no name.
    inner
        The ONNX tensors that it computes on the way.
    """

    operators: tuple[str, ...]
    tensor: str
    inner: tuple[str, ...] = ()


class _Numbering:
    """Numbers for values; equal values get equal numbers."""

    def __init__(self) -> None:
        self.numbers: dict[Any, int] = {}
        # Keeps every constant alive: its address is its identity here.
        self.constants: list[Any] = []

    def of(self, key: Any) -> int:
        return self.numbers.setdefault(key, len(self.numbers))


def trace_kernels(
    before: IRModule, after: IRModule, tensor_names: dict[str, str]
) -> dict[str, Origin]:
    """Return an `Origin` for each variable of the fused ``main`` that a call defines.

    Parameters
    ----------
    before
        The module with one ``call_tir`` an operator.
    after
        The same module behind ``FuseOps`` and before ``FuseTIR``.
    tensor_names
        ONNX name of each variable of ``before`` that has one.
    """
    numbering = _Numbering()
    names: dict[int, str] = {}
    known: dict[Any, int] = {}
    _number_parameters(before["main"], known, numbering)
    for binding in _bindings(before["main"]):
        number = _number(binding.value, known, numbering)
        known[binding.var] = number
        if binding.var.name in tensor_names:
            names.setdefault(number, tensor_names[binding.var.name])

    origins: dict[str, Origin] = {}
    known = {}
    _number_parameters(after["main"], known, numbering)
    for binding in _bindings(after["main"]):
        *inner, number = _number_call(binding.value, known, numbering, after)
        known[binding.var] = number
        on_the_way = dict.fromkeys(names[step] for step in inner if step in names)
        tensor = names.get(number, "")
        on_the_way.pop(tensor, None)
        operators = _operators_of_call(binding.value, after)
        origins[binding.var.name] = Origin(operators, tensor, tuple(on_the_way))
    return origins


def _number_call(
    value: Any, known: dict[Any, int], numbering: _Numbering, module: IRModule
) -> list[int]:
    """Number what a call computes: every step of a fused function, then the result."""
    function = _fused_function(value, module)
    if function is None:
        return [_number(value, known, numbering)]
    inner = {
        param: _operand(arg, known, numbering)
        for param, arg in zip(function.params, value.args, strict=True)
    }
    steps: list[int] = []
    for binding in _bindings(function):
        inner[binding.var] = _number(binding.value, inner, numbering)
        steps.append(inner[binding.var])
    return [*steps, _operand(function.body.body, inner, numbering)]


def _operators_of_call(value: Any, module: IRModule) -> tuple[str, ...]:
    function = _fused_function(value, module)
    if function is None:
        return _operators(value)
    return tuple(name for step in _bindings(function) for name in _operators(step.value))


def _fused_function(value: Any, module: IRModule) -> Any:
    from tvm import ir, relax

    called = isinstance(value, relax.Call) and isinstance(value.op, ir.GlobalVar)
    return module[value.op] if called else None


def _operators(value: Any) -> tuple[str, ...]:
    from tvm import ir, relax

    if not isinstance(value, relax.Call):
        return ()
    if value.args and isinstance(value.args[0], ir.GlobalVar):
        return (value.args[0].name_hint,)
    operator: Any = value.op
    return (operator.name,) if isinstance(value.op, ir.Op) else ()


def _number_parameters(function: Any, known: dict[Any, int], numbering: _Numbering) -> None:
    for position, param in enumerate(function.params):
        known[param] = numbering.of(("parameter", position))


def _number(value: Any, known: dict[Any, int], numbering: _Numbering) -> int:
    """Number an operation by its operator, attributes and operands."""
    from tvm import ir, relax

    if isinstance(value, relax.TupleGetItem):
        return numbering.of(("item", _operand(value.tuple_value, known, numbering), value.index))
    if isinstance(value, relax.Call):
        called: Any = value.op
        operator = called.name if isinstance(value.op, ir.Op) else str(called)
        operands = tuple(_operand(arg, known, numbering) for arg in value.args)
        return numbering.of((operator, str(value.attrs), operands))
    return _operand(value, known, numbering)


def _operand(value: Any, known: dict[Any, int], numbering: _Numbering) -> int:
    from tvm import ir, relax

    if isinstance(value, relax.Var):
        return known[value] if value in known else numbering.of(("free", value.name))
    if isinstance(value, ir.GenericConst):
        numbering.constants.append(value)
        return numbering.of(("constant", value.__hash__()))
    if isinstance(value, relax.Tuple):
        return numbering.of(
            ("tuple", tuple(_operand(field, known, numbering) for field in value.fields))
        )
    if isinstance(value, ir.GlobalVar):
        return numbering.of(("function", value.name_hint))
    if isinstance(value, (relax.Call, relax.TupleGetItem)):
        return _number(value, known, numbering)
    return numbering.of(("other", str(value)))


def _bindings(function: Any) -> Iterator[Any]:
    for block in function.body.blocks:
        yield from block.bindings
