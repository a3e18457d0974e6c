"""Make one kernel of an attention that the graph spells out.

    matmul(q, k) [scale, mask] -> softmax -> matmul(., v)   =>   attention(q, k, v, mask)

Heads are read where the projections left them, [batch, tokens, heads * depth], and stored where the
next projection wants them, instead of by transposes; key heads that several query heads share are
not copied (Ainslie et al., 2023, "GQA"). Symbolic lengths stay with the separate kernels.

Differs from the separate operators by rounding only: a constant divisor becomes a factor, and the
second product is divided by the sum of the softmax, not each of its weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autoglm_tvm.compiler.passes.attention_kernel import attention_kernel
from autoglm_tvm.compiler.passes.attention_pattern import find_attention
from autoglm_tvm.compiler.passes.dataflow import Dataflow
from autoglm_tvm.schedules.choices import Choices
from autoglm_tvm.schedules.machine import Machine

if TYPE_CHECKING:
    from tvm import IRModule


def fuse_attention(module: IRModule, machine: Machine, choices: Choices) -> IRModule:
    """Return the module with a kernel in place of each attention of ``main``."""
    from tvm import relax
    from tvm.relax.expr_functor import PyExprMutator, mutator

    main = module["main"]
    graph = Dataflow(main)
    matches = (find_attention(variable, graph) for variable in graph.variables)
    kernels = [attention_kernel(match, machine, choices) for match in matches if match is not None]
    by_call = {kernel.call: kernel for kernel in kernels}
    if not kernels:
        return module

    @mutator
    class Fuse(PyExprMutator):
        """Replaces the last call of each attention; what it read before is dead code then."""

        def visit_call_(self, op: Any) -> Any:
            kernel = by_call.get(op)
            if kernel is None:
                return self.visit_expr_post_order(op)
            variable = self.builder_.add_func(kernel.function, "attention")
            arguments: Any = [self.visit_expr(operand) for operand in kernel.operands]
            return relax.call_tir(variable, arguments, op.ty)

    fuse: Any = Fuse(module)
    fuse.builder_.update_func(module.get_global_var("main"), fuse.visit_expr(main))
    return fuse.builder_.get()
