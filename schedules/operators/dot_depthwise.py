"""Depthwise convolution of NHWC bytes by instructions that sum four products.

The four are taps of neighbouring kernel rows. A kernel of three rows and stride 1:

    word [x, c]       = pixels (y, x, c) (y + 1, x, c) (y + 2, x, c) (y + 3, x, c)
    result [y, x, c]     += word [x + j, c] . (w[0, j, c], w[1, j, c], w[2, j, c], 0)
    result [y + 1, x, c] += word [x + j, c] . (0, w[0, j, c], w[1, j, c], w[2, j, c])

So one word is made once, of four vectors of channels, for two rows of the result and all kernel
columns. The border is of words too, so that no sum asks where it is: its bytes are the zero point.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autoglm_tvm.schedules.intrinsics.byte_sign import byte_of_sign, number_of_sign
from autoglm_tvm.schedules.intrinsics.dot_product import DotProduct
from autoglm_tvm.schedules.intrinsics.operators import dot, interleave
from autoglm_tvm.schedules.operators.contraction import wide
from autoglm_tvm.schedules.operators.conv2d import Window
from autoglm_tvm.schedules.workload import WORKLOAD

if TYPE_CHECKING:
    import numpy as np

# Annotation of each block, by which the rule finds it: what part it plays.
ROLE = "dot_depthwise.role"
# Annotation of the block that sums: rows, columns and channels of a tile, lanes of a vector.
TILE = "dot_depthwise.tile"
# Annotation of the block of words: columns before the image, and its own.
BORDER = "dot_depthwise.border"
# Rows of the image in a word.
GROUP = 4
# Steps of a tile that are unrolled together: one instruction each.
_MOST_UNROLLED = 600


@dataclass(frozen=True)
class DotTile:
    """How the result is cut.

    Attributes
    ----------
    rows
        Rows of the result that the same words give.
    words
        Words of a column, one below the other.
    columns
        Pixels of a row that are summed together.
    channels
        Channels that are: a few vectors.
    lanes
        Of a vector of words.
    """

    rows: int
    words: int
    columns: int
    channels: int
    lanes: int

    def unrolls(self, kernel_width: int) -> bool:
        """Whether all steps of a tile are unrolled."""
        sums = self.rows * self.columns * self.channels // self.lanes
        return sums * self.words * kernel_width <= _MOST_UNROLLED


def row_plan(window: Window) -> tuple[int, int]:
    """Rows of the result, and words of a column that hold all rows that they read."""
    height, stride, dilation = window.kernel[0], window.strides[0], window.dilation[0]
    words = -(-height // GROUP)
    rows = 1 if dilation > 1 else (GROUP * words - height) // stride + 1
    return rows, words


def pack_dot_depthwise(weight: np.ndarray, window: Window, tile: DotTile) -> np.ndarray:
    """Int8 OHWI with one input channel to words [pieces, rows, words, KW, tile.channels]."""
    import numpy as np

    outputs, height, width, _ = weight.shape
    pieces = -(-outputs // tile.channels)
    taps = np.zeros((height, width, pieces * tile.channels), np.int8)
    taps[..., :outputs] = weight[..., 0].transpose(1, 2, 0)
    shape = (tile.rows, tile.words * GROUP, width, pieces * tile.channels)
    filled = np.zeros(shape, np.int8)
    for row in range(tile.rows):
        first = row * window.strides[0]
        filled[row, first : first + height] = taps
    words = filled.reshape(tile.rows, tile.words, GROUP, width, pieces, tile.channels)
    ordered = np.ascontiguousarray(words.transpose(4, 0, 1, 3, 5, 2))
    return ordered.view(np.int32)[..., 0]


def pack_start(start: np.ndarray, tile: DotTile) -> np.ndarray:
    """Int32 [C], filled up with zeros to whole pieces."""
    import numpy as np

    return np.pad(start.astype(np.int32), (0, -len(start) % tile.channels))


def dot_depthwise_conv2d(
    data: Any,
    weight: Any,
    window: Window,
    tile: DotTile,
    instruction: DotProduct,
    fill: Any,
    start: Any = None,
    workload: str = "",
) -> Any:
    """`data` [B, H, W, C] convolved to int32 [B, OH, OW, C].

    Parameters
    ----------
    data
        Of `instruction.left` or the type of the same size and the other sign, whose numbers are
        then moved by 128 into the range of `instruction.left`. Width and channels are known.
    weight
        What `pack_dot_depthwise` returned.
    window
        Kernel, strides, dilation, padding.
    tile
        How the result is cut; its rows and words are those of `row_plan`.
    instruction
        One that sums four products.
    fill
        The number of `data` that the border is made of: a number or a tensor of one element.
    start
        What the sums of a channel begin with, [pieces * tile.channels]; None for zero. Only for a
        tile that `unrolls`.
    workload
        By which records know it.
    """
    from tvm import te, tirx

    batch, height, width, channels = data.shape
    out_height, out_width = window.output(height, width)
    tiles, pieces = -(-int(out_width) // tile.columns), weight.shape[0]
    image = _words(data, window, tile, instruction, fill, (tiles, pieces))
    down: Any = te.reduce_axis((0, tile.words), "down")
    across: Any = te.reduce_axis((0, window.kernel[1]), "across")

    def total(at: Any, band: Any, piece: Any, block: Any, row: Any, pixel: Any, lane: Any) -> Any:
        column = (block * tile.columns + pixel) * window.strides[1] + across * window.dilation[1]
        left = image(at, band, down, column, piece * tile.channels + lane)
        product = dot(instruction, left, weight(piece, row, down, across, lane))
        if start is not None:
            # What the first product is added to.
            is_first = tirx.all(down == 0, across == 0)
            begin = start(piece * tile.channels + lane)
            product = product + tirx.if_then_else(is_first, begin, tirx.const(0, "int32"))
        return te.sum(product, axis=[down, across])

    shape = [batch, (out_height + tile.rows - 1) // tile.rows, pieces, tiles]
    shape += [tile.rows, tile.columns, tile.channels]
    numbers = [tile.rows, tile.columns, tile.channels, tile.lanes]
    marks: dict[str, Any] = {ROLE: "sum", TILE: numbers} | (
        {WORKLOAD: workload} if workload else {}
    )
    sums: Any = te.compute([wide(extent) for extent in shape], total, "depthwise", attrs=marks)

    def element(at: Any, row: Any, column: Any, channel: Any) -> Any:
        piece, lane = channel // tile.channels, channel % tile.channels
        block, pixel = column // tile.columns, column % tile.columns
        return sums(at, row // tile.rows, piece, block, row % tile.rows, pixel, lane)

    result = [wide(extent) for extent in (batch, out_height, out_width, channels)]
    return te.compute(result, element, name="result", attrs={ROLE: "result"})


def _words(
    data: Any,
    window: Window,
    tile: DotTile,
    instruction: DotProduct,
    fill: Any,
    count: tuple[int, int],
) -> Any:
    """The image in its border as words [B, bands, words, columns, channels]."""
    from tvm import te, tirx

    batch, height, width, channels = data.shape
    top, left, _, _ = window.padding
    out_height = window.output(height, width)[0]
    tiles, pieces = count
    reach = (window.kernel[1] - 1) * window.dilation[1] + 1
    columns = (tiles * tile.columns - 1) * window.strides[1] + reach
    dtype, wanted = str(data.dtype), instruction.left
    last = (tile.rows - 1) * window.strides[0] + window.kernel[0]

    def element(at: Any, band: Any, down: Any, column: Any, channel: Any) -> Any:
        border = number_of_sign(fill, dtype, wanted)
        first = band * (tile.rows * window.strides[0]) - top

        def pixel(number: int) -> Any:
            # What no kernel row reads is multiplied by zero.
            if tile.words == 1 and number >= last:
                return border
            row = first + (down * GROUP + number) * window.dilation[0]
            inside = tirx.all(row >= 0, row < height)
            value = byte_of_sign(data(at, row, column - left, channel), dtype, wanted)
            return tirx.if_then_else(inside, value, border)

        inside = tirx.all(column >= left, column < width + left)
        if int(channels) % tile.channels:
            inside = tirx.all(inside, channel < channels)
        return tirx.if_then_else(
            inside,
            interleave(*(pixel(number) for number in range(GROUP))),
            interleave(*[border] * GROUP),
        )

    bands = (out_height + tile.rows - 1) // tile.rows
    shape = [batch, bands, tile.words, columns, pieces * tile.channels]
    marks = {ROLE: "words", BORDER: [left, int(width)]}
    return te.compute([wide(extent) for extent in shape], element, name="words", attrs=marks)
