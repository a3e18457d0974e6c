"""Infer the dtype and shape of every tensor, from the inputs onward and nothing else."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.frontend.graph import walk_graphs
from autoglm_tvm.targets.errors import UserInputError

if TYPE_CHECKING:
    import onnx

#: com.microsoft operators whose first output has the type and shape of their first input. onnx has
#: no schema for them, so inference would end there.
SAME_AS_FIRST_INPUT = (
    "BiasGelu",
    "FastGelu",
    "Gelu",
    "QuickGelu",
    "SkipLayerNormalization",
    "Trilu",
)
#: Those whose first output has the first input's type and shape but for its last dimension, N.
LAST_IS_N = ("MatMulNBits",)


def forget_shapes(model: onnx.ModelProto) -> dict[str, onnx.TypeProto]:
    """Drop every recorded shape of intermediate tensors and graph outputs, keeping output dtypes.

    They were true for the shapes that the exporter saw; new input shapes may contradict them, and
    inference would then keep the old ones.

    Returns
    -------
    dict
        The types of the graph's outputs as they were declared.
    """
    declared = {
        value.name: type(value.type).FromString(value.type.SerializeToString())
        for value in model.graph.output
    }
    for graph in walk_graphs(model.graph):
        del graph.value_info[:]
        for value in graph.output:
            if value.type.HasField("tensor_type"):
                value.type.tensor_type.ClearField("shape")
    return declared


def infer_shapes(model: onnx.ModelProto, label: str = "") -> None:
    """Fill in value_info of all graphs of `model`, in place, propagating shape arithmetic.

    Raises
    ------
    UserInputError
        Where a node is not what its operator's definition says.
    """
    from onnx import shape_inference

    _forget_generated_names(model)
    try:
        inferred = shape_inference.infer_shapes(model, data_prop=True)
        while _pass_through_contrib(inferred.graph):
            inferred = shape_inference.infer_shapes(inferred, data_prop=True)
    except shape_inference.InferenceError as err:
        raise UserInputError(
            f"the model is not valid: {str(err).splitlines()[0]}",
            where=label,
            hint="export the model again; onnx.checker.check_model says more",
        ) from None
    model.CopyFrom(inferred)


def _forget_generated_names(model: onnx.ModelProto) -> None:
    """Drop onnx's own names of unknown dimensions: a name found since would not replace them."""
    for graph in walk_graphs(model.graph):
        for value in (*graph.value_info, *graph.output):
            # Reading a field of protobuf does not set it: other kinds of values stay.
            for dim in value.type.tensor_type.shape.dim:
                if dim.dim_param.startswith("unk__"):
                    dim.ClearField("dim_param")


def _pass_through_contrib(graph: onnx.GraphProto) -> bool:
    """Type the outputs of com.microsoft operators that are like their first input."""
    types = tensor_types(graph)
    outputs = {value.name: value for value in graph.output}
    found = False
    for node in graph.node:
        known = (*SAME_AS_FIRST_INPUT, *LAST_IS_N)
        if node.domain != "com.microsoft" or node.op_type not in known:
            continue
        source, name = types.get(node.input[0]), node.output[0]
        if source is None or not static_shape(source):
            continue
        if static_shape(types.get(name)) is not None:
            continue
        value = outputs[name] if name in outputs else graph.value_info.add(name=name)
        value.type.CopyFrom(source)
        if node.op_type in LAST_IS_N:
            value.type.tensor_type.shape.dim[-1].dim_value = _attribute_n(node)
        types[name] = value.type
        found = True
    return found


def _attribute_n(node: onnx.NodeProto) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "N"), 0)


def check_shapes_fit(model: onnx.ModelProto, label: str) -> list[str]:
    """Refuse input shapes that the network itself cannot take.

    Raises
    ------
    UserInputError
        With the node where two shapes meet that do not fit.
    """
    import onnx
    from onnx import shape_inference

    try:
        shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except shape_inference.InferenceError as err:
        reason = _first_reason(str(err))
        if reason is None:
            return []
        shown = ", ".join(_input_text(value) for value in model.graph.input[:6])
        raise UserInputError(
            f"the shapes do not fit the network: {reason} (inputs: {shown})",
            where=label,
            hint="choose input shapes that the network was made for with --shape",
        ) from None
    except (RuntimeError, ValueError, onnx.checker.ValidationError):
        return []
    return []


def _input_text(value: onnx.ValueInfoProto) -> str:
    dims = value.type.tensor_type.shape.dim
    return f"{value.name} [{', '.join(str(d.dim_value or d.dim_param) for d in dims)}]"


def _first_reason(message: str) -> str | None:
    """Pick the first line about a shape out of onnx's report; None where it is about other things.

    Inference also complains of things that do no harm here, such as an operator that it does not
    know, so only contradictions of dimensions count.
    """
    for line in message.splitlines():
        if re.search(r"(?i)dimension|broadcast|incompatible", line) and "node name" in line:
            return line.strip()
    return None


def tensor_types(graph: onnx.GraphProto) -> dict[str, onnx.TypeProto]:
    """Return the known types of the tensors of `graph` (not of nested graphs), by name."""
    from onnx import helper

    types = {
        tensor.name: helper.make_tensor_type_proto(tensor.data_type, tuple(tensor.dims))
        for tensor in graph.initializer
    }
    for value in (*graph.input, *graph.value_info, *graph.output):
        if value.type.WhichOneof("value"):
            types[value.name] = value.type
    return types


def static_shape(type_proto: onnx.TypeProto | None) -> tuple[int | None, ...] | None:
    """Return the dimensions of a tensor type, None for unknown ones; None for unknown rank."""
    if type_proto is None or not type_proto.tensor_type.HasField("shape"):
        return None
    return tuple(
        dim.dim_value if dim.HasField("dim_value") else None
        for dim in type_proto.tensor_type.shape.dim
    )
