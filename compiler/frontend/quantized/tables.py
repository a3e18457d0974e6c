"""Rows of a quantized table: gathered as integers, and only what was gathered dequantized."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autoglm_tvm.compiler.frontend.graph import FreshNames, replace_items
from autoglm_tvm.compiler.frontend.infer import static_shape, tensor_types
from autoglm_tvm.compiler.frontend.quantized.constant_store import ConstantStore

if TYPE_CHECKING:
    import onnx

#: Types that a gathered table may have.
BYTES = ("int8", "uint8")


def gather_before_dequantizing(
    model: onnx.ModelProto, constants: ConstantStore, fresh: FreshNames
) -> None:
    """Gather(DQ(constant), i) = DQ(Gather(constant, i)), in place: an embedding stays small.

    Scales along the gathered axis are gathered too.
    """
    producers = {name: node for node in model.graph.node for name in node.output}
    types = tensor_types(model.graph)
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        source = producers.get(node.input[0]) if node.op_type == "Gather" else None
        made = None
        if source is not None and source.op_type == "DequantizeLinear":
            places = static_shape(types.get(node.input[1]))
            made = (
                None if places is None else _gathered(node, source, len(places), constants, fresh)
            )
        nodes.extend(made or [node])
    if len(nodes) > len(model.graph.node):
        replace_items(model.graph.node, nodes)


def _gathered(
    node: onnx.NodeProto,
    source: onnx.NodeProto,
    rank_of_indices: int,
    constants: ConstantStore,
    fresh: FreshNames,
) -> list[onnx.NodeProto] | None:
    """Return what takes the place of `node`; None where table or scales are not constant."""
    from onnx import TensorProto, helper

    values = [constants.value(name) for name in source.input if name]
    attributes = {a.name: helper.get_attribute_value(a) for a in source.attribute}
    table, scale = values[0], values[1]
    if table is None or scale is None or any(value is None for value in values):
        return None
    if str(table.dtype) not in BYTES or set(attributes) - {"axis"} or str(scale.dtype) != "float32":
        return None
    along = next((a.i for a in node.attribute if a.name == "axis"), 0) % table.ndim
    made: list[onnx.NodeProto] = []

    def add(op_type: str, *inputs: str, output: str = "", **extra: Any) -> str:
        name = fresh.take(f"{node.name}/{op_type}")
        output = output or name
        made.append(helper.make_node(op_type, inputs, [output], name=name, **extra))
        return output

    rows = add("Gather", source.input[0], node.input[1], axis=along)
    axis = attributes.get("axis", 1) % table.ndim
    if not scale.ndim or axis != along:
        if scale.ndim:
            attributes["axis"] = axis + (rank_of_indices - 1 if axis > along else 0)
        inputs = [rows, *source.input[1:]]
        add("DequantizeLinear", *inputs, output=node.output[0], **attributes)
    elif along == 0 and table.ndim == 2:
        number = add("Cast", rows, to=TensorProto.FLOAT)
        if len(values) > 2:
            zero = _column(source.input[2], constants, fresh, "zero_points", integer=True)
            zeros = add("Gather", zero, node.input[1], axis=0)
            number = add("Sub", number, add("Cast", zeros, to=TensorProto.FLOAT))
        scales = _column(source.input[1], constants, fresh, "scales", integer=False)
        add("Mul", number, add("Gather", scales, node.input[1], axis=0), output=node.output[0])
    else:
        return None
    made[-1].name = node.name
    return made


def _column(
    name: str, constants: ConstantStore, fresh: FreshNames, label: str, *, integer: bool
) -> str:
    """Add a vector of parameters as a column, so that its rows broadcast with those of a table."""
    import numpy as np

    value = constants.value(name)
    column = np.asarray(value)[:, None]
    return constants.once(f"{name}/{label}", column.astype(np.int32) if integer else column, fresh)
