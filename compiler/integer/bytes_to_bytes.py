"""From one scale to another, without a product between: what a Q behind a DQ does.

    Y = saturate(round((A - za) sa / sy) + zy)

There are only 256 different bytes, so the float32 chain is compared with ONNX's definition, which
divides instead of multiplying by m = sa / sy, for all of them; where rounding makes a difference,
the chain divides too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoglm_tvm.compiler.integer.bench import Bench
from autoglm_tvm.compiler.integer.quantization import Quantization, Quantized
from autoglm_tvm.compiler.integer.requantize import (
    FIXED_POINT,
    clip_range,
    requantize,
    to_bytes,
    to_real,
)

if TYPE_CHECKING:
    import numpy as np

_INFINITE = float("inf")
NO_BOUNDS = (-_INFINITE, _INFINITE)


def bytes_to_bytes(
    bench: Bench,
    source: Quantized,
    how: Quantization,
    output: str,
    bounds: tuple[float, float] = NO_BOUNDS,
    method: str = "float32",
) -> None:
    """Make the bytes `output` that stand, as `how` says, for what `source` stands for."""
    import numpy as np

    centred = bench.centred(source, output)
    multiplier = np.asarray(source.how.scale / how.scale, np.float32)
    if method == FIXED_POINT or multiplication_is_exact(source.how, how):
        requantize(bench, centred, multiplier, bounds, how, output, method)
        return
    real = to_real(bench, centred, source.how.scale, bench.fresh(f"{output}/real"))
    scale = bench.new_constant(how.scale, "scale")
    divided = bench.add("Div", real, scale, output=bench.fresh(f"{output}/scaled"))
    zero = int(how.zero_point)
    low, high = clip_range(bounds, how)
    to_bytes(bench, divided, low - zero, high - zero, how, output, zero)


def multiplication_is_exact(source: Quantization, how: Quantization) -> bool:
    """Whether round((A - za) m) is round(((A - za) sa) / sy) for all 256 bytes."""
    import numpy as np

    integers = np.arange(source.lowest, source.highest + 1) - source.zero_point
    centred = integers.astype(np.float32)
    defined = np.rint((centred * source.scale) / how.scale)
    multiplied = np.rint(centred * np.float32(source.scale / how.scale))
    return bool(np.array_equal(defined, multiplied))


def quantize_constant(value: np.ndarray, how: Quantization) -> np.ndarray:
    """Return the bytes that QuantizeLinear makes of a float32 constant."""
    import numpy as np

    whole = np.rint(value.astype(np.float32) / how.scale) + how.zero_point
    return np.clip(whole, how.lowest, how.highest).astype(how.dtype)
