"""Which ONNX element types this compiler carries, and what they are called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoglm_tvm.artifacts.carried_types import CARRIERS

if TYPE_CHECKING:
    import numpy as np
    import onnx

#: ONNX element types that TVM 0.27 imports and lowers rightly. The float8 casts are silently wrong
#: there, and 4-bit and 2-bit types have no import: these are carried as one byte a value (see
#: `artifacts/carried_types.py`), which our own converters know. Complex numbers and strings are not
#: for compiling.
SUPPORTED = (
    "FLOAT",
    "FLOAT16",
    "BFLOAT16",
    "DOUBLE",
    "INT8",
    "INT16",
    "INT32",
    "INT64",
    "UINT8",
    "UINT16",
    "UINT32",
    "UINT64",
    "BOOL",
)


def dtype_label(elem_type: int) -> str:
    """Return ONNX's own name of an element type in lower case, such as ``float8e4m3fn``."""
    import onnx

    try:
        return onnx.TensorProto.DataType.Name(elem_type).lower()
    except ValueError:
        return f"type number {elem_type}"


def is_supported(elem_type: int) -> bool:
    """Say whether tensors of this element type can be compiled."""
    return dtype_label(elem_type).upper() in SUPPORTED


def is_carried(elem_type: int) -> bool:
    """Say whether tensors of this element type are carried in a wider one."""
    import onnx

    # 0 stands for a type that is not known.
    named = elem_type and elem_type in onnx.TensorProto.DataType.values()
    if not named or is_supported(elem_type):
        return False
    return str(numpy_dtype(elem_type)) in CARRIERS


def numpy_dtype(elem_type: int) -> np.dtype:
    """Return the numpy (or ml_dtypes) dtype of an element type."""
    from onnx import helper

    return helper.tensor_dtype_to_np_dtype(elem_type)


def type_label(type_proto: onnx.TypeProto) -> str:
    """Describe a type for a message: ``float32``, ``string``, ``sequence``, ``map`` ..."""
    kind = type_proto.WhichOneof("value")
    if kind is None:
        return "no type"
    if kind != "tensor_type":
        return kind.removesuffix("_type").replace("_", " ")
    elem_type = type_proto.tensor_type.elem_type
    return str(numpy_dtype(elem_type)) if is_supported(elem_type) else dtype_label(elem_type)
