"""A measurement in pictures: charts as data, drawn as SVG into an HTML page or as PNG."""

from __future__ import annotations

from autoglm_tvm.rpc.measure.pictures.html import write_html
from autoglm_tvm.rpc.measure.pictures.png import write_png

__all__ = ["write_html", "write_png"]
