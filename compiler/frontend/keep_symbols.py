"""Let shape inference see that a Reshape keeps a symbolic dimension, mostly the batch."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.frontend.graph import FreshNames, known_tensors
from autoglm_tvm.compiler.frontend.infer import infer_shapes, static_shape, tensor_types

if TYPE_CHECKING:
    import onnx

#: Each round may name the input of the Reshape nodes that follow.
MAX_ROUNDS = 4


def keep_symbols(model: onnx.ModelProto) -> list[str]:
    """Rewrite Reshape(x[n, 2, 3], [-1, 6]) to Reshape(x, [0, 6]) in the main graph, in place.

    onnx gives the -1 a new name; 0 copies the dimension, name and all.
    """
    fresh = FreshNames(model.graph)
    total = 0
    for _ in range(MAX_ROUNDS):
        types, known = tensor_types(model.graph), known_tensors(model.graph)
        changed = [n for n in model.graph.node if _keep(model.graph, n, types, known, fresh)]
        if not changed:
            break
        total += len(changed)
        infer_shapes(model)
    return [f"{total} Reshape nodes copy a symbolic dimension"] if total else []


def _keep(
    graph: onnx.GraphProto,
    node: onnx.NodeProto,
    types: dict[str, onnx.TypeProto],
    known: dict[str, onnx.TensorProto],
    fresh: FreshNames,
) -> bool:
    import numpy as np
    from onnx import numpy_helper

    if node.op_type != "Reshape" or node.domain or node.input[1] not in known:
        return False
    if any(attribute.name == "allowzero" and attribute.i for attribute in node.attribute):
        return False
    dims = static_shape(types.get(node.input[0]))
    values = numpy_helper.to_array(known[node.input[1]]).tolist()
    if dims is None or dims.count(None) != 1 or values.count(-1) != 1:
        return False
    axis = dims.index(None)
    if values.index(-1) != axis or any(v == 0 and i >= len(dims) for i, v in enumerate(values)):
        return False
    before = prod(dim for dim in dims if dim is not None)
    after = prod((dims[i] or 1) if v == 0 else v for i, v in enumerate(values) if i != axis)
    if 0 in dims or before != after:
        return False
    values[axis] = 0
    name = fresh.take(f"{node.name}/shape")
    graph.initializer.append(numpy_helper.from_array(np.array(values, dtype=np.int64), name))
    node.input[1] = name
    return True
