"""Make operands of the constants that scale a computed number, so that kernels can be shared.

A dynamically quantized layer multiplies its input's scale by its weight's. As scalars both factors
are written into the kernel, and each layer gets a kernel of its own: 43 instead of 8 for a
transformer of 6 layers. A constant of shape [1] is handed over instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autoglm_tvm.compiler.passes.dataflow import Dataflow, constant_array

if TYPE_CHECKING:
    from tvm import IRModule


def share_scalars(module: IRModule) -> IRModule:
    """Return the module with [1] in place of a scalar in ``multiply(computed scalar, constant)``.

    Only where all that reads the product multiplies a tensor by it, which then has the same shape.
    """
    from tvm import relax
    from tvm.relax.expr_functor import PyExprMutator, mutator

    main = module["main"]
    graph = Dataflow(main)
    found = {graph.definition(v) for v in graph.variables if _scales_a_tensor(v, graph)}
    if not found:
        return module

    @mutator
    class Share(PyExprMutator):
        """Gives the constant factor an axis."""

        def visit_call_(self, op: Any) -> Any:
            call: Any = self.visit_expr_post_order(op)
            if op not in found:
                return call
            computed, known = call.args
            return relax.op.multiply(computed, relax.const(known.value.numpy().reshape(1)))

    share: Any = Share(module)
    module.update_func(module.get_global_var("main"), share.visit_expr(main))
    return module


def _scales_a_tensor(variable: Any, graph: Dataflow) -> bool:
    call = graph.call(variable, "relax.multiply")
    if call is None or len(call.ty.shape) or constant_array(call.args[1]) is None:
        return False
    readers = [graph.call(reader, "relax.multiply") for reader in graph.readers(variable)]
    return bool(readers) and all(reader is not None and len(reader.ty.shape) for reader in readers)
