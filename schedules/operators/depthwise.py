"""Depthwise convolution of NHWC activations: every channel with kernels of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autoglm_tvm.schedules.kernel import constant
from autoglm_tvm.schedules.operators.contraction import wide
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


def depthwise_conv2d(
    data: Any,
    weight: Any,
    window: Window,
    dtype: str,
    workload: str = "",
    zero_point: int | None = None,
) -> Any:
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
    zero_point
        Of an image of bytes: it is taken away from each pixel, so that the border is zeros. The
        image is converted to the type of the weight where it is read; products and sums of that
        type must be exact.
    """
    from tvm import te

    batch, height, width, _ = data.shape
    kernel_height, kernel_width, outputs = weight.shape
    out_height, out_width = window.output(height, width)
    repeated = _repeat(data, outputs)
    if zero_point is None:
        image: Any = padded(repeated, window, {ROLE: "pad"})
    else:
        image = _centred(repeated, window, zero_point, str(weight.dtype))
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


def _centred(data: Any, window: Window, zero_point: int, dtype: str) -> Any:
    """Bytes less their zero point, as `dtype`, in a border of zeros."""
    from tvm import te, tirx

    top, left, bottom, right = window.padding
    batch, height, width, channels = data.shape

    def element(image: Any, row: Any, column: Any, channel: Any) -> Any:
        pixel = data(image, row - top, column - left, channel).astype("int16")
        value = (pixel - tirx.const(zero_point, "int16") if zero_point else pixel).astype(dtype)
        if not any(window.padding):
            return value
        inside = tirx.all(row >= top, row < height + top, column >= left, column < width + left)
        return tirx.if_then_else(inside, value, tirx.const(0, dtype))

    shape = (batch, height + top + bottom, width + left + right, channels)
    return te.compute([wide(extent) for extent in shape], element, name="pad", attrs={ROLE: "pad"})


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
