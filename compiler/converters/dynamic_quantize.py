"""DynamicQuantizeLinear: TVM's converter divides by a scale of 0 where the input is all zeros."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_LARGEST = 255.0


def dynamic_quantize_linear(builder: Any, inputs: Sequence[Any], attributes: dict[str, Any]) -> Any:
    """Convert ``DynamicQuantizeLinear(x)`` to (y, y_scale, y_zero_point), y of uint8.

    The range is that of x, widened to hold 0. Where x is all zeros, the scale is 1, as onnxruntime
    has it; by ONNX's definition it is 0, and y and its zero point are undefined.
    """
    from tvm import relax

    def call(operator: Any, *arguments: Any) -> Any:
        return builder.normalize(operator(*arguments))

    data = inputs[0]
    zero, one, most = (relax.const(value, "float32") for value in (0.0, 1.0, _LARGEST))
    high = call(relax.op.maximum, call(relax.op.max, data), zero)
    low = call(relax.op.minimum, call(relax.op.min, data), zero)
    extent = call(relax.op.subtract, high, low)
    empty = call(relax.op.equal, extent, zero)
    scale = call(relax.op.where, empty, one, call(relax.op.divide, extent, most))
    point = call(relax.op.subtract, zero, call(relax.op.divide, low, scale))
    point = call(relax.op.round, call(relax.op.clip, point, 0, _LARGEST))
    point = call(relax.op.astype, point, "uint8")
    quantized = relax.op.quantize(data, scale, point, axis=0, out_dtype="uint8")
    return relax.Tuple([builder.normalize(quantized), scale, point])
