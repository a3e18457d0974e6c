"""Layer, group and RMS norm as tensor expressions: the root once for a row, halves in float32."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from autoglm_tvm.schedules.operators.softmax import widened


def layer_norm(x: Any, gain: Any, shift: Any, axes: Sequence[int], epsilon: float) -> Any:
    """(x - mean) / sqrt(variance + epsilon) * gain + shift over the last axes `axes`."""
    rank = len(x.shape) - len(axes)
    return _standardised(x, gain, shift, rank, epsilon, lambda i: i[rank:], "layer_norm")


def group_norm(x: Any, gain: Any, shift: Any, epsilon: float) -> Any:
    """`layer_norm` over all axes but the first two of [batch, groups, channels of a group, ...].

    `gain` and `shift` are [groups, channels of a group].
    """
    return _standardised(x, gain, shift, 2, epsilon, lambda i: i[1:3], "group_norm")


def _standardised(
    x: Any,
    gain: Any,
    shift: Any,
    rank: int,
    epsilon: float,
    factor: Callable[[tuple[Any, ...]], tuple[Any, ...]],
    name: str,
) -> Any:
    """The norm over the axes from `rank` on; `factor` selects the indices of gain and shift."""
    from tvm import te, tirx

    wide, gain, shift = widened(x), widened(gain), widened(shift)
    dtype = str(wide.dtype)
    size = _elements(x, rank).astype(dtype)
    total = _row_sum(wide, rank, "norm_sum")
    mean: Any = te.compute(total.shape, lambda *i: total(*i) / size, name="norm_mean")
    deviation: Any = te.compute(
        x.shape, lambda *i: wide(*i) - mean(*i[:rank]), name="norm_deviation"
    )
    square: Any = te.compute(x.shape, lambda *i: deviation(*i) * deviation(*i), name="norm_square")
    variance = _row_sum(square, rank, "norm_square_sum")
    scale: Any = te.compute(
        total.shape,
        lambda *i: tirx.rsqrt(variance(*i) / size + tirx.const(epsilon, dtype)),
        name="norm_scale",
    )

    def element(*i: Any) -> Any:
        standard = deviation(*i) * scale(*i[:rank])
        return (standard * gain(*factor(i)) + shift(*factor(i))).astype(str(x.dtype))

    return te.compute(x.shape, element, name=name)


def rms_norm(x: Any, gain: Any, axes: Sequence[int], epsilon: float) -> Any:
    """x / sqrt(mean of x^2 + epsilon) * gain over the last axes `axes`."""
    from tvm import te, tirx

    wide, gain = widened(x), widened(gain)
    dtype = str(wide.dtype)
    rank = len(x.shape) - len(axes)
    size = _elements(x, rank).astype(dtype)
    square: Any = te.compute(x.shape, lambda *i: wide(*i) * wide(*i), name="norm_square")
    total = _row_sum(square, rank, "norm_square_sum")
    scale: Any = te.compute(
        total.shape,
        lambda *i: tirx.rsqrt(total(*i) / size + tirx.const(epsilon, dtype)),
        name="norm_scale",
    )
    return te.compute(
        x.shape,
        lambda *i: (wide(*i) * scale(*i[:rank]) * gain(*i[rank:])).astype(str(x.dtype)),
        name="rms_norm",
    )


def _row_sum(x: Any, rank: int, name: str) -> Any:
    """The sum over the axes from `rank` on."""
    from tvm import te

    reduced = [te.reduce_axis((0, extent), f"k{i}") for i, extent in enumerate(x.shape[rank:])]
    return te.compute(x.shape[:rank], lambda *i: te.sum(x(*i, *reduced), axis=reduced), name=name)


def _elements(x: Any, rank: int) -> Any:
    from tvm import tirx

    return prod(x.shape[rank:], start=tirx.const(1, "int64"))
