"""Matrix product of small integers in tiles of `contraction.py`: words of neighbours, not numbers.

    sums[m, n] = sum over words k of dot(word(data[m, 4k ...]), weight[panel, k, column])

The reduced axis is counted in words of the instruction's two or four elements. A weight's word has
the same length, so that one vector load has a word for each column.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from autoglm_tvm.schedules.intrinsics.byte_sign import word_of_sign
from autoglm_tvm.schedules.intrinsics.dot_product import LANES, DotProduct
from autoglm_tvm.schedules.intrinsics.operators import dot, word
from autoglm_tvm.schedules.kernel import constant
from autoglm_tvm.schedules.operators.contraction import contract, unpack
from autoglm_tvm.schedules.operators.matmul import flatten, pack_panels, unflatten
from autoglm_tvm.schedules.tiles import Tile

if TYPE_CHECKING:
    import numpy as np


def pack_words(weight: np.ndarray, columns: int, instruction: DotProduct) -> np.ndarray:
    """Int8 [K, N] to words [panels, ceil(K / group), columns], filled up with zeros.

    A group that is two words takes two neighbouring `columns`.
    """
    import numpy as np

    reduced, width = weight.shape
    groups = -(-reduced // instruction.group)
    filled = np.zeros((groups * instruction.group, width), np.int8)
    filled[:reduced] = weight
    grouped = filled.reshape(groups, instruction.group, width).transpose(0, 2, 1)
    words = np.ascontiguousarray(grouped).view(instruction.word)
    panels = pack_panels(words.reshape(groups, -1), columns)
    if not instruction.in_halves:
        return panels
    vectors = panels.view(np.int8).reshape(*panels.shape[:2], -1, LANES, 2, 2)
    halves = np.ascontiguousarray(vectors.swapaxes(-3, -2))
    return halves.reshape(*panels.shape, 4).view(instruction.word)[..., 0]


def reader(data: Any, leading: list[Any], instruction: DotProduct) -> Any:
    """Return a function of (row, element) that reads a word of `data` [\\*leading, K].

    It has the sign that the instruction takes.
    """

    def read(row: Any, element: Any) -> Any:
        loaded = word(data(*unflatten(row, leading), element))
        return word_of_sign(loaded, str(data.dtype), instruction.left)

    return read


def dot_matmul(
    data: Any,
    weight: Any,
    columns: int,
    tile: Tile,
    instruction: DotProduct | None,
    workload: str = "",
    bias: Any = None,
) -> Any:
    """`data` [..., M, K] times words in panels [panels, K / group, tile.columns]: int32.

    Parameters
    ----------
    data
        Of `instruction.left` or the type of the same size and the other sign, whose numbers are
        then moved by 128 into the range of `instruction.left`. K must be a multiple of the group.
    weight
        What `pack_words` made; without an instruction, int8 panels.
    columns
        Of the result, [..., M, columns].
    tile
        The register tile.
    instruction
        None where integers are multiplied one by one.
    workload
        By which records know it.
    bias
        Int32 [columns] that is added; None for nothing.
    """
    *leading, reduced = data.shape
    leading = [constant(extent) or extent for extent in leading]
    group = instruction.group if instruction else 1
    read = reader(data, leading, instruction) if instruction else None

    def lhs(_outer: Any, row: Any, _panel: Any, at: Any) -> Any:
        return read(row, at[0] * group) if read else data(*unflatten(row, leading), *at)

    def rhs(_outer: Any, panel: Any, at: Any, column: Any) -> Any:
        return weight(panel, *at, column)

    def multiply(left: Any, right: Any) -> Any:
        return dot(instruction, left, right) if instruction else left * right.astype("int32")

    rows, words, panels = prod(leading), reduced // group, weight.shape[0]
    tiles = contract(
        lhs, rhs, [words], [], rows, panels, tile, "int32", multiply, workload=workload
    )
    return unpack(
        tiles,
        [*leading, columns],
        lambda *at: ((), flatten(at, leading)),
        lambda column: (column // tile.columns, column % tile.columns),
        tile,
        "int32",
        bias,
    )
