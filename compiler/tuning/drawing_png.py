"""A drawing as a PNG file, by matplotlib where it is installed."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from autoglm_tvm.artifacts.matplotlib_module import require_matplotlib
from autoglm_tvm.compiler.tuning.drawing import Box, Dot, Drawing, Line, Shape
from autoglm_tvm.targets.errors import UserInputError

# Points for an inch, as matplotlib takes sizes, and pixels for an inch as we lay pictures out.
_POINTS = 72
_PIXELS = 96
#: Pixels of the file for each of the drawing: sharp, unless it is too tall to be handled.
_SCALE = 2
_MOST_PIXELS = 30000


def write_png(drawing: Drawing, path: Path) -> None:
    """Write a picture to a file; its folder is made.

    Raises
    ------
    MissingToolError
        matplotlib is not installed.
    UserInputError
        The file cannot be written.
    """
    content = png_bytes(drawing)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise UserInputError(
            f"cannot write the picture: {error.strerror or error}",
            where=str(path),
            hint="name another file with --png",
        ) from error


def png_bytes(drawing: Drawing) -> bytes:
    """Return a picture as the content of a PNG file.

    Raises
    ------
    MissingToolError
        matplotlib is not installed.
    """
    figure = require_matplotlib().Figure(
        figsize=(drawing.width / _PIXELS, drawing.height / _PIXELS), facecolor="white"
    )
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, drawing.width)
    axes.set_ylim(drawing.height, 0)
    axes.axis("off")
    for shape in drawing.shapes:
        _draw(axes, shape)
    content = io.BytesIO()
    scale = min(_SCALE, _MOST_PIXELS / drawing.height)
    figure.savefig(content, dpi=scale * _PIXELS, format="png")
    return content.getvalue()


def _draw(axes: Any, shape: Shape) -> None:
    points = _POINTS / _PIXELS
    if isinstance(shape, Line):
        xs, ys = zip(*shape.points, strict=True)
        style = "--" if shape.dashed else "-"
        width = shape.width * points
        axes.plot(xs, ys, color=shape.colour, linewidth=width, linestyle=style)
    elif isinstance(shape, Box):
        corners = [shape.x, shape.x + shape.width]
        axes.fill_between(corners, shape.y, shape.y + shape.height, color=shape.colour, linewidth=0)
    elif isinstance(shape, Dot):
        area = (2 * shape.radius * points) ** 2
        axes.scatter([shape.x], [shape.y], s=area, color=shape.colour, linewidths=0, zorder=3)
    else:
        axes.text(
            shape.x,
            shape.y,
            shape.text,
            fontsize=shape.size * points,
            color=shape.colour,
            ha={"start": "left", "middle": "center", "end": "right"}[shape.anchor],
            va="baseline",
            fontweight="bold" if shape.bold else "normal",
            # A name with two dollars is no formula.
            parse_math=False,
        )
