"""Softmax as tensor expressions: one division for a row, half precision computed in float32."""

from __future__ import annotations

from typing import Any


def softmax(x: Any, axis: int) -> Any:
    """e^(x - m) / sum e^(x - m) along `axis`, where m is the largest element."""
    from tvm import te, tirx

    dtype = str(x.dtype)
    wide = widened(x)
    axis %= len(x.shape)
    largest = _largest(wide, axis)
    exponential: Any = te.compute(
        x.shape, lambda *i: tirx.exp(wide(*i) - largest(*without(i, axis))), name="softmax_exp"
    )
    total = _total(exponential, axis)
    one = tirx.const(1.0, str(wide.dtype))
    scale: Any = te.compute(total.shape, lambda *i: one / total(*i), name="softmax_scale")
    return te.compute(
        x.shape,
        lambda *i: (exponential(*i) * scale(*without(i, axis))).astype(dtype),
        name="softmax",
    )


def log_softmax(x: Any, axis: int) -> Any:
    """x - m - ln(sum e^(x - m)) along `axis`, where m is the largest element."""
    from tvm import te, tirx

    dtype = str(x.dtype)
    wide = widened(x)
    axis %= len(x.shape)
    largest = _largest(wide, axis)
    exponential: Any = te.compute(
        x.shape, lambda *i: tirx.exp(wide(*i) - largest(*without(i, axis))), name="softmax_exp"
    )
    total = _total(exponential, axis)
    logarithm: Any = te.compute(total.shape, lambda *i: tirx.log(total(*i)), name="softmax_log")
    return te.compute(
        x.shape,
        lambda *i: (wide(*i) - largest(*without(i, axis)) - logarithm(*without(i, axis))).astype(
            dtype
        ),
        name="log_softmax",
    )


def widened(x: Any) -> Any:
    """The tensor in float32 where it is narrower."""
    from tvm import topi

    return topi.cast(x, "float32") if str(x.dtype) in ("float16", "bfloat16") else x


def without(indices: Any, axis: int) -> tuple[Any, ...]:
    """The indices but that of `axis`."""
    return (*indices[:axis], *indices[axis + 1 :])


def _largest(x: Any, axis: int) -> Any:
    from tvm import te, tirx

    # TVM's own maximum begins at the lowest finite number.
    largest = te.comm_reducer(
        lambda a, b: tirx.max(a, b), lambda dtype: tirx.const(float("-inf"), dtype), name="max"
    )
    k = te.reduce_axis((0, x.shape[axis]), "k")
    shape = without(x.shape, axis)
    return te.compute(
        shape, lambda *i: largest(x(*i[:axis], k, *i[axis:]), axis=[k]), name="softmax_max"
    )


def _total(x: Any, axis: int) -> Any:
    from tvm import te

    k = te.reduce_axis((0, x.shape[axis]), "k")
    shape = without(x.shape, axis)
    return te.compute(shape, lambda *i: te.sum(x(*i[:axis], k, *i[axis:]), axis=k), name="sum")
