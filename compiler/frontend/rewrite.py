"""Small exact rewrites of valid nodes into the one form of them that TVM's importer reads.

Each rule takes a node and what is known of its inputs, and returns the nodes to put in its place,
or None. A rule states an identity of the ONNX specification; none changes a result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.frontend.graph import FreshNames, known_tensors, replace_items, subgraphs
from autoglm_tvm.compiler.frontend.infer import tensor_types
from autoglm_tvm.compiler.frontend.node_context import NodeContext
from autoglm_tvm.compiler.frontend.rewrite_expand import expand_both_ways
from autoglm_tvm.compiler.frontend.rewrite_numerics import FLOATS, float_mod, nms_thresholds
from autoglm_tvm.compiler.frontend.rewrite_shapes import (
    pool_with_explicit_pads,
    reshape_to_inferred,
    squeeze_from_the_front,
)

if TYPE_CHECKING:
    import numpy as np
    import onnx

Nodes = list["onnx.NodeProto"]
Rewrite = Callable[[NodeContext, FreshNames], "Nodes | None"]


def _pow_of_one_type(context: NodeContext, fresh: FreshNames) -> Nodes | None:
    """Pow(x, y) = Pow(x, Cast(y)) for float x; = Cast(Pow(double x, double y)) for integer x."""
    import onnx

    base, exponent = context.dtype(0), context.dtype(1)
    if base is None or exponent is None or (base == exponent and base in FLOATS):
        return None
    node = context.node
    base_type = context.types[node.input[0]].tensor_type.elem_type
    if base in FLOATS:
        cast = _cast(node.input[1], base_type, node.name, fresh)
        return [cast, _pow(node, node.input[0], cast.output[0], node.output[0])]
    left = _cast(node.input[0], onnx.TensorProto.DOUBLE, node.name, fresh)
    right = _cast(node.input[1], onnx.TensorProto.DOUBLE, node.name, fresh)
    power = _pow(node, left.output[0], right.output[0], fresh.take(f"{node.name}/Pow"))
    back = _cast(power.output[0], base_type, node.name, fresh)
    back.output[0] = node.output[0]
    return [left, right, power, back]


def _pow(node: onnx.NodeProto, base: str, exponent: str, output: str) -> onnx.NodeProto:
    from onnx import helper

    return helper.make_node("Pow", [base, exponent], [output], name=node.name)


def _cast(name: str, elem_type: int, prefix: str, fresh: FreshNames) -> onnx.NodeProto:
    from onnx import helper

    output = fresh.take(f"{prefix}/Cast")
    return helper.make_node("Cast", [name], [output], name=output, to=elem_type)


def _one_hot_by_comparison(context: NodeContext, fresh: FreshNames) -> Nodes | None:
    """OneHot(i, depth, [off, on]) = Where(Equal(Unsqueeze(i'), [0, ..., depth-1]), on, off).

    Where i' is i, plus depth where i is negative. The importer's own converter gives values of
    type float64 or int64 whatever the type of `values`, and wants integer indices.
    """
    import numpy as np
    from onnx import TensorProto, helper

    depth, shape, node = context.constant(1), context.shape(0), context.node
    if depth is None or shape is None or 0 in shape:
        return None
    count, axis = int(depth.reshape(-1)[0]), context.attribute("axis", -1)
    axis += len(shape) + 1 if axis < 0 else 0
    if shape[axis:].count(None) > 1:
        return None
    made: Nodes = []

    def constant(label: str, value: object) -> str:
        name = fresh.take(f"{node.name}/{label}")
        tensor = _tensor(np.array(value, dtype=np.int64))
        made.append(helper.make_node("Constant", [], [name], name=name, value=tensor))
        return name

    def add(op_type: str, *inputs: str) -> str:
        name = fresh.take(f"{node.name}/{op_type}")
        made.append(helper.make_node(op_type, inputs, [name], name=name))
        return name

    made.append(_cast(node.input[0], TensorProto.INT64, node.name, fresh))
    indices = made[-1].output[0]
    negative = add("Less", indices, constant("zero", 0))
    indices = add("Where", negative, add("Add", indices, constant("depth", count)), indices)
    # Reshape keeps a dimension where its shape says 0; at most one may be unknown after the axis.
    dims = [0] * axis + [1] + [-1 if dim is None else dim for dim in shape[axis:]]
    indices = add("Reshape", indices, constant("shape", dims))
    positions = np.arange(count).reshape([-1] + [1] * (len(shape) - axis))
    hit = add("Equal", indices, constant("positions", positions))
    off = add("Gather", node.input[2], constant("off", 0))
    on = add("Gather", node.input[2], constant("on", 1))
    made.append(helper.make_node("Where", [hit, on, off], list(node.output), name=node.name))
    return made


def _tensor(value: np.ndarray) -> onnx.TensorProto:
    from onnx import numpy_helper

    return numpy_helper.from_array(value)


def _topk_sorted(context: NodeContext, fresh: FreshNames) -> Nodes | None:
    """TopK with sorted=0 leaves the order open, so the sorted order is one right answer."""
    if context.attribute("sorted", 1):
        return None
    kept = [a for a in context.node.attribute if a.name != "sorted"]
    replace_items(context.node.attribute, kept)
    return [context.node]


def _cast_to_the_type(context: NodeContext, fresh: FreshNames) -> Nodes | None:
    """CastLike(x, y) = Cast(x, to the type of y)."""
    node = context.node
    known = context.types.get(node.input[1])
    if known is None or not known.tensor_type.elem_type:
        return None
    made = _cast(node.input[0], known.tensor_type.elem_type, node.name, fresh)
    made.name, made.output[0] = node.name, node.output[0]
    made.attribute.extend(node.attribute)
    return [made]


def _dropout_is_identity(context: NodeContext, fresh: FreshNames) -> Nodes | None:
    """Dropout(x) = x where nobody trains; TVM's layout conversion fails on its pair of results."""
    from onnx import helper

    training = context.constant(2)
    asked = context.has_input(2) and (training is None or bool(training))
    if asked or context.has_output(1):
        return None
    node = context.node
    return [helper.make_node("Identity", node.input[:1], node.output[:1], name=node.name)]


def _conv_transpose_pads(context: NodeContext, fresh: FreshNames) -> Nodes | None:
    """ConvTranspose's output_shape stands for pads; the formula is that of the ONNX operator."""
    from onnx import helper

    output, data = context.attribute("output_shape", None), context.shape(0)
    weight = context.shape(1)
    if output is None or data is None or weight is None:
        return None
    sizes, rank = data[2:], len(data) - 2
    kernel = context.attribute("kernel_shape", weight[2:])
    strides = context.attribute("strides", [1] * rank)
    dilations = context.attribute("dilations", [1] * rank)
    extra = context.attribute("output_padding", [0] * rank)
    if None in sizes or None in kernel:
        return None
    totals = [
        strides[i] * ((sizes[i] or 0) - 1)
        + extra[i]
        + (kernel[i] - 1) * dilations[i]
        + 1
        - output[len(output) - rank + i]
        for i in range(rank)
    ]
    if min(totals) < 0:
        return None
    small, large = [t // 2 for t in totals], [t - t // 2 for t in totals]
    pads = small + large if context.attribute("auto_pad", "") == "SAME_UPPER" else large + small
    dropped = ("output_shape", "auto_pad", "pads")
    kept = [a for a in context.node.attribute if a.name not in dropped]
    replace_items(context.node.attribute, [*kept, helper.make_attribute("pads", pads)])
    return [context.node]


REWRITES: tuple[tuple[str, Rewrite], ...] = (
    ("Pow", _pow_of_one_type),
    ("AveragePool", pool_with_explicit_pads),
    ("CastLike", _cast_to_the_type),
    ("ConvTranspose", _conv_transpose_pads),
    ("Dropout", _dropout_is_identity),
    ("Expand", expand_both_ways),
    ("MaxPool", pool_with_explicit_pads),
    ("Mod", float_mod),
    ("NonMaxSuppression", nms_thresholds),
    ("OneHot", _one_hot_by_comparison),
    ("Reshape", reshape_to_inferred),
    ("Squeeze", squeeze_from_the_front),
    ("TopK", _topk_sorted),
)


def rewrite_nodes(model: onnx.ModelProto) -> list[str]:
    """Apply the rewrites to every graph of `model`, in place; types must have been inferred."""
    counts: dict[str, int] = {}
    _rewrite_graph(model.graph, {}, {}, FreshNames(model.graph), counts)
    if not counts:
        return []
    listed = ", ".join(f"{name} ({count})" for name, count in sorted(counts.items()))
    return [f"rewritten for the importer: {listed}"]


def _rewrite_graph(
    graph: onnx.GraphProto,
    outer: dict[str, onnx.TypeProto],
    outer_known: dict[str, onnx.TensorProto],
    fresh: FreshNames,
    counts: dict[str, int],
) -> None:
    types = {**outer, **tensor_types(graph)}
    known = {**outer_known, **known_tensors(graph)}
    producers = {name: node for node in graph.node for name in node.output}
    rules = dict(REWRITES)
    nodes: Nodes = []
    changed = False
    for node in graph.node:
        for _, inner in subgraphs(node):
            _rewrite_graph(inner, types, known, fresh, counts)
        rule = rules.get(node.op_type) if not node.domain else None
        result = rule(NodeContext(node, types, known, producers), fresh) if rule else None
        nodes.extend([node] if result is None else result)
        if result is not None:
            changed = True
            counts[node.op_type] = counts.get(node.op_type, 0) + 1
    if changed:
        replace_items(graph.node, nodes)
