"""3x3 convolutions of NHWC activations by Winograd's algorithm, where that is faster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autoglm_tvm.schedules.choices import Config, Lowering
from autoglm_tvm.schedules.kernel import constant
from autoglm_tvm.schedules.machine import Machine
from autoglm_tvm.schedules.operators.conv2d import Window
from autoglm_tvm.schedules.operators.winograd import pack_winograd, winograd_conv2d
from autoglm_tvm.schedules.winograd_plan import ALGORITHMS, choose_plan, tuned_plan

if TYPE_CHECKING:
    import numpy as np


def winograd_algorithms(call: Any, weight: np.ndarray, window: Window) -> tuple[str, ...]:
    """Which sizes of tiles can compute ``relax.nn.conv2d`` with an OHWI `weight`.

    None but for 3x3 kernels with stride and dilation 1 on float32 images of known size. A float16
    image would lose its precision to the transforms, and a weight of float16 is to be small, where
    a transformed one has up to four times as many elements.
    """
    data = call.args[0]
    batch, height, width, _ = (constant(extent) for extent in data.ty.shape)
    dense = window == Window((3, 3), (1, 1), (1, 1), window.padding, 1)
    if (
        not dense
        or {str(data.ty.dtype), str(weight.dtype)} != {"float32"}
        or not (batch and height and width)
    ):
        return ()
    return tuple(ALGORITHMS) if min(window.output(height, width)) > 0 else ()


def lower_winograd(
    call: Any,
    weight: np.ndarray,
    window: Window,
    machine: Machine,
    config: Config,
    workload: str,
) -> Lowering | None:
    """The algorithm that `config` names; without one the best, None where the sum is better."""
    data, dtype = call.args[0], str(call.ty.dtype)
    batch, height, width, in_channels = (constant(extent) for extent in data.ty.shape)
    result = (batch or 0, *window.output(height, width))
    sizes = (result, in_channels or 0, weight.shape[0])
    plan = tuned_plan(*sizes, machine, config) if "algorithm" in config else None
    plan = plan or choose_plan(*sizes, machine)
    if plan is None:
        return None
    return Lowering(
        lambda a, b: winograd_conv2d(a, b, window.padding, plan, dtype, workload),
        pack_winograd(weight, plan.transforms, plan.tile.columns),
    )
