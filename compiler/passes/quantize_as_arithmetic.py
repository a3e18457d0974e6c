"""Write ``relax.quantize`` and ``relax.dequantize`` as the arithmetic that they are.

    saturate(round(x / scale) + zero)
        = byte(int32(round(min(max(x / scale, low - zero), high - zero))) + zero)
    (X - zero) * scale

Layout conversion and fusion know what to do with each step; of the operators themselves they know
nothing, and a transpose would stay on either side. Rounding is monotone and the bounds are whole,
so that it makes no difference when the value is clipped. This is the tail of every requantization
(`schedules/lowering/requantize.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autoglm_tvm.compiler.passes.dataflow import constant_array, operator_of
from autoglm_tvm.schedules.kernel import constant

if TYPE_CHECKING:
    import numpy as np
    from tvm import IRModule

_LIMITS = {
    "int8": (-128, 127),
    "uint8": (0, 255),
    "int16": (-32768, 32767),
    "uint16": (0, 65535),
}


def quantize_as_arithmetic(module: IRModule) -> IRModule:
    """Return the module without those of ``main`` between float32 and small integers.

    Those whose zero point is computed, or differs along an axis, stay.
    """
    from tvm.relax.expr_functor import PyExprMutator, mutator

    @mutator
    class Rewrite(PyExprMutator):
        """Replaces both operators."""

        def visit_call_(self, op: Any) -> Any:
            call: Any = self.visit_expr_post_order(op)
            name = operator_of(call)
            if name not in ("relax.quantize", "relax.dequantize"):
                return call
            data, scale, zero = call.args
            point = self._value(zero)
            dtype = str((call if name == "relax.quantize" else data).ty.dtype)
            real = str((data if name == "relax.quantize" else call).ty.dtype)
            if point is None or not point.size or dtype not in _LIMITS or real != "float32":
                return call
            number = int(point.reshape(-1)[0])
            if (point != number).any():
                return call
            factor = self._along(scale, call)
            if factor is None:
                return call
            write = _quantize if name == "relax.quantize" else _dequantize
            return write(self.builder_, data, factor, number, dtype)

        def _value(self, value: Any) -> np.ndarray | None:
            from tvm import relax

            found: Any = self.lookup_binding(value) if isinstance(value, relax.Var) else value
            return constant_array(found)

        def _along(self, scale: Any, call: Any) -> Any:
            """The scale in a shape that broadcasts with the operand; None if there is none."""
            from tvm import relax

            extents = [constant(extent) for extent in scale.ty.shape]
            if all(extent == 1 for extent in extents):
                known = self._value(scale)
                return scale if known is None else relax.const(known.reshape(()))
            known, rank = self._value(scale), len(call.ty.shape)
            if known is None or known.ndim != 1:
                return None
            axis = int(call.attrs.axis) % rank
            return relax.const(known.reshape([-1] + [1] * (rank - axis - 1)))

    rewrite: Any = Rewrite(module)
    rewrite.builder_.update_func(module.get_global_var("main"), rewrite.visit_expr(module["main"]))
    return rewrite.builder_.get()


def _quantize(builder: Any, data: Any, scale: Any, zero: int, dtype: str) -> Any:
    from tvm import relax

    op = relax.op
    low, high = (relax.const(float(limit - zero), "float32") for limit in _LIMITS[dtype])
    scaled = builder.emit(op.divide(data, scale))
    clipped = builder.emit(op.minimum(builder.emit(op.maximum(scaled, low)), high))
    whole = builder.emit(op.astype(builder.emit(op.round(clipped)), "int32"))
    if zero:
        whole = builder.emit(op.add(whole, relax.const(zero, "int32")))
    return op.astype(whole, dtype)


def _dequantize(builder: Any, data: Any, scale: Any, zero: int, _dtype: str) -> Any:
    from tvm import relax

    op = relax.op
    real = builder.emit(op.astype(data, "float32"))
    if zero:
        # As exact as the difference of integers.
        real = builder.emit(op.subtract(real, relax.const(float(zero), "float32")))
    return op.multiply(real, scale)
