"""Words on paper: lines and pages of drawn text, the same for the same seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

_WORDS = """
    river stone winter garden market copper seventeen lantern morning paper engine harbour
    quartz violin thunder yellow basket journey kitchen mirror pocket saddle temple window
    anchor bridge candle desert eleven fabric guitar hammer island jacket ladder magnet number
    orange pepper rocket silver ticket uncle velvet walnut zipper balance courage diamond
    express freight gallery history inspect justice kingdom library machine network October
    Project Quality Reserve Station Traffic Version Warning 2024 1987 305 64 99 7500 12 48
""".split()  # noqa: SIM905 - readable, and no line a word
#: Fonts that matplotlib carries, so that each machine draws the same.
_FONTS = ("DejaVu Sans", "DejaVu Serif", "DejaVu Sans Mono", "STIXGeneral")
_STYLES = ("normal", "italic")
_WEIGHTS = ("normal", "bold")
_DPI = 100


@dataclass(frozen=True)
class Box:
    """Where a line of text stands, in pixels; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def area(self) -> int:
        """Pixels in it; 0 where it is turned inside out."""
        return max(0, self.right - self.left) * max(0, self.bottom - self.top)

    def overlap(self, other: Box) -> float:
        """Return the intersection over the union of both."""
        common = Box(
            max(self.left, other.left),
            max(self.top, other.top),
            min(self.right, other.right),
            min(self.bottom, other.bottom),
        ).area
        union = self.area + other.area - common
        return common / union if union else 0.0


def text_line(seed: int, height: int = 48, width: int = 320) -> tuple[str, np.ndarray]:
    """Return a line of words and its picture, uint8 ``(height, width, 3)``, filled from the left.

    Ink, paper, font, size and noise differ from seed to seed.
    """
    rng = np.random.default_rng((1, seed))
    text = " ".join(rng.choice(_WORDS, rng.integers(1, 4)))
    picture = _Picture(height, width, rng)
    while picture.add(text, 4, int(rng.integers(5, 9)), int(rng.integers(24, 33))) is None:
        text = text.rpartition(" ")[0]
    return text, picture.pixels()


def text_page(seed: int, size: int = 320) -> tuple[list[Box], np.ndarray]:
    """Return where the lines of a page stand, and its picture, uint8 ``(size, size, 3)``."""
    rng = np.random.default_rng((2, seed))
    picture = _Picture(size, size, rng)
    boxes: list[Box] = []
    top = int(rng.integers(10, 30))
    while top < size - 40:
        text = " ".join(rng.choice(_WORDS, rng.integers(1, 4)))
        letters = int(rng.integers(14, 28))
        box = picture.add(text, int(rng.integers(8, size // 3)), top, letters)
        if box is not None:
            boxes.append(box)
            top = box.bottom
        top += int(rng.integers(14, 40))
    return boxes, picture.pixels()


class _Picture:
    """Paper under construction."""

    def __init__(self, height: int, width: int, rng: np.random.Generator) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self._height, self._width, self._rng = height, width, rng
        red, green, blue = rng.uniform(0.72, 1.0, 3).tolist()
        self._ink = rng.uniform(0.0, 0.35, 3)
        figure = Figure(
            figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor=(red, green, blue)
        )
        self._canvas: Any = FigureCanvasAgg(figure)

    def add(self, text: str, left: int, top: int, letters: int) -> Box | None:
        """Write a line, ``letters`` pixels high; return its place, None if it does not fit."""
        figure = self._canvas.figure
        label = figure.text(
            left / self._width,
            1 - top / self._height,
            text,
            color=self._ink,
            ha="left",
            va="top",
            # A letter with its ascender and descender is about as high as its size in points.
            fontsize=letters * 72 / _DPI,
            family=self._rng.choice(_FONTS),
            style=self._rng.choice(_STYLES),
            weight=self._rng.choice(_WEIGHTS),
            parse_math=False,
        )
        extent = label.get_window_extent(self._canvas.get_renderer())
        box = Box(
            int(extent.x0),
            int(self._height - extent.y1),
            int(extent.x1),
            int(self._height - extent.y0),
        )
        if box.right > self._width - 2 or box.bottom > self._height - 2:
            label.remove()
            return None
        return box

    def pixels(self) -> np.ndarray:
        """Return the picture with noise of a camera."""
        self._canvas.draw()
        drawn = np.asarray(self._canvas.buffer_rgba())[..., :3].astype(np.float32)
        noise = self._rng.normal(0, self._rng.uniform(0, 6), drawn.shape)
        return np.clip(drawn + noise, 0, 255).round().astype(np.uint8)
