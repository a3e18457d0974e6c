"""Extremes of rows that hold nothing but infinities."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto

from tests.compiler.frontend.test_compiled import compiled
from tests.compiler.models import node_model, run

INFINITY = np.float32(np.inf)


@pytest.mark.parametrize("axes", [[2], [-1], [0, 2], [0, 1, 2]])
@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize(("op_type", "empty"), [("ReduceMax", -INFINITY), ("ReduceMin", INFINITY)])
def test_extremes_of_infinities(
    op_type: str, empty: np.float32, keepdims: int, axes: list[int]
) -> None:
    model = node_model(
        op_type,
        {"x": (TensorProto.FLOAT, [2, 3, 5])},
        constants={"axes": np.array(axes, np.int64)},
        opset=18,
        keepdims=keepdims,
    )
    x = np.random.default_rng(1).standard_normal((2, 3, 5)).astype(np.float32)
    x[0, 1] = empty
    x[1, :, :] = empty
    np.testing.assert_array_equal(compiled(model, {"x": x})[0], run(model, {"x": x})[0])
