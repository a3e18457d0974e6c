"""Constants of a read model wherever they are kept: inside its graph, or detached as arrays."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.frontend.graph import default_opset, input_names, replace_items
from autoglm_tvm.compiler.frontend.infer import infer_shapes
from autoglm_tvm.compiler.frontend.prune import prune
from autoglm_tvm.compiler.frontend.weights import detach_weights

if TYPE_CHECKING:
    import onnx

    from autoglm_tvm.compiler.read import ReadModel


def with_weights(model: ReadModel) -> onnx.ModelProto:
    """Return a self-contained copy of the model: detached weights are initializers, not inputs."""
    import onnx
    from onnx import numpy_helper

    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    kept = [value for value in proto.graph.input if value.name not in model.weights]
    replace_items(proto.graph.input, kept)
    for name, array in model.weights.items():
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    return proto


def as_read_model(
    original: ReadModel, proto: onnx.ModelProto, notes: tuple[str, ...] = ()
) -> ReadModel:
    """Return `proto`, a rewritten copy of the original's graph, as a read model (it is changed).

    What nothing uses is dropped, large initializers are detached again, and every type is inferred
    anew. A detached weight of the original may be still a graph input of `proto`, or an
    initializer; the rest of its interface must be the original's.

    Parameters
    ----------
    notes
        What was done, to be added to the original's.

    Raises
    ------
    ValueError
        `proto` has an input or an output that the original has not, or lost one.
    """
    names = [spec.name for spec in original.inputs]
    _check_interface(original, proto)
    weights = dict(original.weights)
    prune(proto)
    weights.update(detach_weights(proto, None, "")[0])
    used = {name for node in proto.graph.node for name in input_names(node)}
    used |= {value.name for value in proto.graph.output}
    inputs = {value.name: value for value in proto.graph.input}
    weights = {name: array for name, array in weights.items() if name in inputs and name in used}
    replace_items(proto.graph.input, [inputs[name] for name in (*names, *weights)])
    del proto.graph.value_info[:]
    infer_shapes(proto)
    return replace(
        original,
        proto=proto,
        weights=weights,
        notes=(*original.notes, *notes),
        opset=default_opset(proto),
    )


def _check_interface(original: ReadModel, proto: onnx.ModelProto) -> None:
    known = {spec.name for spec in original.inputs}
    found = {value.name for value in proto.graph.input}
    if not known <= found or not found <= known | set(original.weights):
        raise ValueError(f"the rewritten graph has other inputs: {sorted(found ^ known)}")
    outputs = [value.name for value in proto.graph.output]
    if outputs != [spec.name for spec in original.outputs]:
        raise ValueError(f"the rewritten graph has other outputs: {outputs}")
