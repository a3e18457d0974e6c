"""Matrix products: a constant right operand is packed now, a computed one by the kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autoglm_tvm.compiler.passes.dataflow import constant_array
from autoglm_tvm.compiler.passes.packing import emit, product, supported, tensor_type
from autoglm_tvm.schedules.choices import Anchor, Choices, Config, Lowering
from autoglm_tvm.schedules.kernel import constant
from autoglm_tvm.schedules.machine import Machine
from autoglm_tvm.schedules.operators.matmul import (
    accumulator,
    batched_matmul,
    pack_panels,
    packed_matmul,
)
from autoglm_tvm.schedules.tiles import choose_tile, half_chunk, tuned_tile
from autoglm_tvm.schedules.workload import batched_workload, matmul_workload

if TYPE_CHECKING:
    import numpy as np


def lower_matmul(builder: Any, call: Any, machine: Machine, choices: Choices) -> Any:
    """Lower ``relax.matmul``; None for vectors, symbolic K or N, and most integers."""
    left, right = call.args
    left_shape, right_shape = list(left.ty.shape), list(right.ty.shape)
    reduced, columns = constant(left_shape[-1]), constant(right_shape[-1])
    matrices = len(left_shape) >= 2 and len(right_shape) >= 2
    if not matrices or reduced is None or columns is None or not supported(call):
        return None
    weight = constant_array(right)
    if weight is not None and weight.ndim == 2:
        return emit_product(builder, left, weight, str(call.ty.dtype), "matmul", machine, choices)
    dtypes, dtype = (str(left.ty.dtype), str(call.ty.dtype)), str(call.ty.dtype)
    rows, total = constant(left_shape[-2]), accumulator(str(left.ty.dtype))
    workload = batched_workload(
        dtypes, [constant(n) for n in left_shape], [constant(n) for n in right_shape]
    )

    def lower(config: Config) -> Lowering:
        tile = tuned_tile(choose_tile(rows, columns, reduced, machine, total), config)
        return Lowering(lambda a, b: batched_matmul(a, b, tile, dtype, workload))

    anchor = Anchor(lower, tuple(tensor_type(arg) for arg in (left, right)))
    return emit(builder, choices.lower(workload, anchor), (left, right), "matmul")


def emit_product(
    builder: Any,
    data: Any,
    matrix: np.ndarray,
    dtype: str,
    name: str,
    machine: Machine,
    choices: Choices,
) -> Any:
    """The product of `data` [..., K] with a constant [K, N], in a kernel called `name`."""
    reduced, columns = matrix.shape
    rows = product(list(data.ty.shape)[:-1])
    left = str(data.ty.dtype)
    workload = matmul_workload((left, str(matrix.dtype), dtype), rows, reduced, columns)
    chunk = half_chunk(left, matrix, reduced, machine)

    def lower(config: Config) -> Lowering:
        tile = choose_tile(rows, columns, reduced, machine, accumulator(left))
        if chunk:
            tile = choose_tile(rows, columns, chunk, machine, left)
        tile = tuned_tile(tile, config)
        return Lowering(
            lambda a, b: packed_matmul(a, b, columns, tile, dtype, workload, chunk),
            pack_panels(matrix, tile.columns),
        )

    anchor = Anchor(lower, (tensor_type(data),))
    return emit(builder, choices.lower(workload, anchor), (data,), name)
