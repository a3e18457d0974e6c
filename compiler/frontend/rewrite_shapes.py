"""Rewrites that keep models with one free dimension (mostly the batch) in reach of the importer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoglm_tvm.compiler.frontend.graph import FreshNames, replace_items
from autoglm_tvm.compiler.frontend.node_context import NodeContext
from autoglm_tvm.compiler.frontend.shape_values import SHAPE_OPERATORS

if TYPE_CHECKING:
    import onnx


def reshape_to_inferred(context: NodeContext, fresh: FreshNames) -> list[onnx.NodeProto] | None:
    """Reshape(x, computed) = Reshape(x, constant) where inference knows all dimensions but one.

    Only where the importer cannot follow the computation. The unknown dimension is 0 (copy) where
    its name is that of the input's dimension of the same axis, so that the importer sees that both
    are equal; else it is -1.
    """
    node = context.node
    target = context.types.get(node.output[0])
    if context.is_constant(1) or target is None or context.attribute("allowzero", 0):
        return None
    if not target.tensor_type.HasField("shape") or _importer_follows(context, node.input[1]):
        return None
    dims = target.tensor_type.shape.dim
    values = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in dims]
    if values.count(-1) > 1 or 0 in values:
        return None
    if -1 in values:
        axis = values.index(-1)
        source = context.types[node.input[0]].tensor_type.shape.dim
        name = dims[axis].dim_param
        if axis < len(source) and name and source[axis].dim_param == name:
            values[axis] = 0
    return _reshape_to(node, values, fresh)


def _reshape_to(node: onnx.NodeProto, values: list[int], fresh: FreshNames) -> list[onnx.NodeProto]:
    import numpy as np
    from onnx import helper, numpy_helper

    shape = fresh.take(f"{node.name}/shape")
    tensor = numpy_helper.from_array(np.array(values, dtype=np.int64))
    constant = helper.make_node("Constant", [], [shape], name=shape, value=tensor)
    node.input[1] = shape
    return [constant, node]


def _importer_follows(context: NodeContext, name: str) -> bool:
    """Say whether the importer carries the tensor `name` as a shape, from Shape nodes onward."""
    if name in context.constants:
        return True
    node = context.producers.get(name)
    if node is None or node.domain:
        return False
    if node.op_type == "Shape":
        return True
    data = node.input if node.op_type == "Concat" else node.input[:1]
    return node.op_type in SHAPE_OPERATORS and all(_importer_follows(context, i) for i in data)


def squeeze_from_the_front(context: NodeContext, fresh: FreshNames) -> list[onnx.NodeProto] | None:
    """Squeeze(x, axes) with axes from the front: TVM's layout conversion takes no others."""
    import numpy as np
    from onnx import helper, numpy_helper

    node, shape = context.node, context.shape(0)
    constant = context.constant(1)
    axes = list(context.attribute("axes", [])) if constant is None else constant.tolist()
    if shape is None or all(axis >= 0 for axis in axes):
        return None
    axes = [axis + len(shape) if axis < 0 else axis for axis in axes]
    if constant is None:
        replace_items(node.attribute, [helper.make_attribute("axes", axes)])
        return [node]
    name = fresh.take(f"{node.name}/axes")
    tensor = numpy_helper.from_array(np.array(axes, dtype=np.int64))
    node.input[1] = name
    return [helper.make_node("Constant", [], [name], name=name, value=tensor), node]


def pool_with_explicit_pads(context: NodeContext, fresh: FreshNames) -> list[onnx.NodeProto] | None:
    """Write out auto_pad of a pooling node; the formula is that of the ONNX operators.

    The importer wants every dimension fixed for it, the batch too, and floors for SAME_LOWER.
    """
    from onnx import helper

    mode, shape = context.attribute("auto_pad", "NOTSET"), context.shape(0)
    kernel = context.attribute("kernel_shape", None)
    if mode not in ("SAME_UPPER", "SAME_LOWER") or shape is None or None in shape[2:]:
        return None
    rank = len(shape) - 2
    strides = context.attribute("strides", [1] * rank)
    dilations = context.attribute("dilations", [1] * rank)
    totals = []
    for axis, size in enumerate(shape[2:]):
        count = -(-(size or 0) // strides[axis])
        reach = (count - 1) * strides[axis] + (kernel[axis] - 1) * dilations[axis] + 1
        totals.append(max(reach - (size or 0), 0))
    small, large = [t // 2 for t in totals], [t - t // 2 for t in totals]
    pads = small + large if mode == "SAME_UPPER" else large + small
    kept = [a for a in context.node.attribute if a.name not in ("auto_pad", "pads")]
    replace_items(context.node.attribute, [*kept, helper.make_attribute("pads", pads)])
    return [context.node]
