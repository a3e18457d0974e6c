"""Inputs and outputs of types that ONNX Runtime computes with, but its Python interface has not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoglm_tvm.compiler.frontend.dtypes import is_carried, numpy_dtype

if TYPE_CHECKING:
    import numpy as np
    import onnx


def cast_at_interface(model: onnx.ModelProto) -> dict[str, str]:
    """Let every input and output of a small type be of a wider one, cast inside, in place.

    Integers of 4 and 2 bits become int8 or uint8, floats of 8 and 4 bits float32: both exactly.

    Returns
    -------
    dict
        The numpy dtype that the model names for each of them.
    """
    from onnx import helper

    graph = model.graph
    own: dict[str, str] = {}
    first: list[onnx.NodeProto] = []
    last: list[onnx.NodeProto] = []
    for values in (graph.input, graph.output):
        for value in values:
            tensor = value.type.tensor_type
            if not is_carried(tensor.elem_type):
                continue
            name, elem_type = f"{value.name}/inside", tensor.elem_type
            own[value.name] = str(numpy_dtype(elem_type))
            wide = helper.np_dtype_to_tensor_dtype(_wide(own[value.name]))
            _rename(graph, value.name, name)
            if values is graph.input:
                first.append(helper.make_node("Cast", [value.name], [name], to=elem_type))
            else:
                last.append(helper.make_node("Cast", [name], [value.name], to=wide))
            tensor.elem_type = wide
    nodes = [*first, *graph.node, *last]
    del graph.node[:]
    graph.node.extend(nodes)
    return own


def as_fed(array: np.ndarray, own: str | None) -> np.ndarray:
    """Return an input in the type that the changed model takes."""
    return array if own is None else array.astype(_wide(own))


def as_named(array: np.ndarray, own: str | None) -> np.ndarray:
    """Return an output in the type that the model names."""
    import numpy as np

    return array if own is None else array.astype(np.dtype(own))


def _wide(dtype: str) -> np.dtype:
    import numpy as np

    if dtype.startswith("float"):
        return np.dtype(np.float32)
    return np.dtype(np.uint8 if dtype.startswith("u") else np.int8)


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    from autoglm_tvm.compiler.frontend.graph import rename_tensors

    for node in graph.node:
        rename_tensors(node, {old: new})
