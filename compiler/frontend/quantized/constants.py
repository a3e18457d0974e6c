"""Quantized constants: which they are, and how they stay quantized while others are folded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoglm_tvm.compiler.frontend.graph import FreshNames, known_tensors, replace_items
from autoglm_tvm.compiler.frontend.quantized.constant_store import ConstantStore

if TYPE_CHECKING:
    import numpy as np
    import onnx

#: Where a node reads quantized values, by operator.
QUANTIZED_INPUTS = {
    "ConvInteger": (0, 1),
    "DequantizeLinear": (0,),
    "MatMulInteger": (0, 1),
    "MatMulNBits": (1,),
}
#: Types of constants that are written out in wider ones.
WIDER = {"int4": "int8", "int2": "int8", "uint4": "uint8", "uint2": "uint8"}


def quantized_constants(graph: onnx.GraphProto) -> list[str]:
    """Return the names of the constants that the graph reads as quantized values, each once.

    Detached weights are inputs of the graph, and not counted.
    """
    known = known_tensors(graph)
    names = [
        node.input[index]
        for node in graph.node
        for index in QUANTIZED_INPUTS.get(node.op_type, ())
        if index < len(node.input) and node.input[index] in known
    ]
    return list(dict.fromkeys(names))


def hide_quantized_constants(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    """Make inputs of the quantized constants of `model`, in place, and return them.

    What a tool for constant folding cannot know it does not fold: a weight of int8 would become
    one of float32, four times as large, and its operator one on floats. The tools of today leave
    DequantizeLinear alone, but none promises that.
    """
    from onnx import helper

    names = set(quantized_constants(model.graph))
    hidden = [tensor for tensor in model.graph.initializer if tensor.name in names]
    copies = [type(tensor).FromString(tensor.SerializeToString()) for tensor in hidden]
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in names]
    replace_items(model.graph.initializer, kept)
    for tensor in copies:
        value = helper.make_tensor_value_info(tensor.name, tensor.data_type, tuple(tensor.dims))
        model.graph.input.append(value)
    return copies


def show_quantized_constants(model: onnx.ModelProto, hidden: list[onnx.TensorProto]) -> None:
    """Undo :func:`hide_quantized_constants` on what a tool made of the model."""
    names = {tensor.name for tensor in hidden}
    kept = [value for value in model.graph.input if value.name not in names]
    replace_items(model.graph.input, kept)
    model.graph.initializer.extend(hidden)


def fold_constant_quantize(model: onnx.ModelProto, constants: ConstantStore) -> None:
    """Compute QuantizeLinear of constants: some exporters keep float weights before a Q/DQ pair."""
    outputs = {value.name for value in model.graph.output}
    kept = []
    for node in model.graph.node:
        foldable = node.op_type == "QuantizeLinear" and node.output[0] not in outputs
        value = _quantized(node, constants) if foldable else None
        if value is None:
            kept.append(node)
        else:
            constants.put(node.output[0], value)
    if len(kept) < len(model.graph.node):
        replace_items(model.graph.node, kept)


def _quantized(node: onnx.NodeProto, constants: ConstantStore) -> np.ndarray | None:
    """Return the value of QuantizeLinear in the arithmetic of its scale; None where not constant.

    float8 is left to the importer, and so is the attribute `precision`.
    """
    import ml_dtypes
    import numpy as np
    from onnx import TensorProto, helper

    values = [constants.value(name) for name in node.input if name]
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if any(value is None for value in values) or attributes.get("precision"):
        return None
    data, scale = values[0], values[1]
    if data is None or scale is None:
        return None
    if len(values) > 2 and values[2] is not None:
        zero = values[2]
    else:
        elem_type = attributes.get("output_dtype") or TensorProto.UINT8
        zero = np.zeros(scale.shape, helper.tensor_dtype_to_np_dtype(elem_type))
    try:
        limits = ml_dtypes.iinfo(zero.dtype)
    except ValueError:
        return None
    axis, block = attributes.get("axis", 1), attributes.get("block_size", 0)
    scale, offset = (spread(p, data.shape, axis, block) for p in (scale, zero))
    steps = np.rint(data.astype(scale.dtype) / scale).astype(np.float64)
    total = np.clip(steps + offset.astype(np.float64), int(limits.min), int(limits.max))
    return total.astype(np.int32).astype(zero.dtype)


def spread(parameter: np.ndarray, shape: tuple[int, ...], axis: int, block_size: int) -> np.ndarray:
    """Shape a scale or zero point so that it broadcasts with its tensor, blocks repeated.

    Parameters
    ----------
    parameter
        One number, one for each index of `axis`, or one for each block of `block_size` of them.
    shape
        That of the tensor.
    """
    import numpy as np

    if parameter.size == 1 and not block_size:
        return parameter.reshape(())
    axis += len(shape) if axis < 0 else 0
    if block_size:
        repeated = np.repeat(parameter, block_size, axis)
        return np.take(repeated, range(shape[axis]), axis)
    along = [1] * len(shape)
    along[axis] = -1
    return parameter.reshape(along)


def transpose_constants(
    model: onnx.ModelProto, constants: ConstantStore, fresh: FreshNames
) -> None:
    """Transpose(DQ(constant)) = DQ(transposed constant), with its axis moved along, in place.

    What exporters write for a linear layer: its weight then is where an integer kernel wants it.
    """
    producers = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        source = producers.get(node.input[0]) if node.op_type == "Transpose" else None
        if source is None or source.op_type != "DequantizeLinear":
            continue
        moved = _transposed(node, source, constants, fresh)
        if moved is not None:
            node.CopyFrom(moved)


def _transposed(
    node: onnx.NodeProto, source: onnx.NodeProto, constants: ConstantStore, fresh: FreshNames
) -> onnx.NodeProto | None:
    """Return DequantizeLinear of the transposed constant; None where one input is no constant."""
    from onnx import helper

    values = [constants.value(name) for name in source.input if name]
    attributes = {a.name: helper.get_attribute_value(a) for a in source.attribute}
    if any(value is None for value in values) or values[0] is None:
        return None
    rank = values[0].ndim
    orders = [list(a.ints) for a in node.attribute if a.name == "perm"]
    order = orders[0] if orders else list(range(rank))[::-1]
    # Scales and zero points of blocks have the rank of the weight, and go along.
    turned = source.input if attributes.get("block_size") else source.input[:1]
    names = list(source.input)
    for place, name in enumerate(turned):
        value = constants.value(name)
        if value is not None:
            label = f"{name}/transposed{'_'.join(map(str, order))}"
            names[place] = constants.once(label, value.transpose(order).copy(), fresh)
    if values[1] is not None and values[1].ndim:
        attributes["axis"] = order.index(attributes.get("axis", 1) % rank)
    return helper.make_node(
        "DequantizeLinear", names, list(node.output), name=node.name, **attributes
    )


def widen_constants(model: onnx.ModelProto, constants: ConstantStore, fresh: FreshNames) -> None:
    """Turn the constants of 4 and 2 bits that DequantizeLinear reads into ones of 8, in place.

    They have the same values, and integer kernels take 8 bits.
    """
    for node in model.graph.node:
        if node.op_type != "DequantizeLinear":
            continue
        places = [place for place in (0, 2) if place < len(node.input) and node.input[place]]
        values = {place: constants.value(node.input[place]) for place in places}
        if any(v is None or str(v.dtype) not in WIDER for v in values.values()):
            continue
        for place, value in values.items():
            if value is not None:
                wide = value.astype(WIDER[str(value.dtype)])
                name = f"{node.input[place]}/{wide.dtype}"
                node.input[place] = constants.once(name, wide, fresh)
