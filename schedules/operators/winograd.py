"""3x3 convolution with fewer multiplications: Winograd's algorithm on NHWC activations.

A tile of m x m results takes (m + 2)^2 products in place of 9 m^2: 36 in place of 144 for m = 4
(Lavin and Gray, 2016, "Fast algorithms for convolutional neural networks"):

    result = A^T [sum over channels of (G w G^T) * (B^T d B)] A

Each of the (m + 2)^2 products is a matrix product, of the transformed image [tiles, channels] with
the transformed weight [channels, output channels], which is transformed and packed at compile time.

Sums are float32. An infinity or NaN in the image spreads over the tile of m x m results that read
it, not only over the 3 x 3 nearest; so do sums beyond the range of float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from autoglm_tvm.schedules.operators.contraction import contract, wide
from autoglm_tvm.schedules.operators.matmul import pack_panels
from autoglm_tvm.schedules.winograd_plan import Plan
from autoglm_tvm.schedules.winograd_transforms import Transforms

if TYPE_CHECKING:
    import numpy as np

# Annotation of each block but those of `contract`: what part it plays.
ROLE = "winograd.role"
# Annotation of every such block: rows of a tile of results, tiles in a chunk, panels in parallel.
PLAN = "winograd.plan"


def pack_winograd(weight: np.ndarray, transforms: Transforms, columns: int) -> np.ndarray:
    """OHWI to [panels, size, size, I, columns], transformed."""
    import numpy as np

    panels = pack_panels(transforms.weight(weight), columns)
    return np.ascontiguousarray(np.moveaxis(panels, 2, 0))


def winograd_conv2d(
    data: Any,
    weight: Any,
    padding: tuple[int, int, int, int],
    plan: Plan,
    dtype: str,
    workload: str = "",
) -> Any:
    """`data` [B, H, W, C] convolved to [B, OH, OW, channels].

    Parameters
    ----------
    data
        The image, float32.
    weight
        What `pack_winograd` returned.
    padding
        Rows and columns of zeros: top, left, bottom, right.
    plan
        Sizes, and how the work is cut.
    dtype
        Of the result.
    workload
        By which records know it.
    """
    image = _transform_image(data, padding, plan)
    products = _multiply(image, weight, plan, workload)
    return _place(_transform_products(products, plan), plan, dtype)


def _transform_image(data: Any, padding: tuple[int, int, int, int], plan: Plan) -> Any:
    """B^T d B: [B, chunks, size, size, tiles of a chunk, C]."""
    from tvm import tirx

    transforms, (_, across) = plan.transforms, plan.grid
    size, outputs = transforms.size, transforms.outputs
    batch, height, width, channels = data.shape
    top, left, _, _ = padding

    def pixel(image: Any, chunk: Any, within: Any, row: Any, column: Any, channel: Any) -> Any:
        # Tiles that fill up the last chunk are below the image; their results are dropped.
        tile = chunk * plan.chunk + within
        y = tile // across * outputs + row - top
        x = tile % across * outputs + column - left
        inside = tirx.all(y >= 0, y < height, x >= 0, x < width)
        zero = tirx.const(0, str(data.dtype))
        return tirx.if_then_else(inside, data(image, y, x, channel), zero)

    shape = (batch, plan.chunks, plan.chunk, size, size, channels)
    pixels = _compute(shape, pixel, "pixels", plan)

    def down_columns(*at: Any) -> Any:
        *tile, row, column, channel = at
        values = [pixels(*tile, each, column, channel) for each in range(size)]
        return _one_of(row, size, lambda each: transforms.input_row(each, values))

    columns = _compute(shape, down_columns, "image_columns", plan)

    def along_rows(*at: Any) -> Any:
        *chunk, row, column, within, channel = at
        values = [columns(*chunk, within, row, each, channel) for each in range(size)]
        return _one_of(column, size, lambda each: transforms.input_row(each, values))

    shape = (batch, plan.chunks, size, size, plan.chunk, channels)
    return _compute(shape, along_rows, "image", plan)


def _multiply(image: Any, weight: Any, plan: Plan, workload: str) -> Any:
    """The matrix products: [B, chunks, panels, size, size, tiles of a chunk, columns]."""
    size, tile, batch = plan.transforms.size, plan.tile, plan.result[0]
    tiles = contract(
        lambda outer, row, _panel, at: image(*outer, row, *at),
        lambda outer, panel, at, column: weight(panel, *outer[2:], *at, column),
        [plan.in_channels],
        [batch, plan.chunks, size, size],
        plan.chunk,
        plan.panels,
        tile,
        "float32",
        workload=workload,
    )

    def element(*at: Any) -> Any:
        image, chunk, panel, row, column, within, channel = at
        block, line = within // tile.rows, within % tile.rows
        return tiles(image, chunk, row, column, block, panel, line, channel)

    shape = (batch, plan.chunks, plan.panels, size, size, plan.chunk, tile.columns)
    return _compute(shape, element, "products", plan)


def _transform_products(products: Any, plan: Plan) -> Any:
    """A^T products A: [B, chunks, panels, tiles of a chunk, m, m, columns]."""
    transforms = plan.transforms
    size, outputs = transforms.size, transforms.outputs
    leading = (plan.result[0], plan.chunks, plan.panels, plan.chunk)

    def down_columns(*at: Any) -> Any:
        *panel, within, row, column, channel = at
        values = [products(*panel, each, column, within, channel) for each in range(size)]
        return _one_of(row, outputs, lambda each: transforms.output_row(each, values))

    shape = (*leading, outputs, size, plan.tile.columns)
    columns = _compute(shape, down_columns, "result_columns", plan)

    def along_rows(*at: Any) -> Any:
        *row, column, channel = at
        values = [columns(*row, each, channel) for each in range(size)]
        return _one_of(column, outputs, lambda each: transforms.output_row(each, values))

    shape = (*leading, outputs, outputs, plan.tile.columns)
    return _compute(shape, along_rows, "result", plan)


def _place(tiles: Any, plan: Plan, dtype: str) -> Any:
    """Read tiles of results in the layout of the graph."""
    outputs, columns = plan.transforms.outputs, plan.tile.columns
    _, across = plan.grid

    def element(image: Any, row: Any, column: Any, channel: Any) -> Any:
        tile = row // outputs * across + column // outputs
        value = tiles(
            image,
            tile // plan.chunk,
            channel // columns,
            tile % plan.chunk,
            row % outputs,
            column % outputs,
            channel % columns,
        )
        return value.astype(dtype)

    return _compute((*plan.result, plan.channels), element, "unpack", plan)


def _compute(shape: Sequence[Any], element: Callable[..., Any], name: str, plan: Plan) -> Any:
    from tvm import te

    numbers = [plan.transforms.outputs, plan.chunk, int(plan.by_panels)]
    extents = [wide(extent) for extent in shape]
    return te.compute(extents, element, name=name, attrs={ROLE: name, PLAN: numbers})


def _one_of(index: Any, count: int, value: Callable[[int], Any]) -> Any:
    """The value at `index`, which is a constant as soon as its loop is unrolled."""
    from tvm import tirx

    chosen = value(count - 1)
    for at in reversed(range(count - 1)):
        chosen = tirx.Select(index == at, value(at), chosen)
    return chosen
