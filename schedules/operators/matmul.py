"""Matrix product with a constant or a computed right operand, in tiles of `contraction.py`."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from autoglm_tvm.schedules.operators.contraction import ROLE, contract, unpack, wide
from autoglm_tvm.schedules.tiles import Tile

if TYPE_CHECKING:
    import numpy as np


def pack_panels(weight: np.ndarray, columns: int) -> np.ndarray:
    """[..., K, N] to [..., panels, K, columns], the last panel filled up with zeros."""
    import numpy as np

    *batch, reduced, width = weight.shape
    panels = -(-width // columns)
    filled = np.zeros((*batch, reduced, panels * columns), weight.dtype)
    filled[..., :width] = weight
    split = filled.reshape(*batch, reduced, panels, columns)
    return np.ascontiguousarray(np.moveaxis(split, -2, -3))


def packed_matmul(
    data: Any,
    weight: Any,
    columns: int,
    tile: Tile,
    dtype: str,
    workload: str = "",
    chunk: int = 0,
) -> Any:
    """`data` [..., M, K] times a matrix in panels [panels, K, tile.columns]: [..., M, columns].

    Sums are float32 (int32 for integers), of `chunk` products float16; `dtype` is the type of the
    result. All axes of `data` but the last are rows.
    """
    *leading, reduced = data.shape
    leading = [_plain(extent) for extent in leading]
    rows = prod(leading)

    def lhs(_outer: Any, row: Any, _panel: Any, at: Any) -> Any:
        return data(*unflatten(row, leading), *at)

    def rhs(_outer: Any, panel: Any, at: Any, column: Any) -> Any:
        return weight(panel, *at, column)

    total = accumulator(str(data.dtype))
    panels = weight.shape[0]
    tiles = contract(
        lhs, rhs, [reduced], [], rows, panels, tile, total, workload=workload, chunk=chunk
    )
    return unpack(
        tiles,
        [*leading, columns],
        lambda *at: ((), flatten(at, leading)),
        lambda column: (column // tile.columns, column % tile.columns),
        tile,
        dtype,
    )


def batched_matmul(left: Any, right: Any, tile: Tile, dtype: str, workload: str = "") -> Any:
    """[..., M, K] times [..., K, N], both computed, batch axes broadcast: [..., M, N].

    The right operand is packed into panels by the kernel itself.
    """
    from tvm import te, tirx

    *left_batch, rows, reduced = left.shape
    *right_batch, _, columns = right.shape
    batch = _broadcast(left_batch, right_batch)
    panels = tirx.ceildiv(wide(columns), tile.columns)
    total = accumulator(str(left.dtype))

    def lhs(outer: Any, row: Any, _panel: Any, at: Any) -> Any:
        return left(*_broadcast_at(outer, left_batch), row, *at)

    def packed(*at: Any) -> Any:
        *outer, panel, step, within = at
        column = panel * tile.columns + within
        if isinstance(columns, tirx.IntImm) and int(columns) % tile.columns == 0:
            return right(*outer, step, column)
        # Columns past the end are the last one again, and dropped with the tile. A `Select` would
        # read past the end: TVM simplifies the minimum away under its condition.
        return right(*outer, step, te.min(column, columns - 1))

    shape = [wide(extent) for extent in (*right_batch, panels, reduced, tile.columns)]
    operand: Any = te.compute(shape, packed, name="rhs", attrs={ROLE: "rhs"})

    def rhs(outer: Any, panel: Any, at: Any, column: Any) -> Any:
        return operand(*_broadcast_at(outer, right_batch), panel, *at, column)

    rows_of = _plain(rows)
    tiles = contract(lhs, rhs, [reduced], batch, rows_of, panels, tile, total, workload=workload)
    return unpack(
        tiles,
        [*batch, rows, columns],
        lambda *at: (at[:-1], at[-1]),
        lambda column: (column // tile.columns, column % tile.columns),
        tile,
        dtype,
    )


def accumulator(dtype: str) -> str:
    """The type in which products of `dtype` are summed."""
    if dtype == "float64":
        return dtype
    return "float32" if "float" in dtype else "int32"


def _plain(extent: Any) -> Any:
    from autoglm_tvm.schedules.kernel import constant

    value = constant(extent)
    return extent if value is None else value


def flatten(at: tuple[Any, ...], extents: list[Any]) -> Any:
    """The number of an element; axes of one element add nothing."""
    flat: Any = 0
    for index, extent in zip(at, extents, strict=True):
        flat = flat if extent == 1 else flat * extent + index
    return flat


def unflatten(flat: Any, extents: list[Any]) -> list[Any]:
    """The indices of element `flat`; the outermost needs no remainder."""
    indices = []
    for extent in reversed(extents[1:]):
        indices.append(flat % extent)
        flat = flat // extent
    return [*([flat] if extents else []), *reversed(indices)]


def _broadcast(left: list[Any], right: list[Any]) -> list[Any]:
    from autoglm_tvm.schedules.kernel import constant

    depth = max(len(left), len(right))
    padded = [[1] * (depth - len(axes)) + axes for axes in (left, right)]
    return [b if constant(a) == 1 or a == 1 else a for a, b in zip(*padded, strict=True)]


def _broadcast_at(outer: tuple[Any, ...], axes: list[Any]) -> list[Any]:
    """Indices into an operand whose batch axes are `axes`, aligned at the end."""
    from autoglm_tvm.schedules.kernel import constant

    inner = outer[len(outer) - len(axes) :]
    return [0 if constant(extent) == 1 else at for at, extent in zip(inner, axes, strict=True)]
