"""Give every variable of ``main`` a name of its own: fusion calls many of its results ``lv``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tvm import IRModule


def unique_names(module: IRModule) -> IRModule:
    """Return the module with the results of ``main`` numbered in order."""
    from tvm import relax
    from tvm.relax.expr_functor import PyExprMutator, mutator

    @mutator
    class Rename(PyExprMutator):
        """Replaces each variable where it is defined."""

        def __init__(self, mod: Any, parameters: set[Any]) -> None:
            super().__init__(mod)
            self.parameters = parameters
            self.count = 0

        def _fresh(self, kind: Any, var: Any) -> Any:
            if var in self.parameters:
                return var
            self.count += 1
            return kind(f"t{self.count}", var.ty)

        def visit_var_def_(self, var: Any) -> Any:
            return self._fresh(relax.Var, var)

        def visit_dataflow_var_def_(self, var: Any) -> Any:
            return self._fresh(relax.DataflowVar, var)

        def visit_var_binding_(self, binding: Any) -> None:
            value = self.visit_expr(binding.value)
            var = self.visit_var_def(binding.var)
            self.set_var_remap(binding.var, var)
            self.builder_.emit_normalized(relax.VarBinding(var, value))

    main = module["main"]
    rename: Any = Rename(module, set(main.params))
    module.update_func(module.get_global_var("main"), rename.visit_expr(main))
    return module
