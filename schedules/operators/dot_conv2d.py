"""2-D convolution of NHWC bytes in words of neighbours, as `dot_matmul.py` multiplies them.

A kernel row reads a run of kernel columns x channels, which lies in order. Words go over the run's
end where it fills no whole number of them: there the weight is zero, and an image that is copied
anyway, or for this, ends with a column that may be read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autoglm_tvm.schedules.intrinsics.byte_sign import (
    byte_of_sign,
    number_of_sign,
    word_of_sign,
)
from autoglm_tvm.schedules.intrinsics.dot_product import DotProduct
from autoglm_tvm.schedules.intrinsics.operators import dot, word
from autoglm_tvm.schedules.kernel import constant
from autoglm_tvm.schedules.operators.contraction import IMAGE, ROLE, contract, unpack, wide
from autoglm_tvm.schedules.operators.conv2d import Window
from autoglm_tvm.schedules.operators.dot_matmul import pack_words
from autoglm_tvm.schedules.operators.pair_matmul import contract_pairs, unpack_pairs
from autoglm_tvm.schedules.tiles import Tile

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Runs:
    """What each step of the outer reduced axes reads in order.

    Attributes
    ----------
    outer
        Extents of the reduced axes but the last.
    length
        Elements of a run.
    words
        Groups of the instruction that hold them.
    past
        Elements of the last group behind the run's end.
    """

    outer: tuple[int, ...]
    length: int
    words: int
    past: int


def runs_of(window: Window, of_group: int, instruction: DotProduct) -> Runs:
    """Those of a window over `of_group` input channels of a group."""
    height, width = window.kernel
    outer, length = ((height,), width * of_group) if window.runs else ((height, width), of_group)
    words = -(-length // instruction.group)
    return Runs(outer, length, words, words * instruction.group - length)


def pack_conv2d_words(
    weight: np.ndarray, window: Window, columns: int, instruction: DotProduct
) -> np.ndarray:
    """Int8 OHWI to words [panels, \\*outer reduced axes, words, columns].

    The panels of a group end with the group. `columns` are those of the tile.
    """
    import numpy as np

    out_channels, *_, of_group = weight.shape
    runs = runs_of(window, of_group, instruction)
    flat = weight.reshape(out_channels, *runs.outer, runs.length)
    filled = np.pad(flat, [(0, 0)] * (flat.ndim - 1) + [(0, runs.past)])
    groups = filled.reshape(window.groups, out_channels // window.groups, -1)
    panels = [pack_words(group.T, columns, instruction) for group in groups]
    packed = np.concatenate(panels)
    return packed.reshape(-1, *runs.outer, runs.words, packed.shape[-1])


def dot_conv2d(
    data: Any,
    weight: Any,
    window: Window,
    channels: int,
    tile: Tile,
    instruction: DotProduct,
    fill: Any,
    workload: str = "",
    bias: Any = None,
) -> Any:
    """`data` [B, H, W, C] convolved to int32 [B, OH, OW, channels].

    Parameters
    ----------
    data
        Of `instruction.left` or the type of the same size and the other sign, whose numbers are
        then moved by 128 into the range of `instruction.left`.
    weight
        What `pack_conv2d_words` returned.
    window
        Kernel, strides, dilation, padding, groups.
    channels
        Output channels.
    tile
        Its rows are pixels of one row of the image. With groups, it divides their channels.
    instruction
        What multiplies words.
    fill
        The number of `data` that the border is made of: a number or a tensor of one element.
    workload
        By which records know it.
    bias
        Int32 [channels] that is added; None for nothing.
    """
    extents: list[Any] = [constant(extent) or extent for extent in data.shape]
    batch, height, width, in_channels = extents
    out_height, out_width = window.output(height, width)
    of_group = in_channels // window.groups
    runs = runs_of(window, of_group, instruction)
    image = _image(data, window, out_width, runs, instruction, fill)
    panels_of_group = weight.shape[0] // window.groups

    def word_at(outer: Any, column: Any, panel: Any, at: Any, element: Any) -> Any:
        row = outer[1] * window.strides[0] + at[0] * window.dilation[0]
        pixel = column * window.strides[1]
        start = at[-1] * instruction.group + element
        if not window.runs:
            pixel = pixel + at[1] * window.dilation[1]
        if window.groups > 1:
            start = start + panel // panels_of_group * of_group
        first = pixel * in_channels + start
        if image is data:
            loaded = word(data(outer[0], row, first // in_channels, first % in_channels))
        else:
            # TVM cuts the copy down to the elements that it sees read.
            last = first + _word_elements(instruction) - 1
            loaded = word(image(outer[0], row, first), image(outer[0], row, last))
        return word_of_sign(loaded, str(image.dtype), instruction.left)

    reduced, outer = [*runs.outer, runs.words], [batch, out_height]
    shape = [*outer, out_width, channels]

    def row_of(image_at: Any, row: Any, column: Any) -> Any:
        return (image_at, row), column

    if instruction.in_pairs:
        tiles = contract_pairs(
            word_at, weight, reduced, outer, out_width, tile, instruction, workload
        )
        return unpack_pairs(tiles, shape, row_of, tile, bias)
    tiles = contract(
        lambda before, column, panel, at: word_at(before, column, panel, at, 0),
        lambda _outer, panel, at, column: weight(panel, *at, column),
        reduced,
        outer,
        out_width,
        weight.shape[0],
        tile,
        "int32",
        lambda left, right: dot(instruction, left, right),
        workload=workload,
    )
    return unpack(
        tiles,
        shape,
        row_of,
        lambda channel: (channel // tile.columns, channel % tile.columns),
        tile,
        "int32",
        bias,
    )


def _word_elements(instruction: DotProduct) -> int:
    """Elements of the left operand in 32 bits."""
    return 2 if instruction.left == "int16" else 4


def _image(
    data: Any,
    window: Window,
    out_width: Any,
    runs: Runs,
    instruction: DotProduct,
    fill: Any,
) -> Any:
    """`data` in its border, with the sign that the instruction takes: [B, H, W * C].

    `data` itself if it needs no copy. Where groups of the instruction begin in the midst of a
    pixel, TVM finds only of a row of elements that words lie in order.
    """
    from tvm import te, tirx

    top, left, bottom, right = window.padding
    batch, height, width, channels = data.shape
    right += _columns_past(window, out_width, width, channels, runs)
    crossing = window.runs and window.kernel[1] > 1 and int(channels) % instruction.group
    if not any((top, left, bottom, right)) and not crossing:
        return data
    dtype, before, inside = str(data.dtype), left * channels, width * channels

    def element(at: Any, row: Any, flat: Any) -> Any:
        border = number_of_sign(fill, dtype, instruction.left)
        column, channel = (flat - before) // channels, (flat - before) % channels
        value = byte_of_sign(data(at, row - top, column, channel), dtype, instruction.left)
        in_row = tirx.all(flat >= before, flat < before + inside)
        value = tirx.if_then_else(in_row, value, border)
        # Apart, so that a whole row may be found inside of the image.
        return tirx.if_then_else(tirx.all(row >= top, row < height + top), value, border)

    marks: dict[str, Any] = {ROLE: "pad"}
    if constant(inside) is not None:
        marks[IMAGE] = [int(before), int(inside)]
    shape = (batch, height + top + bottom, (width + left + right) * channels)
    return te.compute([wide(extent) for extent in shape], element, name="pad", attrs=marks)


def _columns_past(window: Window, out_width: Any, width: Any, channels: Any, runs: Runs) -> Any:
    """Columns that have to follow the padded image, so that words may go over the runs' end."""
    if not runs.past:
        return 0
    left, right = window.padding[1], window.padding[3]
    past = -(-runs.past // int(channels))
    if not isinstance(out_width, int):
        return past
    last = (out_width - 1) * window.strides[1] + (window.kernel[1] - 1) * window.dilation[1]
    return max(0, last + 1 + past - (int(width) + left + right))
