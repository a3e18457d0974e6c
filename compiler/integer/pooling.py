"""Averages of bytes: int32 sums, then requantization.

    Q(mean of n (X - z) s) = saturate(round((sum X - n z) s / (n sy)) + zy)

GlobalAveragePool and ReduceMean become ReduceSum; AveragePool a depthwise ConvInteger by ones,
which pads with zero, so a window that reaches into the padding must count it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.frontend.graph import attributes
from autoglm_tvm.compiler.integer.bench import Bench
from autoglm_tvm.compiler.integer.kernels import average_pool_problem
from autoglm_tvm.compiler.integer.products import Taken
from autoglm_tvm.compiler.integer.quantization import Quantized
from autoglm_tvm.compiler.integer.refusal import Refusal
from autoglm_tvm.compiler.integer.requantize import requantize
from autoglm_tvm.compiler.integer.tail import Tail, tail_of

if TYPE_CHECKING:
    import onnx

# Elements of an average whose sums requantization takes: below 2^29.
_MOST = (1 << 29) // 256
# ReduceSum's axes are an input since then.
_AXES_ARE_INPUT = 13


def global_average(bench: Bench, node: onnx.NodeProto, method: str) -> Taken | Refusal:
    """GlobalAveragePool: the mean over all spatial axes."""
    shape = bench.shape(node.input[0])
    if shape is None:
        return Refusal("the shape of its input is not known")
    return _mean(bench, node, list(range(2, len(shape))), True, method)


def reduce_mean(bench: Bench, node: onnx.NodeProto, method: str) -> Taken | Refusal:
    """ReduceMean over known axes."""
    given = attributes(node)
    shape = bench.shape(node.input[0])
    axes = given.get("axes")
    if axes is None and len(node.input) > 1 and node.input[1]:
        known = bench.constant(node.input[1])
        if known is None:
            return Refusal("its axes are computed")
        axes = [int(axis) for axis in known.reshape(-1)]
    if shape is None:
        return Refusal("the shape of its input is not known")
    if not axes:
        if given.get("noop_with_empty_axes"):
            return Refusal("it reduces nothing")
        axes = list(range(len(shape)))
    axes = [int(axis) % len(shape) for axis in axes]
    return _mean(bench, node, axes, bool(given.get("keepdims", 1)), method)


def average_pool(bench: Bench, node: onnx.NodeProto, method: str) -> Taken | Refusal:
    """AveragePool of two spatial axes."""
    import numpy as np

    found = _source_and_tail(bench, node)
    if isinstance(found, Refusal):
        return found
    source, tail = found
    shape = bench.shape(node.input[0])
    problem = average_pool_problem(node, shape)
    channels = shape[1] if shape else None
    if problem or channels is None:
        return Refusal(problem)
    given = attributes(node)
    size = [int(extent) for extent in given["kernel_shape"]]
    ones = bench.new_constant(np.ones((channels, 1, *size), np.int8), "ones")
    operands = [source.tensor, ones]
    if source.how.zero_point:
        operands.append(bench.zero_point_constant(source.how))
    kept = {
        name: given[name] for name in ("auto_pad", "pads", "strides", "dilations") if name in given
    }
    sums = bench.add(
        "ConvInteger",
        *operands,
        output=bench.fresh(f"{node.output[0]}/sums"),
        name=node.name,
        group=channels,
        kernel_shape=size,
        **kept,
    )
    return _finish(bench, node, sums, math.prod(size), source, tail, method)


def _mean(
    bench: Bench, node: onnx.NodeProto, axes: list[int], keepdims: bool, method: str
) -> Taken | Refusal:
    import numpy as np
    import onnx

    shape = bench.shape(node.input[0]) or ()
    extents = [shape[axis] for axis in axes]
    if None in extents or 0 in extents:
        return Refusal("how many elements it averages is not known")
    count = math.prod(extent or 0 for extent in extents)
    if count > _MOST:
        return Refusal("its sums could leave int32")
    found = _source_and_tail(bench, node)
    if isinstance(found, Refusal):
        return found
    source, tail = found
    label = node.output[0]
    wide = bench.add(
        "Cast", source.tensor, to=onnx.TensorProto.INT32, output=bench.fresh(f"{label}/int32")
    )
    total = bench.fresh(f"{label}/total")
    if bench.opset >= _AXES_ARE_INPUT:
        constant = bench.new_constant(np.array(axes, np.int64), "axes")
        bench.add("ReduceSum", wide, constant, output=total, name=node.name, keepdims=int(keepdims))
    else:
        bench.add(
            "ReduceSum", wide, output=total, name=node.name, keepdims=int(keepdims), axes=axes
        )
    zero = count * source.how.zero_point
    if zero:
        constant = bench.new_constant(np.asarray(zero, np.int32), "zero")
        total = bench.add("Sub", total, constant, output=bench.fresh(f"{label}/sums"))
    return _finish(bench, node, total, count, source, tail, method)


def _source_and_tail(bench: Bench, node: onnx.NodeProto) -> tuple[Quantized, Tail] | Refusal:
    source = bench.quantized.get(node.input[0])
    if source is None or not source.activation:
        return Refusal("its input is not quantized to bytes with one scale")
    tail = tail_of(bench, node.output[0])
    if tail.how is None:
        return Refusal("its result is needed in float")
    return source, tail


def _finish(
    bench: Bench,
    node: onnx.NodeProto,
    sums: str,
    count: int,
    source: Quantized,
    tail: Tail,
    method: str,
) -> Taken:
    import numpy as np

    how = tail.how
    assert how is not None
    multiplier = np.asarray(source.how.scale / (how.scale * np.float32(count)), np.float32)
    output = bench.share_bytes(tail.quantize)
    requantize(bench, sums, multiplier, tail.bounds, how, output, method)
    return (node, *tail.taken)
