"""Half weights for machines without half arithmetic: what was float16 computes in float32.

Constants stay float16, behind a Cast: they take half the memory, and the kernels convert them in
registers (`vcvtph2ps`, `fcvtl`). Everything else of float16 becomes float32, so no step rounds to
float16 but the constants themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoglm_tvm.compiler.frontend.graph import (
    FreshNames,
    rename_tensors,
    replace_items,
    walk_graphs,
)
from autoglm_tvm.compiler.frontend.infer import infer_shapes, tensor_types
from autoglm_tvm.compiler.frontend.prune import prune

if TYPE_CHECKING:
    import onnx


def compute_in_float32(proto: onnx.ModelProto) -> list[str]:
    """Let every node of `proto` that makes float16 make float32, in place.

    The graph's inputs and outputs keep their types. A model with branches of its own that hold
    float16 stays as it is.

    Returns
    -------
    list of str
        What was done.
    """
    from onnx import TensorProto, helper

    half, single = TensorProto.FLOAT16, TensorProto.FLOAT
    infer_shapes(proto)
    graph = proto.graph
    types = tensor_types(graph)
    halves = {n for n, t in types.items() if t.tensor_type.elem_type == half}
    if not halves or _branches_hold_halves(proto):
        return []
    fresh = FreshNames(graph)
    constants = {tensor.name for tensor in graph.initializer} & halves
    given = ({value.name for value in graph.input} & halves) | constants
    results = [value.name for value in graph.output if value.name in halves]
    renamed = {name: fresh.take(f"{name}_single") for name in results}
    nodes: list[onnx.NodeProto] = []

    def cast(source: str, target: str, to: int) -> None:
        label = fresh.take(f"{target}/Cast")
        nodes.append(helper.make_node("Cast", [source], [target], name=label, to=to))

    used = {name for node in graph.node for name in node.input} & given
    for name in sorted(used):
        renamed[name] = fresh.take(f"{name}_single")
        cast(name, renamed[name], single)
    for node in graph.node:
        if node.op_type == "Gather" and node.input[0] in given:
            # A table is read where it is: its rows are cast, not all of it.
            result = node.output[0]
            node.output[0] = fresh.take(f"{result}_half")
            nodes.append(node)
            cast(node.output[0], renamed.get(result, result), single)
            continue
        rename_tensors(node, renamed)
        _retype(node)
        nodes.append(node)
    for name in results:
        cast(name if name in given else renamed[name], name, half)
    replace_items(graph.node, nodes)
    del graph.value_info[:]
    _drop_idle_casts(proto)
    prune(proto)
    infer_shapes(proto)
    count = len(used & constants)
    return [f"float16 for the memory alone: {count} constants of float16, sums in float32"]


def _branches_hold_halves(proto: onnx.ModelProto) -> bool:
    from onnx import TensorProto

    nested = list(walk_graphs(proto.graph))[1:]
    found = {t.tensor_type.elem_type for g in nested for t in tensor_types(g).values()}
    return TensorProto.FLOAT16 in found


def _retype(node: onnx.NodeProto) -> None:
    """Casts to float16 become casts to float32; constants that nodes hold are widened."""
    import numpy as np
    from onnx import TensorProto, numpy_helper

    half, single = TensorProto.FLOAT16, TensorProto.FLOAT
    for attribute in node.attribute:
        if attribute.name in ("to", "dtype", "output_dtype") and attribute.i == half:
            attribute.i = single
        if attribute.HasField("t") and attribute.t.data_type == half:
            value = numpy_helper.to_array(attribute.t).astype(np.float32)
            attribute.t.CopyFrom(numpy_helper.from_array(value, attribute.t.name))


def _drop_idle_casts(proto: onnx.ModelProto) -> None:
    """Remove casts from float32 to float32; what made a result for one makes the result."""
    infer_shapes(proto)
    graph = proto.graph
    types = tensor_types(graph)
    outputs = {value.name for value in graph.output}
    fixed = outputs | {value.name for value in (*graph.input, *graph.initializer)}
    names: dict[str, str] = {}
    nodes = []
    for node in graph.node:
        if _is_idle(node, types):
            source, result = names.get(node.input[0], node.input[0]), node.output[0]
            if result not in outputs:
                names[result] = source
                continue
            if source not in fixed and source not in names:
                names[source] = result
                continue
        nodes.append(node)
    final = {name: names.get(other, other) for name, other in names.items()}
    for node in nodes:
        rename_tensors(node, final)
    replace_items(graph.node, nodes)
    del graph.value_info[:]


def _is_idle(node: onnx.NodeProto, types: dict[str, onnx.TypeProto]) -> bool:
    from onnx import TensorProto

    source = types.get(node.input[0]) if node.op_type == "Cast" else None
    is_single = source is not None and source.tensor_type.elem_type == TensorProto.FLOAT
    return is_single and node.attribute[0].i == TensorProto.FLOAT
