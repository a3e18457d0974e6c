"""Transposed convolutions: NHWC ones as a matrix product, the others by TVM in NCHW."""

from __future__ import annotations

from typing import Any

from autoglm_tvm.compiler.passes.dataflow import constant_array
from autoglm_tvm.compiler.passes.pack_matmul import emit_product
from autoglm_tvm.compiler.passes.packing import supported
from autoglm_tvm.schedules.choices import Choices
from autoglm_tvm.schedules.kernel import constant
from autoglm_tvm.schedules.machine import Machine
from autoglm_tvm.schedules.operators.conv2d_transpose import add_patches, patch_matrix
from autoglm_tvm.schedules.operators.matmul import accumulator

_TO_NCHW = [0, 3, 1, 2]
_TO_NHWC = [0, 2, 3, 1]


def lower_conv2d_transpose(builder: Any, call: Any, machine: Machine, choices: Choices) -> Any:
    """Lower ``relax.nn.conv2d_transpose`` of NHWC activations; None for NCHW ones."""
    attrs = call.attrs
    if (attrs.data_layout, attrs.kernel_layout) != ("NHWC", "IOHW"):
        return None
    weight = constant_array(call.args[1])
    known = None not in [constant(extent) for extent in list(call.ty.shape)[1:]]
    dilated = any(int(step) != 1 for step in attrs.dilation)
    if weight is None or not known or dilated or int(attrs.groups) != 1 or not supported(call):
        return _in_nchw(builder, call)
    return _as_product(builder, call, weight, machine, choices)


def _as_product(builder: Any, call: Any, weight: Any, machine: Machine, choices: Choices) -> Any:
    data, attrs = call.args[0], call.attrs
    matrix = patch_matrix(weight)
    total = accumulator(str(data.ty.dtype))
    # Patches are summed before they are rounded to half precision.
    product = emit_product(builder, data, matrix, total, "conv2d_transpose", machine, choices)
    patches = builder.emit(product, "patches")
    strides = (int(attrs.strides[0]), int(attrs.strides[1]))
    before = (int(attrs.padding[0]), int(attrs.padding[1]))
    size = (int(call.ty.shape[1]), int(call.ty.shape[2]))
    dtype = str(call.ty.dtype)

    def add(a: Any) -> Any:
        from tvm import topi

        summed = add_patches(a, (weight.shape[2], weight.shape[3]), strides, before, size)
        return summed if dtype == total else topi.cast(summed, dtype)

    return builder.call_te(add, patches, primfunc_name_hint="add_patches")


def _in_nchw(builder: Any, call: Any) -> Any:
    """TVM's own lowering knows NCHW alone."""
    from tvm import relax, topi

    data = builder.emit(builder.call_te(topi.transpose, call.args[0], _TO_NCHW), "in_nchw")
    attrs = {
        name: call.attrs[name]
        for name in ("strides", "padding", "output_padding", "dilation", "groups")
    }
    plain = builder.normalize(relax.op.nn.conv2d_transpose(data, call.args[1], **attrs))
    lowered = builder.emit(call.op.get_attr("FLegalize")(builder, plain), "transposed")
    return builder.call_te(topi.transpose, lowered, _TO_NHWC)
