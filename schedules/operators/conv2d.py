"""2-D convolution of NHWC activations with a packed constant weight, as a contraction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autoglm_tvm.schedules.operators.contraction import ROLE, contract, unpack, wide
from autoglm_tvm.schedules.operators.matmul import accumulator, pack_panels
from autoglm_tvm.schedules.tiles import Tile

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Window:
    """How the kernel of a convolution moves over the image.

    Attributes
    ----------
    kernel, strides, dilation
        (height, width) each.
    padding
        (top, left, bottom, right).
    groups
        Groups of channels that are convolved apart.
    """

    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilation: tuple[int, int]
    padding: tuple[int, int, int, int]
    groups: int

    def output(self, height: Any, width: Any) -> tuple[Any, Any]:
        """Height and width of the result for an image of `height` x `width`."""
        top, left, bottom, right = self.padding
        sizes = []
        for at, extent in enumerate((height + top + bottom, width + left + right)):
            reach = self.dilation[at] * (self.kernel[at] - 1) + 1
            sizes.append((extent - reach) // self.strides[at] + 1)
        return sizes[0], sizes[1]

    @property
    def is_pointwise(self) -> bool:
        """Whether it is a matrix product of every pixel with one matrix."""
        one = (1, 1)
        still = self.kernel == one and self.strides == one and not any(self.padding)
        return still and self.groups == 1

    @property
    def runs(self) -> bool:
        """Whether one kernel row reads a contiguous run of pixels."""
        return self.dilation[1] == 1 and self.groups == 1


def reduced_axes(window: Window, channels: int) -> list[int]:
    """Extents of the reduced axes for `channels` input channels of a group."""
    height, width = window.kernel
    return [height, width * channels] if window.runs else [height, width, channels]


def pack_conv2d(weight: np.ndarray, window: Window, columns: int) -> np.ndarray:
    """OHWI to [panels, \\*reduced axes, columns]; the panels of a group end with the group."""
    import numpy as np

    out_channels, height, width, channels = weight.shape
    of_group = out_channels // window.groups
    matrix = weight.reshape(window.groups, of_group, height * width * channels)
    packed = pack_panels(np.ascontiguousarray(matrix.transpose(0, 2, 1)), columns)
    return packed.reshape(-1, *reduced_axes(window, channels), columns)


def packed_conv2d(
    data: Any,
    weight: Any,
    window: Window,
    channels: int,
    tile: Tile,
    dtype: str,
    workload: str = "",
    chunk: int = 0,
) -> Any:
    """`data` [B, H, W, C] convolved to [B, OH, OW, channels].

    Parameters
    ----------
    data
        The image.
    weight
        What `pack_conv2d` returned.
    window
        Kernel, strides, dilation, padding, groups.
    channels
        Output channels.
    tile
        Its rows are pixels of one row of the image. With groups, it divides their channels.
    dtype
        Of the result; sums are float32.
    workload
        By which records know it.
    chunk
        So many products are summed in float16; 0 for none.
    """
    from autoglm_tvm.schedules.kernel import constant

    extents: list[Any] = [
        extent if constant(extent) is None else constant(extent) for extent in data.shape
    ]
    batch, height, width, in_channels = extents
    out_height, out_width = window.output(height, width)
    image = padded(data, window, {ROLE: "pad"})
    of_group = in_channels // window.groups
    out_of_group = channels // window.groups
    panels_of_group = -(-out_of_group // tile.columns)
    if window.groups > 1 and out_of_group % tile.columns:
        raise ValueError("panels have to end with their group")

    def lhs(outer: Any, column: Any, panel: Any, at: Any) -> Any:
        image_at, row = outer[0], outer[1] * window.strides[0] + at[0] * window.dilation[0]
        first = column * window.strides[1]
        if window.runs:
            flat = first * in_channels + at[1]
            return image(image_at, row, flat // in_channels, flat % in_channels)
        group = panel // panels_of_group if window.groups > 1 else 0
        return image(image_at, row, first + at[1] * window.dilation[1], group * of_group + at[2])

    def rhs(_outer: Any, panel: Any, at: Any, column: Any) -> Any:
        return weight(panel, *at, column)

    tiles = contract(
        lhs,
        rhs,
        reduced_axes(window, of_group),
        [batch, out_height],
        out_width,
        window.groups * panels_of_group,
        tile,
        accumulator(str(data.dtype)),
        workload=workload,
        chunk=chunk,
    )
    return unpack(
        tiles,
        [batch, out_height, out_width, channels],
        lambda image_at, row, column: ((image_at, row), column),
        lambda channel: (channel // tile.columns, channel % tile.columns),
        tile,
        dtype,
    )


def padded(data: Any, window: Window, marks: dict[str, Any]) -> Any:
    """`data` [B, H, W, C] in a border of zeros, if it needs one; `marks` annotate the block."""
    from tvm import te, tirx

    if not any(window.padding):
        return data
    top, left, bottom, right = window.padding
    batch, height, width, channels = data.shape
    zero = tirx.const(0, str(data.dtype))

    def element(image: Any, row: Any, column: Any, channel: Any) -> Any:
        inside = tirx.all(row >= top, row < height + top, column >= left, column < width + left)
        return tirx.if_then_else(inside, data(image, row - top, column - left, channel), zero)

    shape = (batch, height + top + bottom, width + left + right, channels)
    shape = [wide(extent) for extent in shape]
    return te.compute(shape, element, name="pad", attrs=marks)
