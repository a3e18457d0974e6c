"""Convolutions of NHWC activations with a constant weight."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autoglm_tvm.compiler.passes.dataflow import constant_array
from autoglm_tvm.compiler.passes.legalize_depthwise import legalize_depthwise
from autoglm_tvm.compiler.passes.pack_matmul import emit_product
from autoglm_tvm.compiler.passes.pack_winograd import lower_winograd, winograd_algorithms
from autoglm_tvm.compiler.passes.packing import emit, supported, tensor_type, window_of
from autoglm_tvm.schedules.choices import Anchor, Choices, Config, Lowering
from autoglm_tvm.schedules.kernel import constant
from autoglm_tvm.schedules.machine import Machine
from autoglm_tvm.schedules.operators.conv2d import Window, pack_conv2d, packed_conv2d, reduced_axes
from autoglm_tvm.schedules.operators.matmul import accumulator
from autoglm_tvm.schedules.tiles import choose_tile, half_chunk, tuned_tile
from autoglm_tvm.schedules.winograd_plan import DIRECT
from autoglm_tvm.schedules.workload import conv2d_workload

if TYPE_CHECKING:
    import numpy as np


def lower_conv2d(builder: Any, call: Any, machine: Machine, choices: Choices) -> Any:
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
        # A matrix product whose rows are the pixels.
        matrix = weight.reshape(weight.shape[0], -1).T
        return emit_product(builder, data, matrix, str(call.ty.dtype), "conv2d", machine, choices)
    image = [constant(extent) for extent in data.ty.shape]
    dtypes = (str(data.ty.dtype), str(weight.dtype), str(call.ty.dtype))
    workload = conv2d_workload(dtypes, image, weight.shape, window)
    algorithms = winograd_algorithms(call, weight, window)

    def lower(config: Config) -> Lowering:
        if algorithms and config.get("algorithm") != DIRECT:
            winograd = lower_winograd(call, weight, window, machine, config, workload)
            if winograd is not None:
                return winograd
        return _direct(call, weight, window, machine, config, workload)

    of_group = weight.shape[0] // window.groups if window.groups > 1 else 0
    direct_or_not = (DIRECT, *algorithms) if algorithms else ()
    anchor = Anchor(lower, (tensor_type(data),), direct_or_not, of_group)
    lowering = choices.lower(workload, anchor)
    return emit(builder, lowering, (data,), "conv2d")


def _direct(
    call: Any,
    weight: np.ndarray,
    window: Window,
    machine: Machine,
    config: Config,
    workload: str,
) -> Lowering:
    """An implicit matrix product whose rows are the pixels of an image row."""
    data, dtype = call.args[0], str(call.ty.dtype)
    channels, *_, of_group = weight.shape
    out_width = constant(call.ty.shape[2])
    run = reduced_axes(window, of_group)[-1]
    total = accumulator(str(data.ty.dtype))
    grouped = window.groups > 1
    tile = choose_tile(out_width, channels // window.groups, run, machine, total, whole=grouped)
    matrix = weight.reshape(channels, -1).T
    chunk = 0 if grouped else half_chunk(str(data.ty.dtype), matrix, run, machine)
    if chunk:
        tile = choose_tile(out_width, channels, chunk, machine, str(data.ty.dtype))
    tile = tuned_tile(tile, config, columns=channels // window.groups if grouped else 0)
    return Lowering(
        lambda a, b: packed_conv2d(a, b, window, channels, tile, dtype, workload, chunk),
        pack_conv2d(weight, window, tile.columns),
    )
