"""What the lowerings of matrix products and convolutions share."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from autoglm_tvm.schedules.choices import Lowering
from autoglm_tvm.schedules.kernel import constant
from autoglm_tvm.schedules.operators.conv2d import Window

if TYPE_CHECKING:
    import numpy as np

# FuseOps then lets elementwise operators follow in the same kernel (kOutEWiseFusable).
FUSIBLE = {"op_pattern": 4}
_TYPES = {"float32", "float16", "float64", "int32"}


def supported(call: Any) -> bool:
    """Whether both operands are of one type that tiles hold and no axis of theirs is empty.

    A weight may be float16 where all else is float32.
    """
    data, weight = (str(arg.ty.dtype) for arg in call.args)
    if (data, weight, str(call.ty.dtype)) == ("float32", "float16", "float32"):
        weight = data
    dtypes = {data, weight}
    integers = "int32" in (*dtypes, str(call.ty.dtype))
    one = len(dtypes | {str(call.ty.dtype)} if integers else dtypes) == 1
    empty = any(constant(extent) == 0 for arg in call.args for extent in arg.ty.shape)
    return one and dtypes <= _TYPES and not empty


def emit(builder: Any, lowering: Lowering, operands: Sequence[Any], name: str) -> Any:
    """The kernel of a lowered operator: its computed operands, then its packed weight."""
    from tvm import relax

    assert lowering.body is not None
    weight = [] if lowering.weight is None else [relax.const(lowering.weight)]
    return builder.call_te(
        lowering.body, *operands, *weight, primfunc_name_hint=name, primfunc_attrs=FUSIBLE
    )


def tensor_type(value: Any) -> tuple[tuple[int, ...], str]:
    """Shape and dtype; symbolic extents, of which no anchor is recorded, count as 0."""
    return tuple(constant(extent) or 0 for extent in value.ty.shape), str(value.ty.dtype)


def product(extents: list[Any]) -> int | None:
    """Number of elements; None where an extent is symbolic."""
    known = [constant(extent) for extent in extents]
    return None if None in known else prod(extent for extent in known if extent is not None)


def window_of(attrs: Any, weight: np.ndarray) -> Window:
    """The window of a convolution from its attributes and its OHWI weight."""
    _, height, width, _ = weight.shape
    top, left, bottom, right = (int(size) for size in attrs.padding)
    return Window(
        kernel=(height, width),
        strides=(int(attrs.strides[0]), int(attrs.strides[1])),
        dilation=(int(attrs.dilation[0]), int(attrs.dilation[1])),
        padding=(top, left, bottom, right),
        groups=int(attrs.groups),
    )
