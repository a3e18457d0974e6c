"""Definitions and uses of the variables of a function."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from tvm import IRModule

_Match = TypeVar("_Match")
# Takes an expression of the graph before to the same in the graph that is being written.
Visit = Callable[[Any], Any]


class Dataflow:
    """Who defines and who reads each variable.

    Parameters
    ----------
    function
        A Relax function in normal form: operands are variables and constants.

    Attributes
    ----------
    variables
        All that it binds, in order.
    """

    def __init__(self, function: Any) -> None:
        from tvm import relax

        self._definitions: dict[Any, Any] = {}
        self._readers: dict[Any, list[Any]] = {}
        for block in function.body.blocks:
            for binding in block.bindings:
                self._definitions[binding.var] = binding.value
                self._read(binding.value, binding.var)
        self._read(function.body.body, None)
        self.variables = list(self._definitions)
        self.outputs = {reader for reader in self._readers if None in self._readers[reader]}
        self._var = relax.Var

    def _read(self, value: Any, reader: Any) -> None:
        from tvm import relax

        def visit(node: Any) -> None:
            if isinstance(node, relax.Var):
                self._readers.setdefault(node, []).append(reader)

        relax.analysis.post_order_visit(value, visit)

    def definition(self, value: Any) -> Any:
        """The expression behind a variable, other names for it left out; None for parameters."""
        while isinstance(value, self._var):
            value = self._definitions.get(value)
        return value

    def call(self, value: Any, operator: str) -> Any:
        """The definition of `value` if it is a call of `operator`, else None."""
        found = self.definition(value)
        return found if operator_of(found) == operator else None

    def readers(self, variable: Any) -> list[Any]:
        """The variables whose definitions read it; None stands for the function's result."""
        return self._readers.get(variable, [])

    def is_read_once(self, value: Any) -> bool:
        """Whether one expression reads it, once, and it is no result."""
        return len(self.readers(value)) == 1 and value not in self.outputs


def replace_calls(
    module: IRModule,
    matches: Iterable[tuple[Any, _Match] | None],
    emit: Callable[[Any, _Match, Visit], Any],
) -> IRModule:
    """Return the module with other expressions for calls of ``main``; dead code is left out.

    Parameters
    ----------
    module
        It stays as it is.
    matches
        Calls, each with what `emit` has to know of it; None is passed over.
    emit
        Returns the expression for a call: of the block builder, what is known, and a function that
        every operand from the old graph has to go through.
    """
    from tvm import relax
    from tvm.relax.expr_functor import PyExprMutator, mutator

    found = dict(match for match in matches if match is not None)
    if not found:
        return module

    @mutator
    class Replace(PyExprMutator):
        """Replaces calls; what only they read is dead code then."""

        def visit_call_(self, op: Any) -> Any:
            if op not in found:
                return self.visit_expr_post_order(op)
            return emit(self.builder_, found[op], self.visit_expr)

    change: Any = Replace(module)
    change.builder_.update_func(module.get_global_var("main"), change.visit_expr(module["main"]))
    return relax.transform.DeadCodeElimination(["main"])(change.builder_.get())


def operator_of(expression: Any) -> str:
    """The name of the operator that is called; empty for other expressions."""
    return getattr(getattr(expression, "op", None), "name", "")


def constant_array(expression: Any) -> np.ndarray | None:
    """The value of a constant; None for other expressions."""
    from tvm import ir

    return expression.value.numpy() if _is(expression, ir.GenericConst) else None


def constant_number(expression: Any) -> float | None:
    """The value of a constant of one element; None for other expressions."""
    array = constant_array(expression)
    return None if array is None or array.size != 1 else float(array.reshape(()))


def _is(expression: Any, kind: Any) -> bool:
    return isinstance(expression, kind)
