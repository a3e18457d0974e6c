"""A picture of the error that each layer adds: who stands out is the layer to except."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, isfinite, log10

from autoglm_tvm.compiler.quantization.layer_error import LayerError
from autoglm_tvm.compiler.tuning.drawing import Box, Drawing, Label, Line, Shape, fitting
from autoglm_tvm.compiler.tuning.drawing_png import png_bytes

# Okabe and Ito's colours, which differ for the colour-blind too.
_COLOURS = {"int8": "#0072b2", "int8-dynamic": "#56b4e9", "int4": "#d55e00", "fp16": "#009e73"}
_OTHER, _GRID, _FAINT = "#777777", "#e3e6ea", "#666666"
_WIDTH, _EDGE, _NAMES, _NUMBERS = 1000.0, 8.0, 380.0, 190.0
_TOP, _ROW, _BAR = 74.0, 18.0, 11.0
_TEXT = 11.0
#: Further layers are only in the table and in JSON: they hardly matter.
MOST_BARS = 150


def sensitivity_chart(layers: Sequence[LayerError], title: str) -> Drawing:
    """Return bars of the noise that each layer adds alone, in the order given.

    Parameters
    ----------
    layers
        The worst first.
    title
        What was measured.
    """
    shown, hidden = layers[:MOST_BARS], layers[MOST_BARS:]
    height = _TOP + _ROW * max(1, len(shown)) + (22 if hidden else 6)
    chart = Drawing(_WIDTH, height, title)
    chart.shapes += [
        Label(_EDGE, 18, fitting(title, _WIDTH, 16), 16, bold=True),
        Label(
            _EDGE,
            38,
            "RMS of the error over RMS of the signal at the output that it disturbs most, "
            "where this layer alone is quantized",
            colour=_FAINT,
        ),
        *_legend([layer.precision for layer in shown]),
    ]
    if not shown:
        chart.shapes.append(Label(_EDGE, _TOP + 12, "No layer is quantized.", colour=_FAINT))
        return chart
    finite = [layer.noise for layer in shown if isfinite(layer.noise)]
    largest = max(finite, default=0.0) or 1.0
    chart.shapes += _grid(largest, _TOP - 4, _TOP + _ROW * len(shown))
    for number, layer in enumerate(shown):
        chart.shapes += _bar(layer, _TOP + _ROW * number, largest)
    if hidden:
        more = f"and {len(hidden)} more layers, each below {_percent(shown[-1].noise)}"
        chart.shapes.append(Label(_EDGE, height - 6, more, colour=_FAINT))
    return chart


def sensitivity_png(layers: Sequence[LayerError], title: str) -> bytes:
    """Return the picture of the layers' errors as the content of a PNG file.

    Raises
    ------
    MissingToolError
        matplotlib is not installed.
    """
    return png_bytes(sensitivity_chart(layers, title))


def _legend(precisions: Sequence[str]) -> list[Shape]:
    shapes: list[Shape] = []
    x = _EDGE
    for name in dict.fromkeys(precisions):
        shapes += [
            Box(x, 50, 14, _BAR, _COLOURS.get(name, _OTHER)),
            Label(x + 20, 60, name, colour=_FAINT),
        ]
        x += 20 + 9 * len(name) + 24
    return shapes


def _grid(largest: float, top: float, bottom: float) -> list[Shape]:
    shapes: list[Shape] = []
    step = _round_step(largest)
    for number in range(int(largest / step * (1 + 1e-9)) + 1):
        x = _NAMES + _room() * number * step / largest
        shapes += [
            Line(((x, top), (x, bottom)), _GRID),
            Label(x, top - 4, f"{100 * number * step:.3g} %", 10, "middle", _FAINT),
        ]
    return shapes


def _round_step(largest: float) -> float:
    """Return 1, 2 or 5 times a power of ten, of which `largest` holds 3 to 7."""
    most = largest / 3 * (1 + 1e-9)
    power = 10.0 ** floor(log10(most))
    return max(factor * power for factor in (1, 2, 5) if factor * power <= most)


def _bar(layer: LayerError, top: float, largest: float) -> list[Shape]:
    middle = top + _BAR - 1
    # An error without bounds: the bar fills its place.
    length = _room() * min(1.0, layer.noise / largest)
    name = f"{layer.name} ({layer.op_type})"
    decibel = f"{layer.sqnr_db:.1f} dB" if isfinite(layer.sqnr_db) else "exact"
    drop = f", drop {_percent(layer.drop)}" if layer.drop > 5e-5 else ""
    return [
        Label(
            _NAMES - 8, middle, fitting(name, _NAMES - 2 * _EDGE, _TEXT), _TEXT, "end", hover=name
        ),
        Box(_NAMES, top, max(length, 0.5), _BAR, _COLOURS.get(layer.precision, _OTHER)),
        Label(_NAMES + length + 6, middle, decibel + drop, _TEXT),
    ]


def _room() -> float:
    return _WIDTH - _NAMES - _NUMBERS


def _percent(part: float) -> str:
    return f"{part:.2%}" if part < 0.0995 else f"{part:.0%}"
