"""Drawn words on paper, so that text detectors have something to find."""

from __future__ import annotations

import numpy as np

_LETTERS = {
    "E": ("11111", "10000", "10000", "11110", "10000", "10000", "11111"),
    "H": ("10001", "10001", "10001", "11111", "10001", "10001", "10001"),
    "L": ("10000", "10000", "10000", "10000", "10000", "10000", "11111"),
    "T": ("11111", "00100", "00100", "00100", "00100", "00100", "00100"),
    "X": ("10001", "10001", "01010", "00100", "01010", "10001", "10001"),
}
_PIXEL = 4
_MARGIN = 8
# Mean and deviation of ImageNet's colours, by which these detectors want their input normalised.
_MEAN = np.array([0.485, 0.456, 0.406])[:, None, None]
_DEVIATION = np.array([0.229, 0.224, 0.225])[:, None, None]


def text_image(height: int, width: int, lines: tuple[str, ...] = ("TEXT", "HELL")) -> np.ndarray:
    """Return a normalised float32 image of shape (1, 3, height, width), black on white.

    What does not fit on the paper is cut off.
    """
    paper = np.ones((height, width))
    for row, line in enumerate(lines):
        top = _MARGIN + row * 9 * _PIXEL
        for column, letter in enumerate(line):
            left = _MARGIN + column * 6 * _PIXEL
            bits = np.array([[int(bit) for bit in text] for text in _LETTERS[letter]])
            ink = bits.repeat(_PIXEL, 0).repeat(_PIXEL, 1)
            spot = paper[top : top + ink.shape[0], left : left + ink.shape[1]]
            spot -= ink[: spot.shape[0], : spot.shape[1]]
    return ((paper[None] - _MEAN) / _DEVIATION)[None].astype(np.float32)
