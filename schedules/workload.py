"""Names of workloads: what is computed, independent of the schedule. Records are keyed by them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

from autoglm_tvm.schedules.kernel import constant

# Annotation of the block that sums products: the workload's name.
WORKLOAD = "autoglm.workload"


def matmul_workload(dtypes: Sequence[str], rows: int | None, reduced: int, columns: int) -> str:
    """A product of `rows` x `reduced` with a constant matrix; empty where rows are symbolic."""
    return f"matmul {_types(dtypes)} {rows}x{reduced} * {reduced}x{columns}" if rows else ""


def batched_workload(dtypes: Sequence[str], left: Sequence[Any], right: Sequence[Any]) -> str:
    """A product of two computed matrices, batches of them; empty where an extent is symbolic."""
    if not all(isinstance(extent, int) for extent in (*left, *right)):
        return ""
    return f"batched_matmul {_types(dtypes)} {_dims(left)} * {_dims(right)}"


def conv2d_workload(
    dtypes: Sequence[str], image: Sequence[Any], weight: Sequence[int], window: Any
) -> str:
    """A convolution of an NHWC image with an OHWI weight; empty where an extent is symbolic.

    `window` is `operators.conv2d.Window`.
    """
    if not all(isinstance(extent, int) for extent in image):
        return ""
    parts = [f"conv2d {_types(dtypes)} {_dims(image)} * {_dims(weight)}"]
    parts.append(f"stride {_dims(window.strides)} pad {_dims(window.padding)}")
    if window.dilation != (1, 1):
        parts.append(f"dilation {_dims(window.dilation)}")
    if window.groups > 1:
        parts.append(f"groups {window.groups}")
    return " ".join(parts)


def attention_workload(outer: Sequence[int], keys: int, depth: int, width: int, dtype: str) -> str:
    """An attention of queries (\\*groups, shared, rows) with `keys` keys of `depth` elements."""
    return f"attention {dtype} {_dims(outer)} * {keys} keys {depth}x{width}"


def kernel_workload(function: Any, operators: Sequence[str]) -> str:
    """The workload of an unscheduled kernel: its anchor's, or its operators, shapes and a hash.

    Parameters
    ----------
    function
        The ``PrimFunc`` as fusion left it.
    operators
        Names of the graph operators that are in it.

    Two kernels of one anchor that differ in what is fused behind it share the workload.
    """
    marked = _marked(function)
    if marked:
        return marked
    names = "+".join(re.sub(r"\d+$", "", name) for name in operators)
    tensors = [param for param in function.params if getattr(param, "shape", None) is not None]
    shapes = " ".join(f"{param.dtype}[{_dims(param.shape)}]" for param in tensors)
    plain = (
        function.without_attr("global_symbol") if "global_symbol" in function.attrs else function
    )
    digest = hashlib.sha256(plain.script().encode()).hexdigest()[:16]
    return f"{names} {shapes} #{digest}"


def _marked(function: Any) -> str:
    import tvm_ffi
    from tvm import s_tir

    found: list[str] = []

    def look(block: Any) -> None:
        if WORKLOAD in block.annotations:
            found.append(str(block.annotations[WORKLOAD]))

    tvm_ffi.structural_walk(function.body, (s_tir.SBlock, look))
    return found[0] if found else ""


def _types(dtypes: Sequence[str]) -> str:
    return "*".join(dict.fromkeys(dtypes))


def _dims(extents: Sequence[Any]) -> str:
    known = [constant(extent) for extent in extents]
    return "x".join(str(e if k is None else k) for e, k in zip(extents, known, strict=True))
