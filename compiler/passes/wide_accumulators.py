"""Let matmuls and convolutions of half precision add up in float32.

In float16 a sum of 1024 products is off by 7e-3, and past 65504 it is infinite. ONNX Runtime's CPU
kernels accumulate in float32. So do ours, but that machines with vectors of float16 sum up to 128
products in it before, where the weights are too small for an overflow (`half_chunk` of
`schedules/tiles.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tvm import IRModule

_HALVES = ("float16", "bfloat16")
_CONVOLUTIONS = ("relax.nn.conv1d", "relax.nn.conv2d", "relax.nn.conv3d")
_CONVOLUTION_ATTRIBUTES = (
    "strides",
    "padding",
    "dilation",
    "groups",
    "data_layout",
    "kernel_layout",
    "out_layout",
)


def widen_accumulators(module: IRModule) -> IRModule:
    """Return the module whose half-precision products in ``main`` are summed in float32.

    The result is rounded back to the half type once. Transposed convolutions stay as they are:
    Relax has no accumulator type for them.
    """
    from tvm import relax
    from tvm.relax.expr_functor import PyExprMutator, mutator

    @mutator
    class Widen(PyExprMutator):
        """Gives products of halves an output of float32 and a cast behind it."""

        def visit_call_(self, op: Any) -> Any:
            call: Any = self.visit_expr_post_order(op)
            name = getattr(call.op, "name", "")
            if name != "relax.matmul" and name not in _CONVOLUTIONS:
                return call
            dtype = str(op.ty.dtype)
            if dtype not in _HALVES:
                return call
            if name == "relax.matmul":
                wide = relax.op.matmul(call.args[0], call.args[1], out_dtype="float32")
            else:
                build: Any = getattr(relax.op.nn, name.rpartition(".")[2])
                attributes = {key: call.attrs[key] for key in _CONVOLUTION_ATTRIBUTES}
                wide = build(call.args[0], call.args[1], out_dtype="float32", **attributes)
            return relax.op.astype(wide, dtype)

    widen: Any = Widen(module)
    module.update_func(module.get_global_var("main"), widen.visit_expr(module["main"]))
    return module
