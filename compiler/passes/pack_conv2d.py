"""Convolutions of NHWC activations with a constant weight."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autoglm_tvm.compiler.passes.dataflow import constant_array
from autoglm_tvm.compiler.passes.legalize_depthwise import legalize_depthwise
from autoglm_tvm.compiler.passes.pack_winograd import lower_winograd
from autoglm_tvm.compiler.passes.packing import (
    FUSIBLE,
    packed_constant,
    product,
    supported,
    window_of,
)
from autoglm_tvm.schedules.kernel import constant
from autoglm_tvm.schedules.machine import Machine
from autoglm_tvm.schedules.operators.conv2d import Window, pack_conv2d, packed_conv2d, reduced_axes
from autoglm_tvm.schedules.operators.matmul import accumulator, pack_panels, packed_matmul
from autoglm_tvm.schedules.tiles import choose_tile

if TYPE_CHECKING:
    import numpy as np


def lower_conv2d(builder: Any, call: Any, machine: Machine) -> Any:
    """Lower ``relax.nn.conv2d``; None for other layouts, computed weights, symbolic channels."""
    data, kernel = call.args
    weight = constant_array(kernel)
    layouts = (call.attrs.data_layout, call.attrs.kernel_layout)
    known = constant(data.ty.shape[-1]) is not None
    if layouts != ("NHWC", "OHWI") or weight is None or not known or not supported(call):
        return None
    window = window_of(call.attrs, weight)
    if window.groups > 1:
        depthwise = legalize_depthwise(builder, call)
        if depthwise is not None:
            return depthwise
    if window.is_pointwise:
        return _pointwise(builder, call, weight, machine)
    winograd = lower_winograd(builder, call, weight, window, machine)
    if winograd is not None:
        return winograd
    return _direct(builder, call, weight, window, machine)


def _pointwise(builder: Any, call: Any, weight: np.ndarray, machine: Machine) -> Any:
    """A 1x1 convolution is a matrix product whose rows are the pixels."""
    data, dtype = call.args[0], str(call.ty.dtype)
    matrix = weight.reshape(weight.shape[0], -1).T
    reduced, channels = matrix.shape
    rows = product(list(data.ty.shape)[:-1])
    tile = choose_tile(rows, channels, reduced, machine, accumulator(str(data.ty.dtype)))
    return builder.call_te(
        lambda a, b: packed_matmul(a, b, channels, tile, dtype),
        data,
        packed_constant(pack_panels(matrix, tile.columns)),
        primfunc_name_hint="conv2d",
        primfunc_attrs=FUSIBLE,
    )


def _direct(builder: Any, call: Any, weight: np.ndarray, window: Window, machine: Machine) -> Any:
    """An implicit matrix product whose rows are the pixels of an image row."""
    data, dtype = call.args[0], str(call.ty.dtype)
    channels, *_, of_group = weight.shape
    out_width = constant(call.ty.shape[2])
    run = reduced_axes(window, of_group)[-1]
    total = accumulator(str(data.ty.dtype))
    grouped = window.groups > 1
    tile = choose_tile(out_width, channels // window.groups, run, machine, total, whole=grouped)
    return builder.call_te(
        lambda a, b: packed_conv2d(a, b, window, channels, tile, dtype),
        data,
        packed_constant(pack_conv2d(weight, window, tile.columns)),
        primfunc_name_hint="conv2d",
        primfunc_attrs=FUSIBLE,
    )
