"""What each operator does to channels: makes them, passes them on, or needs them.

An operator that is not here needs every channel that it reads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from autoglm_tvm.compiler.frontend.channel_flow import Channels, Flow
from autoglm_tvm.compiler.frontend.channel_values import ELEMENTWISE, elementwise_value
from autoglm_tvm.compiler.frontend.graph import attribute

if TYPE_CHECKING:
    import numpy as np
    import onnx

Rule = Callable[[Flow, "onnx.NodeProto"], bool]


def follow(flow: Flow, node: onnx.NodeProto) -> None:
    """Enter what `node` does into the flow; nodes come in topological order."""
    rule = _elementwise if node.op_type in ELEMENTWISE else RULES.get(node.op_type)
    if node.domain or rule is None or not rule(flow, node):
        for name in node.input:
            flow.need_tensor(name)


@dataclass(frozen=True)
class Layer:
    """A sum of products with a constant weight.

    Attributes
    ----------
    weight
        The constant, as the node has it.
    out_axis, in_axis
        The weight's axes of output and input channels.
    bias
        By output channel; None where there is none.
    axis
        The channels' axis in the data, from the end.
    adds_constants
        Whether a channel that is a constant other than zero adds a constant to the sums everywhere:
        not at borders that are padded with zeros.
    depthwise
        Whether each channel is convolved with a kernel of its own.
    """

    weight: np.ndarray
    out_axis: int
    in_axis: int
    bias: np.ndarray | None
    axis: int
    adds_constants: bool
    depthwise: bool = False

    @property
    def by_channels(self) -> np.ndarray:
        """The weight as [out, in, kernel]; a view where numpy can."""
        import numpy as np

        moved = np.moveaxis(self.weight, (self.out_axis, self.in_axis), (0, 1))
        return moved.reshape(*moved.shape[:2], -1)


def layer_of(flow: Flow, node: onnx.NodeProto) -> Layer | None:
    """The layer that a node is; None for computed weights, and for groups of several channels."""
    if node.domain or node.op_type not in LAYERS or len(node.input) < 2:
        return None
    weight = flow.constant(node.input[1])
    bias = None
    if len(node.input) > 2 and node.input[2]:
        bias = flow.constant(node.input[2])
        if bias is None:
            return None
    return None if weight is None else LAYERS[node.op_type](flow, node, weight, bias)


def _conv(flow: Flow, node: onnx.NodeProto, weight: np.ndarray, bias: Any) -> Layer | None:
    groups, axis = attribute(node, "group", 1), 1 - weight.ndim
    pads = any(attribute(node, "pads", [0])) or attribute(node, "auto_pad", "NOTSET") not in (
        "NOTSET",
        "VALID",
    )
    if node.op_type == "ConvTranspose":
        return None if groups > 1 else Layer(weight, 1, 0, bias, axis, adds_constants=False)
    depthwise = groups > 1 and weight.shape[:2] == (groups, 1)
    if groups > 1 and not depthwise:
        return None
    return Layer(weight, 0, 1, bias, axis, not pads, depthwise)


def _gemm(flow: Flow, node: onnx.NodeProto, weight: np.ndarray, bias: Any) -> Layer | None:
    usual = attribute(node, "alpha", 1.0) == 1.0 and attribute(node, "beta", 1.0) == 1.0
    transposed = bool(attribute(node, "transB", 0))
    columns = weight.shape[0 if transposed else 1]
    if not usual or attribute(node, "transA", 0):
        return None
    if bias is not None and bias.size != columns:
        return None
    flat = None if bias is None else bias.reshape(-1)
    return Layer(weight, *((0, 1) if transposed else (1, 0)), flat, -1, adds_constants=True)


def _matmul(flow: Flow, node: onnx.NodeProto, weight: np.ndarray, bias: Any) -> Layer | None:
    data = flow.shape(node.input[0])
    if weight.ndim != 2 or data is None or len(data) < 2:
        return None
    # There is no bias to add a constant to.
    return Layer(weight, 1, 0, None, -1, adds_constants=False)


LAYERS: dict[str, Callable[..., Layer | None]] = {
    "Conv": _conv,
    "ConvTranspose": _conv,
    "Gemm": _gemm,
    "MatMul": _matmul,
}


def absorbed(layer: Layer, values: np.ndarray) -> np.ndarray:
    """Which input channels of a layer can be left out, given what is known of their values."""
    import numpy as np

    unread = ~np.any(layer.by_channels, axis=(0, 2))
    constant = ~np.isnan(values) if layer.adds_constants else values == 0
    return unread | (constant & np.isfinite(layer.by_channels).all())


def _layer(flow: Flow, node: onnx.NodeProto) -> bool:
    import numpy as np

    layer = layer_of(flow, node)
    if layer is None:
        return False
    data, result = flow.tensors.get(node.input[0]), node.output[0]
    fits = data is not None and data.axis == layer.axis
    if layer.depthwise:
        if data is None or not fits:
            return False
        flow.put(result, Channels(data.ids, _depthwise_values(layer, data.values), layer.axis))
        return True
    weight = layer.by_channels
    if data is not None and fits:
        flow.need(data.ids[~absorbed(layer, data.values)])
    elif data is not None:
        flow.need(data.ids)
    empty = ~np.any(weight, axis=(1, 2))
    bias = np.zeros(len(weight), np.float32) if layer.bias is None else layer.bias
    flow.make(result, np.where(empty, bias, np.float32(np.nan)), layer.axis)
    return True


def _depthwise_values(layer: Layer, values: np.ndarray) -> np.ndarray:
    """A constant channel stays one: zero anywhere, another value without padding."""
    import numpy as np

    sums = layer.weight.reshape(len(layer.weight), -1).sum(axis=1, dtype=np.float64)
    known = np.where(values == 0, 0, values * sums if layer.adds_constants else np.nan)
    known = np.where(sums == 0, np.where(np.any(layer.by_channels, (1, 2)), known, 0), known)
    bias = 0 if layer.bias is None else layer.bias
    return (known + bias).astype(np.float32)


def _elementwise(flow: Flow, node: onnx.NodeProto) -> bool:
    import numpy as np

    names = list(node.input)
    tracked = [flow.tensors[name] for name in names if name in flow.tensors]
    if not tracked:
        return True
    first = tracked[0]
    count, axis = len(first.ids), first.axis
    result = flow.shape(node.output[0])
    if result is None or result[axis] != count or len(node.output) > 1:
        return False
    if any((channels.axis, len(channels.ids)) != (axis, count) for channels in tracked):
        return False
    operands = []
    for name in names:
        operand = _operand(flow, name, axis, count)
        if operand is None and name:
            return False
        operands.append(operand)
    while operands[-1] is None:
        operands.pop()
    for channels in tracked[1:]:
        flow.merge(first.ids, channels.ids)
    values = np.broadcast_to(elementwise_value(node, operands), (count,))
    flow.put(node.output[0], Channels(first.ids, values.astype(np.float32), axis))
    return True


def _operand(flow: Flow, name: str, axis: int, count: int) -> Any:
    """What is known of an operand by channel; None where it fits the channels in no way."""
    import numpy as np

    unknown = np.float32(np.nan)
    if name in flow.tensors:
        return flow.tensors[name].values
    shape = flow.shape(name)
    if not name or shape is None:
        return None
    extent = shape[axis] if len(shape) >= -axis else 1
    value = flow.constant(name)
    if value is None:
        return unknown if extent == 1 else None
    if extent not in (1, count):
        return None
    if value.size == 1:
        return value.reshape(())
    return value.reshape(-1) if value.size == count == extent else unknown


def _batch_norm(flow: Flow, node: onnx.NodeProto) -> bool:
    import numpy as np

    data = flow.tensors.get(node.input[0])
    shape = flow.shape(node.input[0])
    parameters = [flow.constant(name) for name in node.input[1:5]]
    if data is None:
        return True
    if shape is None or data.axis != 1 - len(shape) or len(node.output) > 1:
        return False
    if any(parameter is None for parameter in parameters):
        return False
    scale, shift, mean, variance = (np.asarray(p, np.float64) for p in parameters)
    factor = scale / np.sqrt(variance + attribute(node, "epsilon", 1e-5))
    values = np.where(factor == 0, shift, (data.values - mean) * factor + shift)
    flow.put(node.output[0], Channels(data.ids, values.astype(np.float32), data.axis))
    return True


def _pool(flow: Flow, node: onnx.NodeProto) -> bool:
    """A mean or a maximum of equal values is that value, if no zeros of a border are in it."""
    import numpy as np

    data, shape = flow.tensors.get(node.input[0]), flow.shape(node.input[0])
    if data is None:
        return True
    if shape is None or data.axis != 1 - len(shape) or len(node.output) > 1:
        return False
    borders = node.op_type == "AveragePool" and attribute(node, "count_include_pad", 0)
    values = np.where(data.values == 0, 0, np.nan) if borders else data.values
    flow.put(node.output[0], Channels(data.ids, values.astype(np.float32), data.axis))
    return True


def _concat(flow: Flow, node: onnx.NodeProto) -> bool:
    import numpy as np

    shape = flow.shape(node.output[0])
    parts = [flow.tensors.get(name) for name in node.input]
    known = [part for part in parts if part is not None]
    if not known:
        return True
    axis = attribute(node, "axis", 0)
    if shape is None or len(known) < len(parts):
        return False
    axis -= len(shape) if axis >= 0 else 0
    if any(part.axis != axis for part in known):
        return False
    ids = np.concatenate([part.ids for part in known])
    values = np.concatenate([part.values for part in known])
    flow.put(node.output[0], Channels(ids, values, axis))
    return True


def _reshape(flow: Flow, node: onnx.NodeProto) -> bool:
    """[.., C, ..] to [.., C * n, ..]: each channel becomes n of them in a row; n may be 1."""
    import numpy as np

    data = flow.tensors.get(node.input[0])
    before, after = flow.shape(node.input[0]), flow.shape(node.output[0])
    if data is None:
        return True
    if before is None or after is None or attribute(node, "allowzero", 0):
        return False
    if node.op_type == "Reshape" and flow.integers(node.input[1]) is None:
        return False
    at = len(before) + data.axis
    if None in before[1:] or None in after[1:] or at == 0 or len(after) < at + 1:
        return False
    # What stands before the channels stays; the channels take in some of what stands behind.
    if before[:at] != after[:at] or (after[at] or 0) % len(data.ids):
        return False
    times = (after[at] or 0) // len(data.ids)
    inner, outer = (prod(dim or 0 for dim in dims[at + 1 :]) for dims in (before, after))
    if inner != times * outer:
        return False
    ids, values = np.repeat(data.ids, times), np.repeat(data.values, times)
    flow.put(node.output[0], Channels(ids, values, at - len(after)))
    return True


def _transpose(flow: Flow, node: onnx.NodeProto) -> bool:
    data, shape = flow.tensors.get(node.input[0]), flow.shape(node.input[0])
    if data is None:
        return True
    if shape is None:
        return False
    perm = attribute(node, "perm", list(range(len(shape)))[::-1])
    axis = list(perm).index(len(shape) + data.axis) - len(shape)
    flow.put(node.output[0], Channels(data.ids, data.values, axis))
    return True


def _over_axes(flow: Flow, node: onnx.NodeProto) -> bool:
    """ReduceMean, ReduceMax, Squeeze, Unsqueeze: axes other than the channels' come or go."""
    data = flow.tensors.get(node.input[0])
    before, after = flow.shape(node.input[0]), flow.shape(node.output[0])
    if data is None:
        return True
    given = len(node.input) > 1 and bool(node.input[1])
    axes = flow.integers(node.input[1]) if given else attribute(node, "axes", None)
    if before is None or after is None or not axes:
        return False
    inserts = node.op_type == "Unsqueeze"
    rank = len(after) if inserts else len(before)
    places = {axis + rank if axis < 0 else axis for axis in axes}
    if inserts:
        stay = [axis for axis in range(rank) if axis not in places]
        axis = stay[data.axis] - rank
    else:
        at = rank + data.axis
        if at in places:
            return False
        keeps = len(after) == rank
        axis = data.axis + (0 if keeps else sum(place > at for place in places))
    flow.put(node.output[0], Channels(data.ids, data.values, axis))
    return True


def _resize(flow: Flow, node: onnx.NodeProto) -> bool:
    """Zero stays zero; of other values interpolation would have to be known."""
    import numpy as np

    data = flow.tensors.get(node.input[0])
    before, after = flow.shape(node.input[0]), flow.shape(node.output[0])
    if data is None:
        return True
    # Sizes would have to be written anew.
    by_scale = len(node.input) < 4 and attribute(node, "axes", None) is None
    if not by_scale or before is None or after is None or before[data.axis] != after[data.axis]:
        return False
    values = np.where(data.values == 0, 0, np.nan).astype(np.float32)
    flow.put(node.output[0], Channels(data.ids, values, data.axis))
    return True


RULES: dict[str, Rule] = {
    **dict.fromkeys(LAYERS, _layer),
    "BatchNormalization": _batch_norm,
    **dict.fromkeys(
        ("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"),
        _pool,
    ),
    "Concat": _concat,
    "Flatten": _reshape,
    **dict.fromkeys(("ReduceMean", "ReduceMax", "Squeeze", "Unsqueeze"), _over_axes),
    "Reshape": _reshape,
    "Resize": _resize,
    "Transpose": _transpose,
}
