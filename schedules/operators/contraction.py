"""Matrix products and convolutions as one form: sums of products, computed in register tiles.

    tile[outer, row block, panel, row, column] = sum over k of lhs[.., row, k] * rhs[.., k, column]

The right operand lies in panels as wide as the tile, [panels][K][columns], so that the inner loop
reads it in order. A constant is packed at compile time. The left operand is read where it lies:
`lhs` is an index map, not a copy. A convolution in NHWC is the same sum, over kernel rows and over
the run of kernel columns and channels, which is contiguous in memory (implicit GEMM: Chetlur et
al., 2014, "cuDNN").

Rows past the end read the last row again, columns past the end are zeros of the packed weight or
the last column again; both are dropped when the tile is unpacked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from autoglm_tvm.schedules.kernel import constant
from autoglm_tvm.schedules.tiles import Tile
from autoglm_tvm.schedules.workload import WORKLOAD

# Annotation of each block, by which the rule finds it: what part it plays.
ROLE = "contraction.role"
# Annotations of the block that sums: the tile, and how many leading axes of the result are outer.
TILE = "contraction.tile"
OUTER = "contraction.outer"
# Rows, vectors and lanes that a tile has once it is unpacked, where they are others.
RESULT = "contraction.result"
# Annotation of the block that unpacks, where it adds a number to all sums of a column.
BIAS = "contraction.bias"
# Annotation of an image that is copied row by row: elements of a row before the image, and of it.
IMAGE = "contraction.image"


def contract(
    lhs: Any,
    rhs: Any,
    reduced: list[Any],
    outer: list[Any],
    rows: Any,
    panels: Any,
    tile: Tile,
    dtype: str,
    multiply: Callable[[Any, Any], Any] | None = None,
    result: tuple[int, int, int] | None = None,
    pieces: tuple[int, ...] = (),
    workload: str = "",
    chunk: int = 0,
) -> Any:
    """Sum products into tiles: shape (\\*outer, ceil(rows / tile.rows), panels, rows, columns).

    Parameters
    ----------
    lhs
        Function of (outer indices, row, panel, reduced indices) that reads the left operand.
    rhs
        Function of (outer indices, panel, reduced indices, column) that reads the right one.
    reduced
        Extents of the reduced axes; the last is contiguous in the left operand.
    outer
        Extents of axes that are neither rows nor columns: batches, rows of an image.
    rows
        Rows of the result; may be symbolic.
    panels
        Number of column panels.
    tile
        The register tile.
    dtype
        Of the sum.
    multiply
        Makes the product of both operands; by default each is converted to `dtype` first.
    result
        What `unpack` makes of a tile, where its rows and columns are not those of the result:
        rows, vectors, lanes.
    pieces
        Extents of what the left operand has for each lane of a vector: `lhs` gets their indices
        behind the reduced ones. Empty where it has one element for all lanes.
    workload
        By which records know the sum (`workload.py`); empty where they do not.
    chunk
        So many products, a divisor of the last reduced axis, are summed in float16 before they are
        added in `dtype`; 0 sums all in `dtype`.
    """
    from tvm import te, tirx

    blocks = tirx.ceildiv(wide(rows), tile.rows)
    ragged = not (isinstance(rows, int) and rows % tile.rows == 0)
    depth, panels = len(outer), wide(panels)
    outer, reduced = [wide(extent) for extent in outer], [wide(extent) for extent in reduced]
    height, width = wide(tile.rows), wide(tile.columns)
    narrow = "float16" if chunk else dtype

    def row(block: Any, within: Any) -> Any:
        at = block * tile.rows + within
        return te.min(at, rows - 1) if ragged else at

    def read(*indices: Any) -> Any:
        before, (block, panel, within) = indices[:depth], indices[depth : depth + 3]
        return lhs(before, row(block, within), panel, indices[depth + 3 :]).astype(narrow)

    operand: Any = te.compute(
        (*outer, blocks, panels, height, *reduced, *map(wide, pieces)),
        read,
        name="lhs",
        attrs={ROLE: "lhs"},
    )

    def product(indices: tuple[Any, ...], at: Sequence[Any]) -> Any:
        before, (block, panel, within, column) = indices[:depth], indices[depth:]
        left = operand(*before, block, panel, within, *at, *_piece(column, pieces))
        right = rhs(before, panel, tuple(at), column)
        return multiply(left, right) if multiply else left * right.astype(narrow)

    shape = (*outer, blocks, panels, height, width)
    numbers = [tile.rows, tile.vectors, tile.lanes, tile.steps, int(tile.rows_in_registers)]
    unpacked = list(result or (tile.rows, tile.vectors, tile.lanes))
    marks = {ROLE: "sum", TILE: numbers, OUTER: depth, RESULT: unpacked}
    marks |= {WORKLOAD: workload} if workload else {}
    if chunk:
        return _sum_of_chunks(product, shape, reduced, chunk, dtype, marks)
    axes = [te.reduce_axis((0, extent), f"k{at}") for at, extent in enumerate(reduced)]
    return te.compute(
        shape, lambda *at: te.sum(product(at, axes), axis=axes), name="contraction", attrs=marks
    )


def _sum_of_chunks(
    product: Callable[..., Any],
    shape: Sequence[Any],
    reduced: Sequence[Any],
    chunk: int,
    dtype: str,
    marks: dict[str, Any],
) -> Any:
    """Sum short runs of products in their own type, and these sums in `dtype`."""
    from tvm import te

    slow = [*reduced[:-1], wide(int(reduced[-1]) // chunk)]
    step = te.reduce_axis((0, wide(chunk)), "k")
    axes = [te.reduce_axis((0, extent), f"k{at}") for at, extent in enumerate(slow)]

    def of_chunk(*at: Any) -> Any:
        element, (*first, which) = at[: len(shape)], at[len(shape) :]
        return te.sum(product(element, [*first, which * chunk + step]), axis=[step])

    part: Any = te.compute((*shape, *slow), of_chunk, name="part", attrs={ROLE: "part"})
    return te.compute(
        tuple(shape),
        lambda *at: te.sum(part(*at, *axes).astype(dtype), axis=axes),
        name="contraction",
        attrs=marks,
    )


def unpack(
    tiles: Any,
    shape: list[Any],
    row: Any,
    panel: Any,
    tile: Tile,
    dtype: str,
    bias: Any = None,
) -> Any:
    """Read the result of `contract` in the layout of the graph.

    Parameters
    ----------
    tiles
        What `contract` returned.
    shape
        Of the result; the last axis holds the columns.
    row
        Function of all indices but the last: (outer indices, row).
    panel
        Function of the last index: (panel, column within it).
    tile, dtype
        The register tile, and the type of the result.
    bias
        What is added to each column, a tensor of the sums' type; None for nothing.
    """
    from tvm import te

    def element(*indices: Any) -> Any:
        outer, at = row(*indices[:-1])
        which, column = panel(indices[-1])
        value = tiles(*outer, at // tile.rows, which, at % tile.rows, column)
        return add_bias(value, bias, indices[-1]).astype(dtype)

    extents = [wide(extent) for extent in shape]
    return te.compute(extents, element, name="unpack", attrs=unpack_marks(bias))


def unpack_marks(bias: Any) -> dict[str, Any]:
    """Annotations of the block that unpacks sums and adds `bias`, if that is not None."""
    return {ROLE: "unpack"} | ({} if bias is None else {BIAS: 1})


def add_bias(value: Any, bias: Any, column: Any) -> Any:
    """`value` plus what `bias` holds for the column, if it is not None."""
    return value if bias is None else value + bias(column)


def _piece(column: Any, pieces: tuple[int, ...]) -> list[Any]:
    """The indices of the piece for a column, whose lanes have them in order."""
    indices = []
    for extent in reversed(pieces):
        indices.append(column % extent)
        column = column // extent
    return indices[::-1]


def wide(extent: Any) -> Any:
    """An extent as the graph has it, of 64 bits: TVM simplifies no indices of mixed types."""
    from tvm import tirx

    value = constant(extent)
    return extent if value is None else tirx.IntImm("int64", value)
