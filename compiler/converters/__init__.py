"""Converters of ONNX operators that TVM's importer has not, or has wrong.

A converter takes the importer's block builder, the node's inputs (None for one left out) and its
attributes, and returns a Relax expression of nested calls. It emits no variable, as inside of a
branch that would be computed outside of it, and raises `ValueError` for what it cannot convert.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from autoglm_tvm.compiler.converters.cast import cast
from autoglm_tvm.compiler.converters.conv_integer import conv_integer
from autoglm_tvm.compiler.converters.dynamic_quantize import dynamic_quantize_linear
from autoglm_tvm.compiler.converters.matmul_nbits import matmul_nbits
from autoglm_tvm.compiler.converters.quantize import dequantize_linear, quantize_linear

Converter = Callable[[Any, Sequence[Any], dict[str, Any]], Any]

#: By operator of the default domain.
CONVERTERS: dict[str, Converter] = {
    "Cast": cast,
    "ConvInteger": conv_integer,
    "DequantizeLinear": dequantize_linear,
    "DynamicQuantizeLinear": dynamic_quantize_linear,
    "MatMulNBits": matmul_nbits,
    "QuantizeLinear": quantize_linear,
}
