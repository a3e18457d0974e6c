"""QuantizeLinear and DequantizeLinear: every type, and blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autoglm_tvm.artifacts.carried_types import CARRIERS
from autoglm_tvm.compiler.converters.node_types import types_of
from autoglm_tvm.compiler.converters.small_types import (
    FLOATS,
    INTEGERS,
    decode_float,
    encode_float,
)

# Limits of the integers that need no carrier.
_LIMITS = {
    **INTEGERS,
    "int8": (-128, 127),
    "uint8": (0, 255),
    "int16": (-32768, 32767),
    "uint16": (0, 65535),
}


def quantize_linear(builder: Any, inputs: Sequence[Any], attributes: dict[str, Any]) -> Any:
    """Convert ``QuantizeLinear(x, scale, zero_point)``: saturate(round(x / scale) + zero_point).

    Halves are rounded to even. The quotient is of the type that ``precision`` names, else of the
    scale's.

    Raises
    ------
    ValueError
        A result of a type that is not known here.
    """
    from tvm import relax

    operands: list[Any] = [*inputs, None]
    data, scale, zero = operands[:3]
    kind = _quantized_type(attributes, zero)
    axis = _axis(attributes, data)
    plain = not attributes.get("block_size", 0) and kind not in CARRIERS
    division = _onnx_type(attributes.get("precision", 0)) or str(scale.ty.dtype)
    if plain and str(data.ty.dtype) == str(scale.ty.dtype) == division == "float32":
        point = relax.const(0, kind) if zero is None else zero
        return relax.op.quantize(data, scale, point, axis=axis, out_dtype=kind)
    steps = _apply(
        builder,
        relax.op.divide,
        _as(builder, data, division),
        _as(builder, _spread(builder, scale, data, attributes), division),
    )
    steps = _as(builder, steps, "float32")
    if kind in FLOATS:
        # Zero points of floats are 0 by definition.
        return encode_float(builder, steps, kind, bool(attributes.get("saturate", 1)))
    if kind not in _LIMITS:
        raise ValueError(f"QuantizeLinear to {kind}")
    steps = _apply(builder, relax.op.round, steps)
    if zero is not None:
        point = _as(builder, _spread(builder, zero, data, attributes), "float32")
        steps = _apply(builder, relax.op.add, steps, point)
    low, high = _LIMITS[kind]
    return _as(builder, _apply(builder, relax.op.clip, steps, low, high), CARRIERS.get(kind, kind))


def dequantize_linear(builder: Any, inputs: Sequence[Any], attributes: dict[str, Any]) -> Any:
    """Convert ``DequantizeLinear(x, scale, zero_point)``: (x - zero_point) * scale.

    The product is of float32, then cast to the result's type: ``output_dtype``, else the scale's.
    """
    from tvm import relax

    operands: list[Any] = [*inputs, None]
    data, scale, zero = operands[:3]
    types = types_of(attributes)
    kind = types.input(0) or str(data.ty.dtype)
    result = _onnx_type(attributes.get("output_dtype", 0)) or str(scale.ty.dtype)
    plain = not attributes.get("block_size", 0) and kind not in FLOATS
    if plain and kind in ("int8", "uint8") and result == "float32":
        point = relax.const(0, kind) if zero is None else zero
        axis = _axis(attributes, data)
        return relax.op.dequantize(data, scale, point, axis=axis, out_dtype=result)
    if kind in FLOATS:
        values = decode_float(builder, data, kind)
    else:
        values = _as(builder, data, "int32")
        if zero is not None:
            point = _as(builder, _spread(builder, zero, data, attributes), "int32")
            values = _apply(builder, relax.op.subtract, values, point)
        values = _as(builder, values, "float32")
    factor = _as(builder, _spread(builder, scale, data, attributes), "float32")
    return _as(builder, _apply(builder, relax.op.multiply, values, factor), result)


def _quantized_type(attributes: dict[str, Any], zero: Any) -> str:
    """Return the type of what QuantizeLinear makes, as ONNX names it."""
    types = types_of(attributes)
    if types.outputs and types.outputs[0]:
        return types.outputs[0]
    named = _onnx_type(attributes.get("output_dtype", 0))
    return named or (types.input(2) or "uint8" if zero is None else str(zero.ty.dtype))


def _onnx_type(elem_type: int) -> str:
    from onnx import helper

    return str(helper.tensor_dtype_to_np_dtype(elem_type)) if elem_type else ""


def _axis(attributes: dict[str, Any], data: Any) -> int:
    """Return the axis of a vector of scales, from the front; only a scalar scale has none."""
    rank = len(data.ty.shape)
    axis = int(attributes.get("axis", 1))
    axis += rank if axis < 0 else 0
    return axis if axis < rank else 0


def _spread(builder: Any, parameter: Any, data: Any, attributes: dict[str, Any]) -> Any:
    """Shape a scale or zero point so that it broadcasts with `data`, blocks repeated."""
    from tvm import relax

    rank, axis = len(data.ty.shape), _axis(attributes, data)
    block = int(attributes.get("block_size", 0))
    if block:
        size = data.ty.shape[axis]
        repeated = _apply(builder, relax.op.repeat, parameter, block, axis)
        return _apply(builder, relax.op.strided_slice, repeated, [axis], [0], [size])
    shape = parameter.ty.shape
    if len(shape) == 0:
        return parameter
    if len(shape) == 1:
        along = [1] * rank
        along[axis if rank else 0 :] = [-1, *[1] * (rank - axis - 1)] if rank else []
        return _apply(builder, relax.op.reshape, parameter, along)
    return parameter


def _as(builder: Any, value: Any, dtype: str) -> Any:
    from tvm import relax

    if str(value.ty.dtype) == dtype:
        return value
    return builder.normalize(relax.op.astype(value, dtype))


def _apply(builder: Any, operator: Any, *arguments: Any) -> Any:
    return builder.normalize(operator(*arguments))
