"""A picture as a list of shapes, and how it becomes SVG.

Coordinates are pixels from the top left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from html import escape
from typing import Literal

from autoglm_tvm.compiler.tuning import texts

Anchor = Literal["start", "middle", "end"]
#: Fonts whose letters are as wide as those that the pictures were laid out with.
FONTS = "Verdana, 'DejaVu Sans', sans-serif"
# Of a letter's size, its width: more than that of an average letter.
_LETTER = 0.63


@dataclass(frozen=True)
class Line:
    """A line through points."""

    points: tuple[tuple[float, float], ...]
    colour: str
    width: float = 1.0
    dashed: bool = False


@dataclass(frozen=True)
class Box:
    """A filled rectangle."""

    x: float
    y: float
    width: float
    height: float
    colour: str


@dataclass(frozen=True)
class Dot:
    """A filled circle."""

    x: float
    y: float
    radius: float
    colour: str


@dataclass(frozen=True)
class Label:
    """One line of text whose baseline is at ``y``; ``hover`` is shown where the pointer rests."""

    x: float
    y: float
    text: str
    size: float = 11.0
    anchor: Anchor = "start"
    colour: str = "#222222"
    bold: bool = False
    hover: str = ""


Shape = Line | Box | Dot | Label


@dataclass
class Drawing:
    """Shapes, the later ones on top."""

    width: float
    height: float
    title: str
    shapes: list[Shape] = field(default_factory=list)


def fitting(text: str, width: float, size: float = 11.0) -> str:
    """Return the text, cut in its middle so that it is not wider than so many pixels."""
    return texts.middle_cut(text, max(1, int(width / (_LETTER * size))))


def below(drawings: Sequence[Drawing], gap: float = 24.0) -> Drawing:
    """Return the pictures in one, each below the one before."""
    whole = Drawing(max(item.width for item in drawings), 0.0, drawings[0].title)
    for item in drawings:
        top = whole.height + (gap if whole.height else 0.0)
        whole.shapes += [moved(shape, 0.0, top) for shape in item.shapes]
        whole.height = top + item.height
    return whole


def moved(shape: Shape, right: float, down: float) -> Shape:
    """Return the shape at another place."""
    if isinstance(shape, Line):
        return replace(shape, points=tuple((x + right, y + down) for x, y in shape.points))
    return replace(shape, x=shape.x + right, y=shape.y + down)


def to_svg(drawing: Drawing) -> str:
    """Return an `svg` element that can stand in an HTML page; it grows no wider than drawn."""
    width, height = _number(drawing.width), _number(drawing.height)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
            f'style="width:100%;max-width:{width}px" font-family="{escape(FONTS)}">',
            f"<title>{_text(drawing.title)}</title>",
            *map(_svg, drawing.shapes),
            "</svg>",
        ]
    )


def _svg(shape: Shape) -> str:
    if isinstance(shape, Line):
        points = " ".join(f"{_number(x)},{_number(y)}" for x, y in shape.points)
        dashes = ' stroke-dasharray="4 3"' if shape.dashed else ""
        return (
            f'<polyline points="{points}" fill="none" stroke="{shape.colour}" '
            f'stroke-width="{_number(shape.width)}"{dashes}/>'
        )
    if isinstance(shape, Box):
        return (
            f'<rect x="{_number(shape.x)}" y="{_number(shape.y)}" width="{_number(shape.width)}" '
            f'height="{_number(shape.height)}" fill="{shape.colour}"/>'
        )
    if isinstance(shape, Dot):
        return (
            f'<circle cx="{_number(shape.x)}" cy="{_number(shape.y)}" '
            f'r="{_number(shape.radius)}" fill="{shape.colour}"/>'
        )
    hover = f"<title>{_text(shape.hover)}</title>" if shape.hover else ""
    weight = ' font-weight="bold"' if shape.bold else ""
    return (
        f'<text x="{_number(shape.x)}" y="{_number(shape.y)}" font-size="{_number(shape.size)}" '
        f'text-anchor="{shape.anchor}" fill="{shape.colour}"{weight}>'
        f"{_text(shape.text)}{hover}</text>"
    )


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _text(text: str) -> str:
    return escape(texts.printable(text))
