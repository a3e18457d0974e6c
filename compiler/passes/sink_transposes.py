"""Move transposes from NHWC back to NCHW below elementwise operators, until they cancel out.

    f(transpose(x), c) = transpose(f(x, transpose^-1(c))),   transpose(transpose^-1(x)) = x

``ConvertLayout`` takes some operators through (Relu, Add of two tensors) and stops at others (Clip,
arithmetic with scalars, Pad): each stop is two transposes of a whole tensor, and keeps the operator
from being computed in the convolution's kernel.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from autoglm_tvm.schedules.kernel import constant

if TYPE_CHECKING:
    from tvm import IRModule

_TO_NCHW = [0, 3, 1, 2]
_TO_NHWC = [0, 2, 3, 1]
_ELEMENTWISE = {
    "relax.abs",
    "relax.add",
    "relax.astype",
    "relax.ceil",
    "relax.clip",
    "relax.divide",
    "relax.equal",
    "relax.erf",
    "relax.exp",
    "relax.floor",
    "relax.greater",
    "relax.greater_equal",
    "relax.less",
    "relax.less_equal",
    "relax.log",
    "relax.maximum",
    "relax.minimum",
    "relax.multiply",
    "relax.negative",
    "relax.nn.gelu",
    "relax.nn.leakyrelu",
    "relax.nn.relu",
    "relax.nn.silu",
    "relax.nn.softplus",
    "relax.not_equal",
    "relax.power",
    "relax.round",
    "relax.rsqrt",
    "relax.sigmoid",
    "relax.sqrt",
    "relax.square",
    "relax.subtract",
    "relax.tanh",
    "relax.where",
}
# An operand that is so much smaller than the result may be transposed for it (a gate of channels).
_SMALL = 8


def sink_transposes(module: IRModule) -> IRModule:
    """Return the module with the transposes of ``main`` sunk, merged and cancelled."""
    from tvm import relax
    from tvm.relax.expr_functor import PyExprMutator, mutator

    @mutator
    class Sink(PyExprMutator):
        """Rebuilds each elementwise call of a transposed operand on the operand itself."""

        def visit_call_(self, op: Any) -> Any:
            call: Any = self.visit_expr_post_order(op)
            name = getattr(call.op, "name", "")
            if name == "relax.permute_dims":
                return self._merge(call)
            if name == "relax.nn.pad":
                return self._pad(call)
            return self._elementwise(call) if name in _ELEMENTWISE else call

        def _source(self, value: Any) -> Any:
            """What `value` is the NCHW transpose of; None if it is something else."""
            found = self._transpose(value)
            return found[0] if found is not None and found[1] == _TO_NCHW else None

        def _transpose(self, value: Any) -> tuple[Any, list[int]] | None:
            bound: Any = self.lookup_binding(value) if isinstance(value, relax.Var) else value
            if getattr(getattr(bound, "op", None), "name", "") != "relax.permute_dims":
                return None
            axes = bound.attrs["axes"]
            return None if axes is None else (bound.args[0], [int(axis) for axis in axes])

        def _merge(self, call: Any) -> Any:
            inner = self._transpose(call.args[0])
            if inner is None or call.attrs["axes"] is None:
                return call
            source, first = inner
            axes = [first[int(axis)] for axis in call.attrs["axes"]]
            if axes == sorted(axes):
                return source
            return relax.op.permute_dims(source, axes)

        def _elementwise(self, call: Any) -> Any:
            if all(self._source(arg) is None for arg in call.args):
                return call
            operands = [self._operand(arg, call.ty) for arg in call.args]
            if any(operand is None for operand in operands):
                return call
            return self._above(relax.Call(call.op, operands, call.attrs, call.ty_args))

        def _operand(self, arg: Any, result: Any) -> Any:
            """`arg` for the result in NHWC; None if it would have to be moved as a whole."""
            if not isinstance(getattr(arg, "ty", None), relax.TensorType):
                return arg
            source = self._source(arg)
            if source is not None:
                return source
            extents = [constant(extent) for extent in arg.ty.shape]
            if not extents:
                return arg
            small = prod(e or 1 << 20 for e in extents) * _SMALL <= prod(
                constant(e) or 1 << 20 for e in result.shape
            )
            if None in extents or not small:
                return None
            shape: Any = [1] * (4 - len(extents)) + extents
            aligned = relax.op.reshape(arg, shape)
            return self.builder_.emit(relax.op.permute_dims(aligned, _TO_NHWC), "aligned")

        def _pad(self, call: Any) -> Any:
            source = self._source(call.args[0])
            if source is None:
                return call
            widths = [int(width) for width in call.attrs["pad_width"]]
            pairs = [widths[2 * axis : 2 * axis + 2] for axis in _TO_NHWC]
            flat = [width for pair in pairs for width in pair]
            value = [float(call.attrs["pad_value"])]
            mode = str(call.attrs["pad_mode"])
            return self._above(relax.op.nn.pad(source, flat, mode, *value))

        def _above(self, call: Any) -> Any:
            return relax.op.permute_dims(self.builder_.emit(call, "in_nhwc"), _TO_NCHW)

    sink: Any = Sink(module)
    module.update_func(module.get_global_var("main"), sink.visit_expr(module["main"]))
    return relax.transform.DeadCodeElimination(["main"])(module)
