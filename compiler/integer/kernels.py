"""What integer kernels take, where a node's operator alone does not say it.

Asked both where Q/DQ are placed and where islands are lowered, so that nothing is quantized that no
kernel takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.frontend.graph import attributes

if TYPE_CHECKING:
    import onnx

# Spatial axes for which there are kernels of convolutions.
_SPATIAL = (1, 2)
_UNPADDED = ("", "NOTSET", "VALID")


def convolution_problem(rank: int) -> str:
    """Say why no kernel takes a convolution whose weight has so many axes; empty where one does."""
    if rank < 3:
        return "its weight has no kernel axes"
    return "" if rank - 2 in _SPATIAL else f"there is no integer kernel for {rank - 2} spatial axes"


def average_pool_problem(node: onnx.NodeProto, shape: Sequence[int | None] | None) -> str:
    """Say why no kernel takes an AveragePool of an input of this shape; empty where one does."""
    if shape is None or len(shape) != 4 or shape[1] is None:
        return "there is an integer kernel for two spatial axes and known channels alone"
    found = attributes(node)
    if found.get("ceil_mode"):
        return "its last window may reach beyond the padding"
    padded = any(found.get("pads", ())) or found.get("auto_pad", "") not in _UNPADDED
    if padded and not found.get("count_include_pad"):
        return "its windows at the border have fewer elements"
    return ""
