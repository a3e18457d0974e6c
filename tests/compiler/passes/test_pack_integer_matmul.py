"""What replaces a product of bytes has the shape of the product."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from autoglm_tvm.compiler.passes.pack_integer_matmul import pack_integer_matmul
from autoglm_tvm.schedules.choices import Choices
from tests.compiler.integer.harness import DOTPROD, VNNI


@pytest.mark.parametrize("machine", [VNNI, DOTPROD])
@pytest.mark.parametrize("shape", [[], [1], [1, 1, 1]])
def test_a_computed_zero_point_of_any_rank(machine: Any, shape: list[int]) -> None:
    """It is taken from [1, 3, 8] before that becomes a matrix, and added to sums of rank 2."""
    from tvm import relax

    builder = relax.BlockBuilder()
    tensor_type: Any = relax.TensorType
    data = relax.Var("data", tensor_type([1, 3, 8], "uint8"))
    zero = relax.Var("zero", tensor_type(shape, "uint8"))
    weight = relax.const(np.arange(160, dtype=np.int32).reshape(8, 20) - 80)
    squeeze: Any = relax.op.squeeze
    with builder.function("main", [data, zero]):
        with builder.dataflow():
            wide, point = (builder.emit(relax.op.astype(one, "int32")) for one in (data, zero))
            difference = builder.emit(relax.op.subtract(wide, point))
            matrix = builder.emit(squeeze(difference, [0]))
            sums = builder.emit(relax.op.matmul(matrix, weight))
            result = builder.emit_output(sums)
        builder.emit_func_output(result)
    after: Any = pack_integer_matmul(builder.get(), machine, Choices())["main"]
    assert "R.matmul" not in after.script()
    assert [int(extent) for extent in after.ret_ty.shape] == [3, 20]
