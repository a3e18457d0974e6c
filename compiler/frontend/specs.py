"""Describe graph inputs and outputs in the terms of the bundle's manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoglm_tvm.artifacts.tensor_spec import TensorSpec
from autoglm_tvm.compiler.frontend.dtypes import numpy_dtype

if TYPE_CHECKING:
    import onnx


def tensor_spec(value: onnx.ValueInfoProto) -> TensorSpec:
    """Return name, dtype and shape of `value`; dimensions must be numbers or symbols by now."""
    tensor = value.type.tensor_type
    shape = tuple(
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in tensor.shape.dim
    )
    return TensorSpec(value.name, str(numpy_dtype(tensor.elem_type)), shape)
