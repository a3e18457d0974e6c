"""One form for constants: every known tensor is a dense initializer that no input names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoglm_tvm.compiler.frontend.graph import replace_items, walk_graphs

if TYPE_CHECKING:
    import numpy as np
    import onnx

#: Initializers need not be listed as inputs from this IR version on.
FREE_INITIALIZERS_IR = 4


def initializers_are_constants(model: onnx.ModelProto) -> list[str]:
    """Drop from the inputs what the model gives a value for (a default that callers may override).

    With ``keep_params_in_input`` the importer would take such a tensor twice.
    """
    graph = model.graph
    names = {tensor.name for tensor in graph.initializer}
    names |= {sparse.values.name for sparse in graph.sparse_initializer}
    both = [value.name for value in graph.input if value.name in names]
    if not both:
        return []
    replace_items(graph.input, [value for value in graph.input if value.name not in names])
    model.ir_version = max(model.ir_version, FREE_INITIALIZERS_IR)
    return [f"took {len(both)} initializers that are also inputs as constants: {_few(both)}"]


def constant_nodes_to_initializers(model: onnx.ModelProto) -> list[str]:
    """Turn Constant nodes and sparse initializers of every graph into dense initializers.

    The importer reads only the ``value`` attribute of Constant, and no sparse tensor. A constant
    that is a graph output stays a node (with ``value``), since the output needs a producer.
    """
    from onnx import helper

    count = 0
    for graph in walk_graphs(model.graph):
        outputs = {value.name for value in graph.output}
        kept = []
        for node in graph.node:
            if node.op_type == "Constant" and not node.domain:
                tensor = _constant_value(node)
                if tensor is not None and node.output[0] in outputs:
                    replace_items(node.attribute, [helper.make_attribute("value", tensor)])
                elif tensor is not None:
                    graph.initializer.append(tensor)
                    count += 1
                    continue
            kept.append(node)
        if len(kept) < len(graph.node):
            replace_items(graph.node, kept)
        for sparse in graph.sparse_initializer:
            graph.initializer.append(_dense(sparse))
            count += 1
        del graph.sparse_initializer[:]
    if count:
        model.ir_version = max(model.ir_version, FREE_INITIALIZERS_IR)
    return []


def _constant_value(node: onnx.NodeProto) -> onnx.TensorProto | None:
    """Return the value of a Constant node as a tensor of its output's name; None for strings."""
    import numpy as np
    import onnx
    from onnx import numpy_helper

    attribute = node.attribute[0]
    name = node.output[0]
    if attribute.name == "value":
        tensor = onnx.TensorProto()
        tensor.CopyFrom(attribute.t)
        tensor.name = name
        return tensor
    if attribute.name == "sparse_value":
        tensor = _dense(attribute.sparse_tensor)
        tensor.name = name
        return tensor
    values: dict[str, tuple[object, type]] = {
        "value_float": (attribute.f, np.float32),
        "value_floats": (list(attribute.floats), np.float32),
        "value_int": (attribute.i, np.int64),
        "value_ints": (list(attribute.ints), np.int64),
    }
    if attribute.name not in values:
        return None
    value, dtype = values[attribute.name]
    return numpy_helper.from_array(np.array(value, dtype=dtype), name)


def _dense(sparse: onnx.SparseTensorProto) -> onnx.TensorProto:
    """Write out a sparse tensor in COO form (flat or per-axis indices, see the ONNX IR spec)."""
    import numpy as np
    from onnx import numpy_helper

    values = numpy_helper.to_array(sparse.values)
    indices = numpy_helper.to_array(sparse.indices)
    dense: np.ndarray = np.zeros(tuple(sparse.dims), dtype=values.dtype)
    if indices.ndim == 1:
        dense.reshape(-1)[indices] = values
    else:
        dense[tuple(indices.T)] = values
    return numpy_helper.from_array(dense, sparse.values.name)


def _few(names: list[str], limit: int = 5) -> str:
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown}, ..."
