"""Let a maximum begin at minus infinity and a minimum at infinity, as ONNX and IEEE 754 have it.

TVM begins a reduction of floats at the largest finite number of either sign. The maximum of a row
of minus infinities, which is what a fully masked row of attention is, becomes a finite number then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def legalize_extremes() -> dict[str, Callable[..., Any]]:
    """Return the replacements of ``relax.max`` and ``relax.min`` for ``LegalizeOps``."""
    return {f"relax.{name}": _legalize(name) for name in ("max", "min")}


def _legalize(name: str) -> Callable[..., Any]:
    def legalize(builder: Any, call: Any) -> Any:
        from tvm import topi

        data, attrs = call.args[0], call.attrs
        rank = len(data.ty.shape)
        axes = range(rank) if attrs.axis is None else [int(axis) % rank for axis in attrs.axis]
        if "float" not in str(data.ty.dtype):
            plain = getattr(topi, name)
            return builder.call_te(plain, data, list(axes), attrs.keepdims, primfunc_name_hint=name)
        return builder.call_te(
            _reduce, data, name, list(axes), bool(attrs.keepdims), primfunc_name_hint=name
        )

    return legalize


def _reduce(data: Any, name: str, axes: list[int], keepdims: bool) -> Any:
    """Reduce `axes` of `data` by ``max`` or ``min``."""
    from tvm import te, tirx

    combine: Any = {"max": tirx.max, "min": tirx.min}[name]
    first = float("-inf" if name == "max" else "inf")
    reducer = te.comm_reducer(
        lambda a, b: combine(a, b), lambda dtype: tirx.const(first, dtype), name=name
    )
    reduced = {axis: te.reduce_axis((0, data.shape[axis]), f"k{axis}") for axis in axes}
    kept = [axis for axis in range(len(data.shape)) if keepdims or axis not in reduced]

    def element(*indices: Any) -> Any:
        at = dict(zip(kept, indices, strict=True)) | reduced
        return reducer(data(*(at[axis] for axis in range(len(data.shape)))), list(reduced.values()))

    shape = [1 if axis in reduced else data.shape[axis] for axis in kept]
    return te.compute(shape, element, name=f"{data.op.name}_{name}")
