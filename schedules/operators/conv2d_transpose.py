"""Transposed 2-D convolution: one matrix product, then its columns are added up where they overlap.

Dumoulin and Visin, 2016, "A guide to convolution arithmetic for deep learning", chapter 4. Each
pixel times the weight gives a patch of the result; no product is with a zero that was put in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


def patch_matrix(weight: np.ndarray) -> np.ndarray:
    """IOHW to [I, H * W * O]: what one pixel adds to its patch."""
    import numpy as np

    return np.ascontiguousarray(weight.transpose(0, 2, 3, 1).reshape(weight.shape[0], -1))


def add_patches(
    patches: Any,
    kernel: tuple[int, int],
    strides: tuple[int, int],
    before: tuple[int, int],
    size: tuple[Any, Any],
) -> Any:
    """Sum patches [B, H, W, kh * kw * O] where they overlap: [B, \\*size, O].

    Parameters
    ----------
    patches
        The product of the image with `patch_matrix`.
    kernel, strides
        (height, width) each.
    before
        Rows above and columns to the left of the result that are cut off (padding).
    size
        Height and width of the result.
    """
    from tvm import te, tirx

    batch, height, width, patch = patches.shape
    channels = patch // (kernel[0] * kernel[1])
    overlap = [-(-kernel[at] // strides[at]) for at in (0, 1)]
    zero = tirx.const(0, str(patches.dtype))

    def term(at: tuple[Any, ...], down: int, across: int) -> Any:
        image, row, column, channel = at
        at_row, at_column = row + before[0], column + before[1]
        tap_row = at_row % strides[0] + down * strides[0]
        tap_column = at_column % strides[1] + across * strides[1]
        from_row, from_column = at_row // strides[0] - down, at_column // strides[1] - across
        tap = (tap_row * kernel[1] + tap_column) * channels + channel
        inside = tirx.all(
            tap_row < kernel[0],
            tap_column < kernel[1],
            from_row >= 0,
            from_row < height,
            from_column >= 0,
            from_column < width,
        )
        return tirx.if_then_else(inside, patches(image, from_row, from_column, tap), zero)

    def element(*at: Any) -> Any:
        terms = [
            term(at, down, across) for down in range(overlap[0]) for across in range(overlap[1])
        ]
        total = terms[0]
        for other in terms[1:]:
            total = total + other
        return total

    return te.compute((batch, *size, channels), element, name="add_patches")
