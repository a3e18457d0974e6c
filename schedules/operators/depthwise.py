"""Depthwise convolution of NHWC activations: every channel with kernels of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autoglm_tvm.schedules.kernel import constant
from autoglm_tvm.schedules.operators.conv2d import Window, padded
from autoglm_tvm.schedules.operators.matmul import accumulator
from autoglm_tvm.schedules.workload import WORKLOAD

if TYPE_CHECKING:
    import numpy as np

# Annotation of each block, by which the rule finds it: what part it plays.
ROLE = "depthwise.role"
# Annotation of the block that sums: stride, dilation and left padding of the columns.
COLUMNS = "depthwise.columns"
# Annotation of the block that repeats channels: how often.
REPEATS = "depthwise.repeats"


def is_depthwise(window: Window, in_channels: int) -> bool:
    """Whether each group has one input channel."""
    return window.groups == in_channels


def pack_depthwise(weight: np.ndarray) -> np.ndarray:
    """OHWI with one input channel to [KH, KW, O] in the type of the sums."""
    import numpy as np

    taps = weight[..., 0].transpose(1, 2, 0)
    return np.ascontiguousarray(taps, dtype=accumulator(str(weight.dtype)))


def depthwise_conv2d(data: Any, weight: Any, window: Window, dtype: str, workload: str = "") -> Any:
    """`data` [B, H, W, C] convolved to [B, OH, OW, C * M].

    Parameters
    ----------
    data
        The image.
    weight
        What `pack_depthwise` returned, [KH, KW, C * M]: channel o of the result is the sum over
        channel o // M of the image.
    window
        Kernel, strides, dilation, padding, groups.
    dtype
        Of the result; halves are summed in float32.
    workload
        By which records know it.
    """
    from tvm import te

    batch, height, width, _ = data.shape
    kernel_height, kernel_width, outputs = weight.shape
    out_height, out_width = window.output(height, width)
    image: Any = padded(_repeat(data, outputs), window, {ROLE: "pad"})
    rows: Any = te.reduce_axis((0, kernel_height), "kh")
    columns: Any = te.reduce_axis((0, kernel_width), "kw")

    def total(at: Any, row: Any, column: Any, channel: Any) -> Any:
        pixel = image(
            at,
            row * window.strides[0] + rows * window.dilation[0],
            column * window.strides[1] + columns * window.dilation[1],
            channel,
        )
        product = pixel.astype(weight.dtype) * weight(rows, columns, channel)
        return te.sum(product, axis=[rows, columns])

    shape = (batch, out_height, out_width, outputs)
    marks: dict[str, Any] = {ROLE: "sum"}
    marks[COLUMNS] = [window.strides[1], window.dilation[1], window.padding[1]]
    marks |= {WORKLOAD: workload} if workload else {}
    sums: Any = te.compute(shape, total, name="depthwise", attrs=marks)
    return te.compute(
        shape, lambda *at: sums(*at).astype(dtype), name="result", attrs={ROLE: "result"}
    )


def _repeat(data: Any, outputs: Any) -> Any:
    """Each channel of the image as often as it has kernels."""
    from tvm import te

    *pixels, channels = data.shape
    count = outputs // channels

    def element(*at: Any) -> Any:
        return data(*at[:-1], at[-1] // count)

    if constant(count) == 1:
        return data
    marks = {ROLE: "repeat", REPEATS: count}
    return te.compute((*pixels, outputs), element, name="repeat", attrs=marks)
