"""Convolutions of bytes in a graph: ``relax.nn.conv2d`` in int32, as ONNX ConvInteger becomes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autoglm_tvm.compiler.passes.dataflow import Dataflow, constant_array
from autoglm_tvm.compiler.passes.integer_operands import ByteOperand, byte_operand, is_pixel
from autoglm_tvm.compiler.passes.packing import window_of
from autoglm_tvm.schedules.kernel import constant
from autoglm_tvm.schedules.operators.conv2d import Window
from autoglm_tvm.schedules.operators.depthwise import is_depthwise

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class ByteConvolution:
    """A convolution of bytes with a constant weight.

    Attributes
    ----------
    call
        Of ``relax.nn.conv2d``.
    image
        Its left operand, NHWC.
    extents
        Of the image; None where symbolic.
    weight
        Int32, OHWI.
    window
        How the kernel moves.
    """

    call: Any
    image: ByteOperand
    extents: tuple[int | None, ...]
    weight: np.ndarray
    window: Window

    @property
    def is_depthwise(self) -> bool:
        """Whether each group is one channel."""
        return is_depthwise(self.window, self.extents[-1] or 0)


def byte_convolution(variable: Any, graph: Dataflow) -> ByteConvolution | None:
    """The convolution that makes `variable`; None for others, and for symbolic channels."""
    call = graph.call(variable, "relax.nn.conv2d")
    if call is None or str(call.ty.dtype) != "int32":
        return None
    image, kernel = call.args
    weight = constant_array(graph.definition(kernel))
    layouts = (call.attrs.data_layout, call.attrs.kernel_layout)
    if layouts != ("NHWC", "OHWI") or weight is None or 0 in weight.shape:
        return None
    extents = tuple(constant(extent) for extent in image.ty.shape)
    operand = byte_operand(image, graph)
    if extents[-1] is None or 0 in extents or operand is None or not is_pixel(operand, graph):
        return None
    return ByteConvolution(call, operand, extents, weight, window_of(call.attrs, weight))
