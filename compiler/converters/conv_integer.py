"""ConvInteger: a convolution of int32, with the zero points taken away before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autoglm_tvm.schedules.kernel import constant

# Operator, and layouts of data and weight, by the number of spatial axes.
_OPERATORS = {
    1: ("conv1d", "NCW", "OIW"),
    2: ("conv2d", "NCHW", "OIHW"),
    3: ("conv3d", "NCDHW", "OIDHW"),
}


def conv_integer(builder: Any, inputs: Sequence[Any], attributes: dict[str, Any]) -> Any:
    """Convert ``ConvInteger(x, w, x_zero_point, w_zero_point)`` to a convolution of int32.

    Padding is zeros of the difference, as ONNX wants it: pixels of the zero point itself.

    Parameters
    ----------
    builder
        The importer's block builder.
    inputs
        x and w, uint8 or int8; a scalar zero point of x, one or one for each output channel of w.
    attributes
        Those of the node, as TVM's importer reads them.

    Raises
    ------
    ValueError
        More than three spatial axes, or SAME padding of an axis of unknown size.
    """
    from tvm import relax

    operands: list[Any] = [*inputs, None, None]
    image, weight, image_zero, weight_zero = operands[:4]
    rank = len(image.ty.shape) - 2
    if rank not in _OPERATORS:
        raise ValueError(f"ConvInteger over {rank} spatial axes")
    operator, data_layout, kernel_layout = _OPERATORS[rank]
    strides = list(attributes.get("strides", [1] * rank))
    dilations = list(attributes.get("dilations", [1] * rank))
    reach = [
        dilation * (int(size) - 1) + 1
        for dilation, size in zip(dilations, list(weight.ty.shape)[2:], strict=True)
    ]
    return getattr(relax.op.nn, operator)(
        _difference(builder, image, image_zero, ()),
        _difference(builder, weight, weight_zero, (-1, *[1] * (rank + 1))),
        strides=strides,
        padding=_padding(attributes, list(image.ty.shape)[2:], strides, reach),
        dilation=dilations,
        groups=attributes.get("group", 1),
        data_layout=data_layout,
        kernel_layout=kernel_layout,
        out_dtype="int32",
    )


def _difference(builder: Any, value: Any, zero: Any, along: tuple[int, ...]) -> Any:
    """`value` - `zero` in int32; a vector of zero points is reshaped to `along`."""
    from tvm import relax

    wide = builder.normalize(relax.op.astype(value, "int32"))
    if zero is None:
        return wide
    extents = [constant(extent) for extent in zero.ty.shape]
    zero = builder.normalize(relax.op.astype(zero, "int32"))
    if extents:
        shape: Any = () if extents == [1] else along
        zero = builder.normalize(relax.op.reshape(zero, shape))
    return builder.normalize(relax.op.subtract(wide, zero))


def _padding(
    attributes: dict[str, Any], sizes: Sequence[Any], strides: list[int], reach: list[int]
) -> list[int]:
    """What is added before each axis, then behind each; `reach` is what a window spans."""
    mode = attributes.get("auto_pad", b"NOTSET")
    mode = mode.decode() if isinstance(mode, bytes) else mode
    if mode == "VALID":
        return [0] * (2 * len(reach))
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        return list(attributes.get("pads", [0] * (2 * len(reach))))
    totals = []
    for size, stride, spans in zip(sizes, strides, reach, strict=True):
        known = constant(size)
        if known is None and stride != 1:
            raise ValueError(f"auto_pad {mode} of an axis of unknown size, with a stride")
        count = 1 if known is None else known
        totals.append(max((-(-count // stride) - 1) * stride + spans - count, 0))
    small, large = [total // 2 for total in totals], [total - total // 2 for total in totals]
    return small + large if mode == "SAME_UPPER" else large + small
