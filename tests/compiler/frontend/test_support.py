"""What is refused, all at once and by name; and what is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from autoglm_tvm.compiler.converters import CONVERTERS
from autoglm_tvm.compiler.frontend.known_wrong import RULES
from autoglm_tvm.compiler.frontend.operators import MICROSOFT, NOT_STANDARD, standard_operators
from autoglm_tvm.compiler.read import read
from autoglm_tvm.targets.errors import UserInputError
from tests.compiler.models import imports_in_tvm, node_model, operators, parse

FLOAT = TensorProto.FLOAT
IMAGE = {"x": (FLOAT, [1, 2, 8, 8])}


def refused(model: object) -> str:
    """Read `model`, which must be refused, and return the message."""
    with pytest.raises(UserInputError) as caught:
        read(model)  # type: ignore[arg-type]
    assert caught.value.exit_code == 2
    assert caught.value.hint
    return str(caught.value)


def test_every_unsupported_node_is_listed_at_once():
    model = parse(
        """
        <ir_version: 8, opset_import: ["" : 17, "my.domain" : 3]>
        g (float[1, 4] x, float[4, 4] m) => (float[1, 4] y, float d)
        {
          a = my.domain.Add (x, x)
          b = my.domain.Strange (a)
          d = Det (m)
          y = Relu (b)
        }
        """
    )
    for node, name in zip(model.graph.node, ("first", "second", "third", "fourth"), strict=True):
        node.name = name
    message = refused(model)
    assert "3 nodes cannot be compiled" in message
    assert "my.domain::Add (version 3), 1x: 'first'" in message
    assert "my.domain::Strange (version 3), 1x: 'second'" in message
    assert "ai.onnx::Det (version 17), 1x: 'third': no converter" in message
    assert "Relu" not in message


def test_many_nodes_of_one_operator_are_counted():
    model = node_model("Det", {"x": (FLOAT, [1, 1, 2, 2])})
    for number in range(5):
        model.graph.node.append(helper.make_node("Det", ["x"], [f"y{number}"], name=f"det{number}"))
        model.graph.output.append(helper.make_tensor_value_info(f"y{number}", FLOAT, None))
    assert "6x: 'the_node', 'det0', 'det1' and 3 more" in refused(model)


def test_unsupported_operator_inside_a_branch():
    model = parse(
        """
        <ir_version: 8, opset_import: ["" : 17]>
        g (bool c, float[2, 2] x) => (float y)
        {
          y = If (c) <
            then_branch = t () => (float a) { a = Det(x) },
            else_branch = e () => (float b) { b = ReduceSum<keepdims = 0>(x) }
          >
        }
        """
    )
    model.graph.node[0].name = "choose"
    message = refused(model)
    assert "1 node cannot be compiled" in message
    assert "ai.onnx::Det" in message
    assert "choose.then_branch/" in message


def test_custom_domain_with_a_known_name_is_not_read_as_the_standard_operator():
    inputs = {"a": (FLOAT, [2]), "b": (FLOAT, [2])}
    assert "my.domain::Add" in refused(node_model("Add", inputs, domain="my.domain"))


def test_microsoft_operators_that_the_importer_knows_pass():
    model = node_model("FastGelu", {"x": (FLOAT, [2, 4])}, domain="com.microsoft")
    result = read(model)
    assert result.outputs[0].shape == (2, 4)
    assert imports_in_tvm(result.proto)


def test_microsoft_operators_of_another_sense_are_refused():
    inputs = {"a": (FLOAT, [2]), "b": (FLOAT, [2])}
    assert "com.microsoft::Add" in refused(node_model("Add", inputs, domain="com.microsoft"))


def test_tables_of_operators_name_what_the_importer_has():
    """Tells when upstream drops or adds one of the operators that the tables name."""
    from tvm.relax.frontend.onnx.onnx_frontend import _get_convert_map

    converters = set(_get_convert_map())
    assert set(MICROSOFT) <= converters | set(CONVERTERS)
    assert set(NOT_STANDARD) <= converters
    assert {rule.op_type for rule in RULES} <= standard_operators()


@pytest.mark.parametrize(
    ("elem_type", "label"),
    [
        (TensorProto.STRING, "string"),
        (TensorProto.COMPLEX64, "complex64"),
        (TensorProto.FLOAT8E8M0, "float8e8m0"),
    ],
)
def test_inputs_of_unsupported_dtype(elem_type, label):
    model = node_model("Identity", {"x": (elem_type, [2])}, output_type=elem_type)
    message = refused(model)
    assert f"input 'x' is {label}" in message
    assert f"output 'y' is {label}" in message


def test_sequence_inputs():
    model = parse(
        """
        <ir_version: 8, opset_import: ["" : 17]>
        g (seq(float[2]) s) => (float[n] y) { y = ConcatFromSequence<axis = 0>(s) }
        """
    )
    assert "input 's' is sequence" in refused(model)


def test_unsupported_dtype_inside_names_tensor_and_node():
    model = parse(
        """
        <ir_version: 9, opset_import: ["" : 19]>
        g (float[2] x) => (float[2] y)
        {
          small = Cast<to = 17>(x)
          more = Relu(small)
          y = Cast<to = 1>(more)
        }
        """
    )
    model.graph.node[1].name = "shrink"
    message = refused(model)
    assert "'shrink'" in message
    assert "tensor 'small' has the unsupported dtype float8e4m3fn" in message


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def resize(scales: np.ndarray, **attributes: Any):
    """Resize of an 8x8 image by scales."""
    return node_model(
        "Resize",
        IMAGE,
        constants={"scales": scales},
        arguments=["x", "", "scales"],
        opset=18,
        **attributes,
    )


KNOWN_WRONG = {
    "antialias": resize(floats(1, 1, 0.5, 0.5), mode="linear", antialias=1),
    "scales that do not give": resize(floats(1, 1, 0.6, 0.6), mode="linear"),
    "first two": resize(floats(1, 2, 2, 2)),
    "axes": resize(floats(2, 2), axes=[2, 3]),
    "keep_aspect_ratio_policy": node_model(
        "Resize",
        IMAGE,
        constants={"sizes": np.array([1, 2, 6, 9], np.int64)},
        arguments=["x", "", "", "sizes"],
        opset=18,
        keep_aspect_ratio_policy="not_larger",
    ),
    "detect_negative": node_model(
        "IsInf", {"x": (FLOAT, [3])}, output_type=TensorProto.BOOL, detect_negative=0
    ),
    "Indices": node_model("MaxPool", IMAGE, outputs=("y", "i"), kernel_shape=[2, 2]),
    "mask": node_model("Dropout", {"x": (FLOAT, [3])}, outputs=("y", "m"), opset=13),
    "training mode is ignored": node_model(
        "Dropout",
        {"x": (FLOAT, [3])},
        constants={"ratio": np.array(0.5, np.float32), "training": np.array(True)},
        opset=13,
    ),
    "training mode computes": node_model(
        "BatchNormalization",
        IMAGE,
        constants={name: floats(1, 1) for name in ("scale", "bias", "mean", "var")},
        outputs=("y", "m", "v"),
        training_mode=1,
    ),
    "limits must be constants": node_model(
        "NonMaxSuppression",
        {
            "boxes": (FLOAT, [1, 6, 4]),
            "scores": (FLOAT, [1, 1, 6]),
            "count": (TensorProto.INT64, []),
        },
        output_type=TensorProto.INT64,
    ),
    "less than 0 or by all bits": node_model(
        "BitShift",
        {"x": (TensorProto.UINT8, [2])},
        constants={"amount": np.array([1, 8], np.uint8)},
        output_type=TensorProto.UINT8,
        direction="LEFT",
    ),
    "part of size 0": node_model(
        "Split",
        {"x": (FLOAT, [2])},
        constants={"split": np.array([0, 2], np.int64)},
        outputs=("y", "z"),
    ),
    "does not sort": node_model(
        "TopK",
        {"x": (TensorProto.UINT64, [3])},
        constants={"k": np.array([1], np.int64)},
        outputs=("y", "i"),
        output_type=TensorProto.UINT64,
    ),
    "reducing an empty tensor": node_model("ReduceSum", {"x": (FLOAT, [2, 0])}),
    "mode max": node_model(
        "RoiAlign",
        {**IMAGE, "rois": (FLOAT, [1, 4])},
        constants={"batch": np.array([0], np.int64)},
        mode="max",
    ),
}


@pytest.mark.parametrize("reason", KNOWN_WRONG)
def test_what_the_importer_would_misread_is_refused(reason):
    message = refused(KNOWN_WRONG[reason])
    assert "would be compiled wrongly" in message
    assert reason in message
    assert "'the_node'" in message


COMMON = {
    "upsample by 2": resize(floats(1, 1, 2, 2)),
    "linear upsample": resize(floats(1, 1, 2, 2), mode="linear"),
    "downsample by half": resize(floats(1, 1, 0.5, 0.5), mode="linear"),
    "antialias while upsampling": resize(floats(1, 1, 2, 2), mode="linear", antialias=1),
    "sizes": node_model(
        "Resize",
        IMAGE,
        constants={"sizes": np.array([1, 2, 5, 3], np.int64)},
        arguments=["x", "", "", "sizes"],
        opset=18,
        mode="linear",
    ),
    "max pool": node_model("MaxPool", IMAGE, kernel_shape=[2, 2]),
    "batch norm": node_model(
        "BatchNormalization",
        IMAGE,
        constants={name: floats(1, 1) for name in ("scale", "bias", "mean", "var")},
    ),
    "isinf": node_model("IsInf", {"x": (FLOAT, [3])}, output_type=TensorProto.BOOL),
}


@pytest.mark.parametrize("name", COMMON)
def test_common_forms_pass(name):
    result = read(COMMON[name])
    assert operators(result.proto) == [COMMON[name].graph.node[0].op_type]
    assert imports_in_tvm(result.proto)
