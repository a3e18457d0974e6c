"""Write Stack as Concat: TVM 0.27's ``ConvertLayout`` ends with an error at any ``stack``.

stack(x, y, axis) = concat(expand_dims(x, axis), expand_dims(y, axis), axis)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tvm import IRModule


def stack_as_concat(module: IRModule) -> IRModule:
    """Return the module without ``stack`` in ``main``."""
    from tvm import relax
    from tvm.relax.expr_functor import PyExprMutator, mutator

    @mutator
    class Spell(PyExprMutator):
        """Gives each operand the new axis."""

        def visit_call_(self, op: Any) -> Any:
            call: Any = self.visit_expr_post_order(op)
            if getattr(call.op, "name", "") != "relax.stack":
                return call
            operands: Any = call.args[0]
            if isinstance(operands, relax.Var):
                operands = self.lookup_binding(operands)
            if not isinstance(operands, relax.Tuple):
                return call
            axis = 0 if call.attrs.axis is None else int(call.attrs.axis)
            widened: list[Any] = [
                self.builder_.emit(relax.op.expand_dims(field, [axis]), "stacked")
                for field in operands.fields
            ]
            return relax.op.concat(widened, axis)

    spell: Any = Spell(module)
    module.update_func(module.get_global_var("main"), spell.visit_expr(module["main"]))
    return module
