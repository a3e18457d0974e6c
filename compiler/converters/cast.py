"""Cast of floats that are known to be small to integers: one conversion.

TVM's converter guards against infinity and wraps by way of int64, ten operators. A value that was
clipped to a range of the integer type needs none of it: the end of every requantization.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor
from typing import Any

from autoglm_tvm.compiler.converters.cast_small import cast_small, casts_small
from autoglm_tvm.compiler.converters.node_types import types_of
from autoglm_tvm.compiler.passes.dataflow import constant_number, operator_of

# Operators that leave a value between whole bounds where it is.
_ROUNDINGS = ("relax.round", "relax.floor", "relax.ceil", "relax.trunc")
_INTEGERS = ("int8", "uint8", "int16", "uint16", "int32")


def cast(builder: Any, inputs: Sequence[Any], attributes: dict[str, Any]) -> Any:
    """Convert ``Cast``: directly where the bounds of the value fit the type, else as TVM does.

    NaN, which no bound excludes, becomes any number of the type then; ONNX defines none.
    """
    import tvm
    from tvm import relax
    from tvm.relax.frontend.onnx import onnx_frontend

    value = inputs[0]
    types = types_of(attributes)
    if casts_small(types):
        return cast_small(builder, value, types, bool(attributes.get("saturate", 1)))
    dtype = str(onnx_frontend.get_type(attributes["to"]))
    kind = str(getattr(getattr(value, "ty", None), "dtype", ""))
    if kind in ("float32", "float64") and dtype in _INTEGERS:
        bounds = _bounds(builder, value)
        limits = (tvm.tirx.min_value(dtype).value, tvm.tirx.max_value(dtype).value)
        if bounds is not None and limits[0] <= bounds[0] and bounds[1] <= limits[1]:
            return relax.op.astype(value, dtype)
    return onnx_frontend.Cast._impl_v13(builder, list(inputs), attributes, {})


def _bounds(builder: Any, value: Any) -> tuple[float, float] | None:
    """The smallest and largest number that a float may be, NaN left out, if it was clipped."""
    low, high = float("-inf"), float("inf")
    found = _definition(builder, value)
    while True:
        name = operator_of(found)
        if name in ("relax.maximum", "relax.minimum"):
            bound = _number(builder, found.args[1])
            if bound is None:
                return None
            if name == "relax.maximum":
                low = max(low, min(bound, high))
            else:
                high = min(high, max(bound, low))
        elif name not in _ROUNDINGS:
            return None
        if float("-inf") < low and high < float("inf"):
            # What is rounded afterwards may become the whole number beyond.
            return floor(low), ceil(high)
        found = _definition(builder, found.args[0])


def _definition(builder: Any, value: Any) -> Any:
    from tvm import relax

    while isinstance(value, relax.Var):
        found = builder.lookup_binding(value)
        if found is None:
            return value
        value = found
    return value


def _number(builder: Any, value: Any) -> float | None:
    """A constant bound of Clip: TVM writes it as where(isnan(bound), infinity, bound)."""
    found = _definition(builder, value)
    if operator_of(found) == "relax.where":
        found = _definition(builder, found.args[2])
    number = constant_number(found)
    return None if number is None or number != number else number
