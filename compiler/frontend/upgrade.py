"""Bring models of old operator sets to one that the importer reads.

The importer has one reading of most operators, that of opset 11 or later. Before, Slice, Resize,
Upsample, Pad or Add took their parameters as attributes or in another order. onnx's version
converter rewrites them; its result counts only if onnxruntime computes the same from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.frontend.constants import constant_nodes_to_initializers
from autoglm_tvm.compiler.frontend.dtypes import dtype_label
from autoglm_tvm.compiler.frontend.equivalence import compare
from autoglm_tvm.compiler.frontend.graph import default_opset
from autoglm_tvm.compiler.frontend.infer import infer_shapes, tensor_types
from autoglm_tvm.compiler.frontend.interface import Interface
from autoglm_tvm.compiler.frontend.quantized.normalise import is_quantized
from autoglm_tvm.compiler.frontend.quantized.standard_qdq import SINCE_21

if TYPE_CHECKING:
    import numpy as np
    import onnx

#: Models below this opset are converted ...
OLDEST_READ = 11
#: ... to this one.
CONVERTED_TO = 13
#: Quantized models below this opset are converted to it: Q/DQ have an axis since then.
OLDEST_QUANTIZED = 13
#: com.microsoft's Q/DQ take types that the standard ones take only since this opset ...
OLDEST_SMALL_TYPES = 21
#: ... which has their blocks too.
OLDEST_BLOCKS = 21


def upgrade_opset(model: onnx.ModelProto, weights: Mapping[str, np.ndarray]) -> list[str]:
    """Convert a model of an old opset to a newer one in place; a note says so, or why not.

    Models below opset 11 become opset 13. Quantized models become what Q/DQ of their types need.
    """
    import onnx
    from onnx import version_converter

    opset = default_opset(model)
    wanted = max(CONVERTED_TO if opset < OLDEST_READ else opset, _wanted_by_quantization(model))
    if opset >= wanted:
        return []
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.ir_version = max(copy.ir_version, 4)
    try:
        converted = version_converter.convert_version(copy, wanted)
        reason, not_compared = _complete(model, converted, weights)
    except Exception as err:
        # The converter has no adapter for some operators and raises what its C++ code raises; the
        # model is then read as it is.
        lines = str(err).strip().splitlines() or [type(err).__name__]
        return [_kept(opset, wanted, lines[0][:200])]
    if reason is not None:
        return [_kept(opset, wanted, reason)]
    model.CopyFrom(converted)
    unchecked = f"; not compared with the original: {not_compared}" if not_compared else ""
    return [f"converted from opset {opset} to {wanted}{unchecked}"]


def _complete(
    model: onnx.ModelProto, converted: onnx.ModelProto, weights: Mapping[str, np.ndarray]
) -> tuple[str | None, str | None]:
    """Complete the converted model in place; say why it is another model, and if not compared."""
    constant_nodes_to_initializers(converted)
    reason = Interface.of(model).restore(converted)
    if reason is not None:
        return reason, None
    infer_shapes(converted)
    result = compare(model, converted, weights)
    return result.difference, result.not_compared


def _wanted_by_quantization(model: onnx.ModelProto) -> int:
    """Return the opset that Q/DQ of the model's types need; 0 where it has no quantized nodes."""
    if not is_quantized(model):
        return 0
    types = tensor_types(model.graph)
    if any(node.op_type == "GatherBlockQuantized" for node in model.graph.node):
        return OLDEST_BLOCKS
    small = any(
        dtype_label(types[name].tensor_type.elem_type) in SINCE_21
        for node in model.graph.node
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") and node.domain
        for name in node.input
        if name in types
    )
    return OLDEST_SMALL_TYPES if small else OLDEST_QUANTIZED


def _kept(opset: int, wanted: int, reason: str) -> str:
    return f"kept at opset {opset}; the conversion to {wanted} failed: {reason}"
