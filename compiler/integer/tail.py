"""What stands behind an operator up to where its result is quantized.

    op -> [Add constant ...] -> [Relu | Clip ...] -> QuantizeLinear

The additions become part of a product's bias, the bounds part of its requantization.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.frontend.graph import attributes
from autoglm_tvm.compiler.integer.bench import Bench
from autoglm_tvm.compiler.integer.quantization import Quantization

if TYPE_CHECKING:
    import numpy as np
    import onnx

_INFINITE = float("inf")

AsBias = Callable[["np.ndarray"], "np.ndarray | None"]


@dataclass(frozen=True)
class Tail:
    """Nodes behind an operator that a rule takes over with it.

    Attributes
    ----------
    nodes
        Those between the operator and what is in `quantize`, in order.
    output
        The real tensor behind the last of them.
    addends
        Constants that are added, each as what `as_bias` made of it.
    low, high
        Bounds of the result.
    how, quantize
        How the result is quantized, and the nodes that do it, all alike; None and empty where it
        is needed in float.
    """

    nodes: tuple[onnx.NodeProto, ...]
    output: str
    addends: tuple[np.ndarray, ...]
    low: float = -_INFINITE
    high: float = _INFINITE
    how: Quantization | None = None
    quantize: tuple[onnx.NodeProto, ...] = ()

    @property
    def bounds(self) -> tuple[float, float]:
        """Bounds of the result."""
        return self.low, self.high

    @property
    def taken(self) -> tuple[onnx.NodeProto, ...]:
        """All nodes of the tail."""
        return (*self.nodes, *self.quantize)


def tail_of(bench: Bench, tensor: str, as_bias: AsBias | None = None) -> Tail:
    """Return what stands behind a real tensor.

    Where its result is needed in float, the tail holds the additions alone: bounds stay what they
    are.

    Parameters
    ----------
    as_bias
        Turns a constant that is added into a part of the bias, or None where it is none. Without
        it nothing may be added on the way.
    """
    nodes: list[onnx.NodeProto] = []
    added: list[np.ndarray] = []
    while as_bias is not None:
        step = _addition(bench, tensor, as_bias)
        if step is None:
            break
        nodes.append(step[0])
        added.append(step[1])
        tensor = step[0].output[0]
    in_float = Tail(tuple(nodes), tensor, tuple(added))
    low, high = -_INFINITE, _INFINITE
    while True:
        how, quantize = _quantized(bench, tensor)
        if how is not None:
            return Tail(tuple(nodes), tensor, tuple(added), low, high, how, quantize)
        bounds = _bounds(bench, tensor)
        if bounds is None:
            return in_float
        node, least, most = bounds
        low, high = min(max(low, least), most), min(max(high, least), most)
        nodes.append(node)
        tensor = node.output[0]


def _only_reader(bench: Bench, tensor: str) -> onnx.NodeProto | None:
    readers = bench.consumers(tensor)
    return readers[0] if len(readers) == 1 and tensor not in bench.outputs else None


def _addition(
    bench: Bench, tensor: str, as_bias: AsBias
) -> tuple[onnx.NodeProto, np.ndarray] | None:
    """The node that adds a constant to the tensor and does nothing else with it."""
    node = _only_reader(bench, tensor)
    if node is None or node.op_type != "Add" or node.domain or node.input[0] == node.input[1]:
        return None
    other = node.input[1] if node.input[0] == tensor else node.input[0]
    value = bench.real_constant(other)
    shape, wide = bench.shape(tensor), bench.shape(node.output[0])
    if value is None or shape is None or wide is None or len(wide) != len(shape):
        return None
    bias = as_bias(value)
    return None if bias is None else (node, bias)


def _quantized(bench: Bench, tensor: str) -> tuple[Quantization | None, tuple[onnx.NodeProto, ...]]:
    """How all readers of the tensor quantize it, if that is all they do, and alike."""
    readers = bench.consumers(tensor)
    if not readers or tensor in bench.outputs:
        return None, ()
    if any(node.op_type != "QuantizeLinear" or node.input[0] != tensor for node in readers):
        return None, ()
    found = [bench.quantization(node) for node in readers]
    first = found[0]
    if first is None or not first.of_bytes:
        return None, ()
    if any(other is None or not other.same_as(first) for other in found[1:]):
        return None, ()
    return first, tuple(readers)


def _bounds(bench: Bench, tensor: str) -> tuple[onnx.NodeProto, float, float] | None:
    """The only reader where it is a Relu or a Clip with known bounds, and the bounds."""
    node = _only_reader(bench, tensor)
    found = None if node is None else bounds_of(bench, node)
    return None if node is None or found is None else (node, *found)


def bounds_of(bench: Bench, node: onnx.NodeProto) -> tuple[float, float] | None:
    """Bounds of a Relu or Clip; None for other nodes, and where they are not known."""
    if node.domain or node.op_type not in ("Relu", "Clip"):
        return None
    if node.op_type == "Relu":
        return 0.0, _INFINITE
    given = attributes(node)
    bounds = [given.get("min", -_INFINITE), given.get("max", _INFINITE)]
    for index, name in enumerate(node.input[1:3]):
        if name:
            value = bench.real_constant(name)
            if value is None or value.size != 1:
                return None
            bounds[index] = float(value.item())
    return bounds[0], bounds[1]
