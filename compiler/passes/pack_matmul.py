"""Matrix products: a constant right operand is packed now, a computed one by the kernel."""

from __future__ import annotations

from typing import Any

from autoglm_tvm.compiler.passes.dataflow import constant_array
from autoglm_tvm.compiler.passes.packing import FUSIBLE, packed_constant, product, supported
from autoglm_tvm.schedules.kernel import constant
from autoglm_tvm.schedules.machine import Machine
from autoglm_tvm.schedules.operators.matmul import (
    accumulator,
    batched_matmul,
    pack_panels,
    packed_matmul,
)
from autoglm_tvm.schedules.tiles import choose_tile


def lower_matmul(builder: Any, call: Any, machine: Machine) -> Any:
    """Lower ``relax.matmul``; None for vectors, symbolic K or N, and most integers."""
    left, right = call.args
    left_shape, right_shape = list(left.ty.shape), list(right.ty.shape)
    reduced, columns = constant(left_shape[-1]), constant(right_shape[-1])
    matrices = len(left_shape) >= 2 and len(right_shape) >= 2
    if not matrices or reduced is None or columns is None or not supported(call):
        return None
    dtype, total = str(call.ty.dtype), accumulator(str(left.ty.dtype))
    weight = constant_array(right)
    if weight is not None and weight.ndim == 2:
        tile = choose_tile(product(left_shape[:-1]), columns, reduced, machine, total)
        right = packed_constant(pack_panels(weight, tile.columns))

        def body(a: Any, b: Any) -> Any:
            return packed_matmul(a, b, columns, tile, dtype)
    else:
        tile = choose_tile(constant(left_shape[-2]), columns, reduced, machine, total)

        def body(a: Any, b: Any) -> Any:
            return batched_matmul(a, b, tile, dtype)

    return builder.call_te(body, left, right, primfunc_name_hint="matmul", primfunc_attrs=FUSIBLE)
