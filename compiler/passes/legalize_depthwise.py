"""Depthwise convolutions of NHWC activations with a constant weight."""

from __future__ import annotations

from typing import Any

from autoglm_tvm.compiler.passes.dataflow import constant_array
from autoglm_tvm.compiler.passes.packing import emit, supported, window_of
from autoglm_tvm.schedules.choices import Lowering
from autoglm_tvm.schedules.kernel import constant
from autoglm_tvm.schedules.operators.depthwise import (
    depthwise_conv2d,
    is_depthwise,
    pack_depthwise,
)
from autoglm_tvm.schedules.workload import conv2d_workload


def legalize_depthwise(builder: Any, call: Any) -> Any:
    """Lower ``relax.nn.conv2d``; None if it is not depthwise, or its weight is computed."""
    data, kernel = call.args
    weight = constant_array(kernel)
    layouts = (call.attrs.data_layout, call.attrs.kernel_layout)
    channels = constant(data.ty.shape[-1])
    if layouts != ("NHWC", "OHWI") or weight is None or channels is None or not supported(call):
        return None
    window = window_of(call.attrs, weight)
    if not is_depthwise(window, channels):
        return None
    dtype = str(call.ty.dtype)
    image = [constant(extent) for extent in data.ty.shape]
    workload = conv2d_workload((str(data.ty.dtype), dtype), image, weight.shape, window)
    lowering = Lowering(
        lambda a, b: depthwise_conv2d(a, b, window, dtype, workload), pack_depthwise(weight)
    )
    return emit(builder, lowering, (data,), "depthwise_conv2d")
