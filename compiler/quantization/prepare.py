"""What is done to a float graph before its layers are quantized; its results stay the same.

For a layer y = W x + b and a following y * k + d, with one k and d an output channel::

    y' = (k W) x + (k b + d)

where a batch normalisation is k = scale / sqrt(var + eps), d = shift - k mean (Jacob et al., 2018,
section 3.2). Quantized one by one, they would round twice, and the weight's scale would not fit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoglm_tvm.compiler.frontend.graph import (
    FreshNames,
    attribute,
    default_opset,
    input_names,
    kept_names,
    replace_items,
)
from autoglm_tvm.compiler.frontend.infer import infer_shapes
from autoglm_tvm.compiler.quantization.operators import is_standard
from autoglm_tvm.targets.errors import UserInputError

if TYPE_CHECKING:
    import numpy as np
    import onnx

#: DequantizeLinear knows scales along an axis from this opset on.
OLDEST_OPSET = 13
_AFFINE = ("BatchNormalization", "Mul", "Add", "Sub", "Div")


def prepare(proto: onnx.ModelProto) -> list[str]:
    """Bring a self-contained float model into the form that is quantized, in place.

    Layers keep their names, and the tensor behind what was folded keeps its own.
    """
    notes = _raise_opset(proto)
    folder = _Folder(proto)
    count = folder.fold()
    if count:
        notes.append(f"folded {count} scales, shifts and batch normalisations into layers")
    infer_shapes(proto)
    return notes


def _raise_opset(proto: onnx.ModelProto) -> list[str]:
    from onnx import version_converter

    from autoglm_tvm.compiler.frontend.constants import constant_nodes_to_initializers

    opset = default_opset(proto)
    if opset >= OLDEST_OPSET:
        return []
    names = [node.name for node in proto.graph.node]
    try:
        converted = version_converter.convert_version(proto, OLDEST_OPSET)
    except Exception as error:
        # The converter raises what its C++ code raises, also for operators that it does not know.
        raise UserInputError(
            f"the model's operator set {opset} is too old to be quantized, and cannot be raised: "
            f"{(str(error) or type(error).__name__).splitlines()[0][:200]}",
            hint=f"export the model again with operator set {OLDEST_OPSET} or later",
        ) from error
    constant_nodes_to_initializers(converted)
    taken = {node.name for node in converted.graph.node}
    if not set(names) <= taken:
        _restore_names(proto, converted)
    proto.CopyFrom(converted)
    fresh = FreshNames(proto.graph)
    for node in proto.graph.node:
        node.name = node.name or fresh.take(f"{node.op_type}_{node.output[0]}")
    return [f"converted from opset {opset} to {OLDEST_OPSET}"]


def _restore_names(before: onnx.ModelProto, after: onnx.ModelProto) -> None:
    """Give nodes the names that they had, by the tensors that they make."""
    names = {node.output[0]: node.name for node in before.graph.node}
    for node in after.graph.node:
        node.name = names.get(node.output[0], node.name)


class _Folder:
    """Folds what follows layers into their weights."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        self._graph = proto.graph
        self._fresh = FreshNames(proto.graph)
        self._constants = {tensor.name: tensor for tensor in proto.graph.initializer}
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in proto.graph.node:
            for name in input_names(node):
                self._readers.setdefault(name, []).append(node)
        self._kept = kept_names(proto.graph)

    def fold(self) -> int:
        """Fold all that can be; return how many nodes went."""
        gone: set[str] = set()
        for node in self._graph.node:
            if not is_standard(node) or node.op_type not in ("Conv", "Gemm"):
                continue
            if node.op_type == "Gemm":
                self._plain_gemm(node)
            follower = self._follower(node)
            while follower is not None and self._fold_one(node, follower):
                gone.add(follower.output[0])
                node.output[0] = follower.output[0]
                follower = self._follower(node)
        kept = [
            node
            for node in self._graph.node
            if node.output[0] not in gone or node.op_type in ("Conv", "Gemm")
        ]
        if len(kept) < len(self._graph.node):
            replace_items(self._graph.node, kept)
        return len(gone)

    def _plain_gemm(self, node: onnx.NodeProto) -> None:
        """Move a Gemm's alpha and beta into its constants."""
        for name, at in (("alpha", 1), ("beta", 2)):
            factor = attribute(node, name, 1.0)
            present = len(node.input) > at and node.input[at]
            if factor == 1.0 or (present and node.input[at] not in self._constants):
                continue
            if present:
                value = self._value(node.input[at])
                node.input[at] = self._add(node.input[at], value * value.dtype.type(factor))
            replace_items(node.attribute, [a for a in node.attribute if a.name != name])

    def _follower(self, node: onnx.NodeProto) -> onnx.NodeProto | None:
        """Return the only reader of a layer's output, where it is a scale or a shift."""
        name = node.output[0]
        readers = self._readers.get(name, [])
        if name in self._kept or len(readers) != 1 or list(readers[0].input).count(name) != 1:
            return None
        return readers[0] if is_standard(readers[0]) and readers[0].op_type in _AFFINE else None

    def _fold_one(self, node: onnx.NodeProto, follower: onnx.NodeProto) -> bool:
        import numpy as np

        if any(node.input[at] not in self._constants for at in range(1, len(node.input))):
            return False
        weight = self._value(node.input[1])
        transposed = node.op_type == "Gemm" and not attribute(node, "transB", 0)
        axis = 1 if transposed else 0
        channels = weight.shape[axis]
        factor_shift = self._affine(node, follower, channels, weight.ndim)
        if factor_shift is None or weight.dtype != np.float32:
            return False
        factor, shift = factor_shift
        bias = np.zeros(channels)
        if len(node.input) > 2 and node.input[2]:
            bias = bias + self._value(node.input[2]).astype(np.float64)
        if bias.shape != (channels,):
            return False
        along = [1] * weight.ndim
        along[axis] = -1
        scaled = (weight.astype(np.float64) * factor.reshape(along)).astype(weight.dtype)
        node.input[1] = self._add(node.input[1], scaled)
        moved = self._add(f"{node.output[0]}_bias", (bias * factor + shift).astype(weight.dtype))
        replace_items(node.input, [*node.input[:2], moved])
        return True

    def _affine(
        self, node: onnx.NodeProto, follower: onnx.NodeProto, channels: int, rank: int
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Return factor and shift of each channel in float64; None where it is something else."""
        import numpy as np

        if follower.op_type == "BatchNormalization":
            if attribute(follower, "training_mode", 0) or len(follower.output) > 1:
                return None
            if any(name not in self._constants for name in follower.input[1:]):
                return None
            values = [self._value(name).astype(np.float64) for name in follower.input[1:]]
            scale, shift, mean, variance = values
            factor = scale / np.sqrt(variance + attribute(follower, "epsilon", 1e-5))
            return factor, shift - factor * mean
        at = list(follower.input).index(node.output[0])
        other = follower.input[1 - at]
        if other not in self._constants:
            return None
        value = _per_channel(self._value(other), channels, rank, last=node.op_type == "Gemm")
        if value is None or (follower.op_type == "Div" and (at == 1 or not value.all())):
            return None
        one, none = np.ones(channels), np.zeros(channels)
        if follower.op_type == "Sub":
            return (one, -value) if at == 0 else (-one, value)
        if follower.op_type == "Add":
            return one, value
        return (1 / value if follower.op_type == "Div" else value), none

    def _value(self, name: str) -> np.ndarray:
        from onnx import numpy_helper

        return numpy_helper.to_array(self._constants[name])

    def _add(self, name: str, value: np.ndarray) -> str:
        from onnx import numpy_helper

        tensor = numpy_helper.from_array(value, self._fresh.take(name))
        self._graph.initializer.append(tensor)
        self._constants[tensor.name] = tensor
        return tensor.name


def _per_channel(value: np.ndarray, channels: int, rank: int, last: bool) -> np.ndarray | None:
    """Return a constant with one value an output channel; None where it varies along others."""
    import numpy as np

    value = value.astype(np.float64)
    if value.ndim > rank:
        return None
    if value.size == 1:
        return np.full(channels, value.reshape(-1)[0])
    shape = (1,) * (rank - value.ndim) + value.shape
    at = rank - 1 if last else 1
    return value.reshape(-1) if shape[at] == channels == value.size else None
