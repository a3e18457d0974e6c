"""Which operators TVM's importer really reads, and in what sense.

The importer looks at an operator's name only, never at its domain; domains are ours to check.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.converters import CONVERTERS

if TYPE_CHECKING:
    import onnx

#: Operators of com.microsoft that the importer reads as com.microsoft means them. Its other names
#: are those of the standard operators.
MICROSOFT = (
    "Attention",
    "BiasGelu",
    "DequantizeLinear",
    "EmbedLayerNormalization",
    "FastGelu",
    "Gelu",
    "MatMulInteger16",
    "MatMulNBits",
    "QuantizeLinear",
    "SkipLayerNormalization",
    "Trilu",
)
#: Names in the importer's table that are no standard operators, or read as com.microsoft's.
NOT_STANDARD = (
    "AllClassNMS",
    "Attention",
    "BiasGelu",
    "EmbedLayerNormalization",
    "FastGelu",
    "MatMulInteger16",
    "SkipLayerNormalization",
)
#: Control flow and constants are read by the importer itself, not by a converter.
BUILT_IN = ("If", "Constant")


@lru_cache(maxsize=1)
def standard_operators() -> frozenset[str]:
    """Return the operators of the default domain that TVM's importer, or ours, converts."""
    from tvm.relax.frontend.onnx.onnx_frontend import _get_convert_map

    return (frozenset(_get_convert_map()) | set(BUILT_IN) | set(CONVERTERS)) - set(NOT_STANDARD)


def has_converter(node: onnx.NodeProto) -> bool:
    """Say whether the importer reads the operator of `node` in the sense of its domain."""
    if node.domain == "com.microsoft":
        return node.op_type in MICROSOFT
    return not node.domain and node.op_type in standard_operators()
