"""Layers whose inputs do not fit into 8 bits: a few huge values, and all the others near zero.

Such a tensor has one scale, as large as its outliers want it, and the values that matter drown in
its rounding. Measured is the ratio of the mean magnitude to the rounding noise, step / sqrt(12):
the mean magnitude, because in the mean square the outliers alone would count.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.quantization.operators import INT8_LAYERS
from autoglm_tvm.compiler.quantization.qdq import activation_quantization
from autoglm_tvm.compiler.quantization.ranges import Ranges
from autoglm_tvm.compiler.quantization.recipe import Int8Settings

if TYPE_CHECKING:
    import onnx


def sensitive_layers(
    proto: onnx.ModelProto, nodes: Collection[str], ranges: Ranges, settings: Int8Settings
) -> dict[str, float]:
    """Return the layers among `nodes` (names) below ``least_sqnr``, and what they would keep in dB.

    Parameters
    ----------
    proto
        The float model that the ranges were measured on.
    """
    import math

    found: dict[str, float] = {}
    if settings.least_sqnr is None:
        return found
    for node in proto.graph.node:
        if node.name not in nodes or node.op_type not in INT8_LAYERS:
            continue
        name = node.input[0]
        magnitude = ranges.magnitudes.get(name, 0.0)
        if magnitude == 0.0 or name not in ranges.chosen:
            continue
        noise = activation_quantization(ranges.chosen[name], settings).scale / math.sqrt(12)
        ratio = 20 * math.log10(magnitude / noise)
        if ratio < settings.least_sqnr:
            found[node.name] = ratio
    return found
