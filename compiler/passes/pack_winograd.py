"""3x3 convolutions of NHWC activations by Winograd's algorithm, where that is faster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autoglm_tvm.compiler.passes.packing import FUSIBLE, packed_constant
from autoglm_tvm.schedules.kernel import constant
from autoglm_tvm.schedules.machine import Machine
from autoglm_tvm.schedules.operators.conv2d import Window
from autoglm_tvm.schedules.operators.winograd import pack_winograd, winograd_conv2d
from autoglm_tvm.schedules.winograd_plan import choose_plan

if TYPE_CHECKING:
    import numpy as np


def lower_winograd(
    builder: Any, call: Any, weight: np.ndarray, window: Window, machine: Machine
) -> Any:
    """Lower ``relax.nn.conv2d`` with an OHWI `weight`; None where the direct sum is better.

    That is everything but 3x3 kernels with stride and dilation 1 on float32 images of known size,
    and what `choose_plan` finds slower. A float16 image would lose its precision to the transforms.
    """
    data, dtype = call.args[0], str(call.ty.dtype)
    batch, height, width, _ = (constant(extent) for extent in data.ty.shape)
    dense = window == Window((3, 3), (1, 1), (1, 1), window.padding, 1)
    if not dense or str(data.ty.dtype) != "float32" or not (batch and height and width):
        return None
    channels, _, _, in_channels = weight.shape
    result = (batch, *window.output(height, width))
    plan = choose_plan(result, in_channels, channels, machine) if min(result) > 0 else None
    if plan is None:
        return None
    return builder.call_te(
        lambda a, b: winograd_conv2d(a, b, window.padding, plan, dtype),
        data,
        packed_constant(pack_winograd(weight, plan.transforms, plan.tile.columns)),
        primfunc_name_hint="conv2d_winograd",
        primfunc_attrs=FUSIBLE,
    )
