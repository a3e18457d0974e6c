"""What networks of one operator compute, in float64 with numpy."""

from __future__ import annotations

from collections.abc import Callable
from math import erf
from typing import Any

import numpy as np

_erf = np.vectorize(erf, otypes=[np.float64])


def convolve(
    data: np.ndarray,
    weight: np.ndarray,
    pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    strides: tuple[int, int] = (1, 1),
    dilations: tuple[int, int] = (1, 1),
    group: int = 1,
) -> np.ndarray:
    """ONNX's Conv: [B, C, H, W] with [O, C / group, kh, kw]; pads are top, left, bottom, right."""
    top, left, bottom, right = pads
    image = np.pad(data.astype(np.float64), ((0, 0), (0, 0), (top, bottom), (left, right)))
    outputs, _, *kernel = weight.shape
    sizes = [
        (image.shape[2 + at] - dilations[at] * (kernel[at] - 1) - 1) // strides[at] + 1
        for at in (0, 1)
    ]
    grouped = weight.astype(np.float64).reshape(group, outputs // group, -1, *kernel)
    images = image.reshape(image.shape[0], group, -1, *image.shape[2:])
    result = np.zeros((image.shape[0], group, outputs // group, *sizes))
    for row in range(kernel[0]):
        for column in range(kernel[1]):
            taps = images[
                ...,
                row * dilations[0] :: strides[0],
                column * dilations[1] :: strides[1],
            ][..., : sizes[0], : sizes[1]]
            result += np.einsum("bgchw,goc->bgohw", taps, grouped[..., row, column])
    return result.reshape(image.shape[0], outputs, *sizes)


def transposed(
    data: np.ndarray, weight: np.ndarray, pads: tuple[int, int, int, int], strides: tuple[int, int]
) -> np.ndarray:
    """ONNX's ConvTranspose of one group: [B, I, H, W] with [I, O, kh, kw]."""
    batch, _, height, width = data.shape
    _, outputs, *kernel = weight.shape
    size = [(extent - 1) * strides[at] + kernel[at] for at, extent in enumerate((height, width))]
    result = np.zeros((batch, outputs, *size))
    for row in range(kernel[0]):
        for column in range(kernel[1]):
            patch = np.einsum("bihw,io->bohw", data, weight[..., row, column], dtype=np.float64)
            at_rows = slice(row, row + height * strides[0], strides[0])
            at_columns = slice(column, column + width * strides[1], strides[1])
            result[:, :, at_rows, at_columns] += patch
    top, left, bottom, right = pads
    return result[:, :, top : size[0] - bottom, left : size[1] - right]


# What may follow an operator whose result is `r` (`o` is another input of its shape, `b` a bias of
# its channels): ONNX text that computes `y`, and the same with numpy.
EPILOGUES: dict[str, tuple[str, Callable[[Any, Any, Any], Any]]] = {
    "none": ("y = Identity (r)", lambda r, o, b: r),
    "bias": ("y = Add (r, b)", lambda r, o, b: r + b),
    "relu": ("y = Relu (r)", lambda r, o, b: np.maximum(r, 0)),
    "clip": (
        "low = Constant <value_float = -0.5> () high = Constant <value_float = 1.5> () "
        "y = Clip (r, low, high)",
        lambda r, o, b: np.clip(r, -0.5, 1.5),
    ),
    "residual": ("s = Add (r, b) t = Add (s, o) y = Relu (t)", lambda r, o, b: relu(r + b + o)),
    "gelu": (
        "s = Add (r, b) two = Constant <value_float = 1.4142135> () d = Div (s, two) e = Erf (d) "
        "one = Constant <value_float = 1.0> () f = Add (e, one) m = Mul (s, f) "
        "half = Constant <value_float = 0.5> () y = Mul (m, half)",
        lambda r, o, b: gelu(r + b),
    ),
    "silu": ("s = Add (r, b) g = Sigmoid (s) y = Mul (s, g)", lambda r, o, b: silu(r + b)),
    "cast": (
        "h = Cast <to = 10> (r) y = Cast <to = 1> (h)",
        lambda r, o, b: r.astype(np.float16).astype(np.float64),
    ),
}


def relu(value: np.ndarray) -> np.ndarray:
    return np.maximum(value, 0)


def gelu(value: np.ndarray) -> np.ndarray:
    return 0.5 * value * (1 + _erf(value / np.sqrt(2)))


def silu(value: np.ndarray) -> np.ndarray:
    return value / (1 + np.exp(-value))
