"""Bring models of old operator sets to one that the importer reads.

The importer has one reading of most operators, that of opset 11 or later. Before, Slice, Resize,
Upsample, Pad or Add took their parameters as attributes or in another order. onnx's version
converter rewrites them; its result counts only if onnxruntime computes the same from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.frontend.constants import constant_nodes_to_initializers
from autoglm_tvm.compiler.frontend.equivalence import compare
from autoglm_tvm.compiler.frontend.graph import default_opset
from autoglm_tvm.compiler.frontend.infer import infer_shapes
from autoglm_tvm.compiler.frontend.interface import Interface

if TYPE_CHECKING:
    import numpy as np
    import onnx

#: Models below this opset are converted ...
OLDEST_READ = 11
#: ... to this one.
CONVERTED_TO = 13


def upgrade_opset(model: onnx.ModelProto, weights: Mapping[str, np.ndarray]) -> list[str]:
    """Convert a model below opset 11 to opset 13 in place; a note says so, or why not."""
    import onnx
    from onnx import version_converter

    opset = default_opset(model)
    if opset >= OLDEST_READ:
        return []
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.ir_version = max(copy.ir_version, 4)
    try:
        converted = version_converter.convert_version(copy, CONVERTED_TO)
        reason, not_compared = _complete(model, converted, weights)
    except Exception as err:
        # The converter has no adapter for some operators and raises what its C++ code raises; the
        # model is then read as it is.
        lines = str(err).strip().splitlines() or [type(err).__name__]
        return [_kept(opset, lines[0][:200])]
    if reason is not None:
        return [_kept(opset, reason)]
    model.CopyFrom(converted)
    unchecked = f"; not compared with the original: {not_compared}" if not_compared else ""
    return [f"converted from opset {opset} to {CONVERTED_TO}{unchecked}"]


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


def _kept(opset: int, reason: str) -> str:
    return f"kept at opset {opset}; the conversion to {CONVERTED_TO} failed: {reason}"
