"""A convolution of a row is one of an image of one row: what conv2d has serves it too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tvm import IRModule


def conv1d_as_conv2d(module: IRModule) -> IRModule:
    """Return the module with the ``conv1d`` [B, C, W] of ``main`` as ``conv2d`` [B, C, 1, W]."""
    from tvm import relax
    from tvm.relax.expr_functor import PyExprMutator, mutator

    @mutator
    class Widen(PyExprMutator):
        """Puts an axis of one row in front of the width."""

        def visit_call_(self, op: Any) -> Any:
            call: Any = self.visit_expr_post_order(op)
            if getattr(call.op, "name", "") != "relax.nn.conv1d":
                return call
            attrs = call.attrs
            if (attrs.data_layout, attrs.kernel_layout) != ("NCW", "OIW"):
                return call
            left, right = (int(size) for size in attrs.padding)
            image, weight = (
                self.builder_.emit(relax.op.expand_dims(arg, [2]), "one_row") for arg in call.args
            )
            result = relax.op.nn.conv2d(
                image,
                weight,
                strides=(1, int(attrs.strides[0])),
                padding=(0, left, 0, right),
                dilation=(1, int(attrs.dilation[0])),
                groups=int(attrs.groups),
                out_dtype=str(op.ty.dtype),
            )
            return relax.op.squeeze(self.builder_.emit(result, "one_row"), [2])

    widen: Any = Widen(module)
    module.update_func(module.get_global_var("main"), widen.visit_expr(module["main"]))
    return module
