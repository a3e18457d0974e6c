"""Sums of products that the graph passes left as plain loops, and why they are not packed."""

from __future__ import annotations

from typing import Any

from autoglm_tvm.schedules.kernel import Block, Kernel
from autoglm_tvm.schedules.rule import Refusal

_PACKED_TYPES = {"float16", "float32", "float64", "int32"}


def refuse_unpacked(kernel: Kernel) -> Refusal:
    """Say why a kernel without tiles is no contraction, as far as its loops tell."""
    for block in kernel.blocks:
        types = _multiplied(block)
        # A block with annotations was made for another rule.
        if types and not block.annotations:
            return Refusal(_reason(block, types), met=1)
    return Refusal("no sum of products", met=0)


def _reason(block: Block, types: set[str]) -> str:
    if not types <= _PACKED_TYPES:
        found = " by ".join(sorted(types))
        return f"it multiplies {found}; only floats and int32 are packed into tiles"
    if None in (*block.spatial, *block.reduced):
        return "its products were not packed into tiles, and its sizes are symbolic"
    return (
        "its products were not packed into tiles: that takes two matrices, or an NHWC convolution "
        "of images with a constant weight"
    )


def _multiplied(block: Block) -> set[str]:
    """Element types of the two different tensors whose products a reduction sums; else empty."""
    import tvm_ffi
    from tvm import tirx
    from tvm.ir import TensorLoad

    stored = block.statement.body
    if block.is_spatial or not isinstance(stored, tirx.BufferStore):
        return set()
    factors: Any = getattr(stored.value, "b", None)
    if not isinstance(stored.value, tirx.Add) or not isinstance(factors, tirx.Mul):
        return set()
    sides: list[dict[str, str]] = []
    for factor in (factors.a, factors.b):
        loads: dict[str, str] = {}
        tvm_ffi.structural_walk(
            factor,
            (
                TensorLoad,
                lambda load, into=loads: into.update({load.source.name: load.source.dtype}),
            ),
        )
        sides.append({name: str(dtype) for name, dtype in loads.items()})
    left, right = sides
    # A sum of squares is none of products.
    if not left or not right or left.keys() & right.keys():
        return set()
    return {*left.values(), *right.values()}
