"""What float16 cannot hold: which tensors overflow in it, and which drown.

The largest number of float16 is 65504, the smallest normal one 6.1e-5. A layer past either end
gives infinities or zeros, and a network of zeros looks like one that works.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import onnx

Ranges = Mapping[str, tuple[float, float]]

#: The largest finite float16, and the smallest with all its bits.
LARGEST, SMALLEST = 65504.0, 2.0**-14
#: Other inputs than those of the calibration may go this many times as far.
MARGIN = 2.0
#: Share of the length of a channel's weights that rounding may take away: 20 times the usual. A
#: channel so weak that rounding the strongest one costs as much does not count.
_LOST, _NOISE = 0.01, 2.0**-12


def constant_problem(value: np.ndarray) -> str:
    """Say why a constant of float32 cannot be one of float16; empty where it can.

    Channels are looked at one by one, along the first and along the last axis.
    """
    import numpy as np

    largest = float(np.max(np.abs(value), initial=0.0))
    if largest > LARGEST:
        return f"its constant reaches {largest:.3g}, past float16's {LARGEST:.0f}"
    with np.errstate(under="ignore"):
        rounded = value.astype(np.float16).astype(np.float32)
    if _lost(value.reshape(1, -1), rounded.reshape(1, -1)):
        return f"its constant of at most {largest:.3g} drowns in float16"
    if value.ndim < 2:
        return ""
    for axis in (0, -1):
        rows = [np.moveaxis(a, axis, 0).reshape(value.shape[axis], -1) for a in (value, rounded)]
        lost = _lost(*rows)
        if lost:
            return f"{lost} of {value.shape[axis]} channels of its weight drown in float16"
    return ""


def _lost(rows: np.ndarray, rounded: np.ndarray) -> int:
    """How many rows lose more of their length than they may."""
    import numpy as np

    # Relative to the largest: squares of tiny numbers would be zeros.
    scale = np.abs(rows).max(initial=0.0) or 1.0
    lengths = np.linalg.norm(rows / scale, axis=1)
    errors = np.linalg.norm((rows - rounded) / scale, axis=1)
    heard = errors > _NOISE * lengths.max(initial=0.0)
    return int(np.count_nonzero(heard & (errors > _LOST * lengths)))


def range_problem(node: onnx.NodeProto, ranges: Ranges, bias: float = 0.0) -> str:
    """Say why what `node` reads or makes does not fit float16; empty where it does or is unknown.

    Parameters
    ----------
    ranges
        Smallest and largest value of tensors, as the calibration data gave them.
    bias
        The largest magnitude that is added to the node's sum: the sum alone may be that much more.
    """
    for words, names, extra in (("input", node.input, 0.0), ("output", node.output, bias)):
        for name in names:
            problem = _out_of_range(ranges.get(name), extra)
            if problem:
                return f"its {words} {name!r} {problem}"
    return ""


def sum_problem(node: onnx.NodeProto, weight: np.ndarray | None, ranges: Ranges) -> str:
    """Say why sums of products of halves could overflow on their way; empty where they cannot.

    Kernels sum short runs of products in float16. What bounds these is the largest input times the
    sum of magnitudes of one output's weights; of a convolution, of one row of its kernel.
    """
    import numpy as np

    data = ranges.get(node.input[0]) if node.input else None
    if weight is None or weight.ndim < 2 or data is None:
        return ""
    magnitudes = np.abs(weight)
    if node.op_type == "Conv":
        lengths = np.moveaxis(magnitudes, 2, -1) if weight.ndim > 2 else magnitudes[..., None]
        longest = lengths.reshape(len(weight), -1, lengths.shape[-1]).sum(axis=1).max(initial=0.0)
    else:
        longest = max(magnitudes.sum(axis=axis).max(initial=0.0) for axis in (-2, -1))
    most = float(longest) * max(abs(data[0]), abs(data[1]))
    if most <= LARGEST:
        return ""
    return f"its sums may reach {most:.3g} on their way; float16 ends at {LARGEST:.0f}"


def tensor_fits(name: str, ranges: Ranges | None) -> bool:
    """Whether a tensor is known to fit."""
    return ranges is not None and name in ranges and not _out_of_range(ranges[name], 0.0)


def _out_of_range(found: tuple[float, float] | None, extra: float) -> str:
    if found is None:
        return ""
    largest = max(abs(found[0]), abs(found[1]))
    if not largest + extra <= LARGEST / MARGIN:
        return f"reaches {largest + extra:.3g}; float16 ends at {LARGEST:.0f}"
    if 0 < largest < SMALLEST:
        return f"is at most {largest:.3g}; float16 has all its bits from {SMALLEST:.2g} on"
    return ""
