"""Relu and Clip of bytes.

    Relu((X - z) s) = (max(X, z) - z) s
    Q(min(max(x, low), high)) = min(max(Q(x), Q(low)), Q(high))

Zero always has a byte, so Relu needs no Q behind. Other bounds need not have one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoglm_tvm.compiler.integer.bench import Bench
from autoglm_tvm.compiler.integer.bytes_to_bytes import bytes_to_bytes
from autoglm_tvm.compiler.integer.products import Taken
from autoglm_tvm.compiler.integer.quantization import Quantized
from autoglm_tvm.compiler.integer.refusal import Refusal
from autoglm_tvm.compiler.integer.requantize import clip_range
from autoglm_tvm.compiler.integer.tail import bounds_of, tail_of

if TYPE_CHECKING:
    import onnx


def clipping(bench: Bench, node: onnx.NodeProto, method: str) -> Taken | Refusal:
    """Clip the bytes; requantize them where the scale changes behind."""
    source = bench.quantized.get(node.input[0])
    if source is None or not source.activation:
        return Refusal("its input is not quantized to bytes with one scale")
    bounds = bounds_of(bench, node)
    if bounds is None:
        return Refusal("its bounds are computed")
    tail = tail_of(bench, node.output[0])
    low, high = min(max(bounds[0], tail.low), tail.high), min(max(bounds[1], tail.low), tail.high)
    if tail.how is not None and not tail.how.same_as(source.how):
        output = bench.share_bytes(tail.quantize)
        bytes_to_bytes(bench, source, tail.how, output, (low, high), method)
        return (node, *tail.taken)
    if tail.how is not None:
        output = bench.share_bytes(tail.quantize)
        _clip(bench, source, (low, high), output)
        return (node, *tail.taken)
    if node.op_type != "Relu":
        return Refusal("its result is needed in float, and its bounds may have no byte")
    output = bench.fresh(f"{node.output[0]}/bytes")
    _clip(bench, source, bounds, output)
    bench.quantized[node.output[0]] = Quantized(output, source.how)
    return (node,)


def _clip(bench: Bench, source: Quantized, bounds: tuple[float, float], output: str) -> None:
    import numpy as np

    limits = clip_range(bounds, source.how)
    if limits == (source.how.lowest, source.how.highest):
        bench.add("Identity", source.tensor, output=output)
        return
    names = [bench.new_constant(np.array(limit, source.how.dtype), "limit") for limit in limits]
    bench.add("Clip", source.tensor, *names, output=output)
