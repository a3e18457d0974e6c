"""The node backend tests of the `onnx` package as models with fixed shapes and known parameters."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autoglm_tvm.compiler.frontend.dtypes import is_carried, is_supported

if TYPE_CHECKING:
    import onnx

#: Inputs that a real model holds as constants (shapes, axes, weights, scales, limits), by operator.
#: The tests give them at run time, which almost no compiler of static graphs takes.
PARAMETERS: dict[str, tuple[int, ...]] = {
    "AffineGrid": (1,),
    "BatchNormalization": (1, 2, 3, 4),
    "BitShift": (1,),
    "BlackmanWindow": (0,),
    "CenterCropPad": (1,),
    "Clip": (1, 2),
    "Col2Im": (1, 2),
    "Compress": (1,),
    "ConstantOfShape": (0,),
    "Conv": (1, 2),
    "ConvInteger": (1, 2, 3),
    "ConvTranspose": (1, 2),
    "CumProd": (1,),
    "CumSum": (1,),
    "DFT": (1, 2),
    "DequantizeLinear": (1, 2),
    "Dropout": (1, 2),
    "Expand": (1,),
    "Gemm": (1, 2),
    "GroupNormalization": (1, 2),
    "HammingWindow": (0,),
    "HannWindow": (0,),
    "InstanceNormalization": (1, 2),
    "LayerNormalization": (1, 2),
    "MatMulInteger": (1, 2, 3),
    "MaxUnpool": (2,),
    "MelWeightMatrix": (0, 1, 2, 3, 4),
    "NonMaxSuppression": (2, 3, 4),
    "OneHot": (1, 2),
    "PRelu": (1,),
    "Pad": (1, 2, 3),
    "QLinearConv": (1, 2, 3, 4, 5, 6, 7, 8),
    "QLinearMatMul": (1, 2, 3, 4, 5, 6, 7),
    "QuantizeLinear": (1, 2),
    "RMSNormalization": (1,),
    "Range": (0, 1, 2),
    "ReduceL1": (1,),
    "ReduceL2": (1,),
    "ReduceLogSum": (1,),
    "ReduceLogSumExp": (1,),
    "ReduceMax": (1,),
    "ReduceMean": (1,),
    "ReduceMin": (1,),
    "ReduceProd": (1,),
    "ReduceSum": (1,),
    "ReduceSumSquare": (1,),
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "STFT": (1, 3),
    "SequenceAt": (1,),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "SplitToSequence": (1,),
    "Squeeze": (1,),
    "Tile": (1,),
    "TopK": (1,),
    "Trilu": (1,),
    "Unsqueeze": (1,),
    "Upsample": (1,),
}


@dataclass(frozen=True)
class NodeCase:
    """One test: a model, what it is fed and what it must answer.

    Attributes
    ----------
    feeds, expected
        Arrays by name in the order of the graph; not arrays where the model takes no tensors.
    supported_types
        Whether every input and output is a tensor of a dtype that this compiler carries.
    """

    name: str
    model: onnx.ModelProto
    feeds: dict[str, Any]
    expected: dict[str, Any]
    supported_types: bool


def load_tests() -> list[Any]:
    """Return the node tests of the default domain; the expansions of the same tests left out."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tests = load_model_tests(kind="node")
    return [test for test in tests if "_expanded" not in test.name and _default_domain(test.model)]


def _default_domain(model: onnx.ModelProto | None) -> bool:
    return model is not None and all(node.domain in ("", "ai.onnx") for node in model.graph.node)


def make_case(test: Any) -> NodeCase:
    """Turn a test's parameters into initializers and its input shapes into those of its data."""
    import onnx

    model = onnx.ModelProto()
    model.CopyFrom(test.model)
    graph = model.graph
    inputs, outputs = test.data_sets[0]
    values = [*graph.input, *graph.output]
    feeds = _arrays(graph.input, inputs)
    case = NodeCase(
        test.name, model, feeds, _arrays(graph.output, outputs), all(map(_is_supported, values))
    )
    _parameters_to_initializers(graph, feeds)
    for value in graph.input:
        for dim, size in zip(
            value.type.tensor_type.shape.dim, getattr(feeds[value.name], "shape", ()), strict=False
        ):
            dim.dim_value = size
    # Before version 4 every initializer had to be an input as well.
    model.ir_version = max(model.ir_version, 4)
    return case


def _arrays(values: Any, data: Any) -> dict[str, Any]:
    import numpy as np
    import onnx
    from onnx import numpy_helper

    arrays: dict[str, Any] = {}
    for value, item in zip(values, data, strict=False):
        if isinstance(item, onnx.TensorProto):
            item = numpy_helper.to_array(item)
        is_tensor = value.type.WhichOneof("value") == "tensor_type"
        arrays[value.name] = np.asarray(item) if is_tensor else item
    return arrays


def _is_supported(value: onnx.ValueInfoProto) -> bool:
    kind, elem_type = value.type.WhichOneof("value"), value.type.tensor_type.elem_type
    return kind == "tensor_type" and (is_supported(elem_type) or is_carried(elem_type))


def _parameters_to_initializers(graph: onnx.GraphProto, feeds: dict[str, Any]) -> None:
    from onnx import numpy_helper

    known = {
        node.input[index]
        for node in graph.node
        for index in PARAMETERS.get(node.op_type, ())
        if index < len(node.input)
    }
    for value in [value for value in graph.input if value.name in known]:
        graph.initializer.append(numpy_helper.from_array(feeds.pop(value.name), value.name))
        graph.input.remove(value)
