"""Exact rewrites: the same results, and the importer takes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from autoglm_tvm.compiler.frontend.rewrite import REWRITES
from autoglm_tvm.compiler.read import read
from tests.compiler.models import imports_in_tvm, node_model, operators, parse, run

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def same_after_reading(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> onnx.ModelProto:
    """Read `model`, compare results and dtypes with the original's, and import it."""
    result = read(model)
    for left, right in zip(run(result.proto, feeds), run(model, feeds), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-6)
        assert left.dtype == right.dtype
    assert imports_in_tvm(result.proto)
    return result.proto


@pytest.mark.parametrize(
    ("base", "exponent"),
    [(FLOAT, INT64), (INT64, INT64), (TensorProto.INT32, FLOAT), (FLOAT, FLOAT)],
)
def test_pow_of_every_mix_of_types(base, exponent):
    model = node_model("Pow", {"x": (base, [3]), "e": (exponent, [3])}, output_type=base)
    feeds = {
        name: np.array([1, 2, 3], helper.tensor_dtype_to_np_dtype(elem_type))
        for name, elem_type in (("x", base), ("e", exponent))
    }
    same_after_reading(model, feeds)


@pytest.mark.parametrize("depth", [np.array(4, np.int64), np.array([4], np.float32)])
@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_one_hot(depth, axis):
    model = node_model(
        "OneHot",
        {"i": (INT64, [2, 3])},
        constants={"depth": depth, "values": np.array([-1, 5], np.float32)},
        axis=axis,
    )
    indices = np.array([[0, 3, -1], [2, -4, 1]], np.int64)
    proto = same_after_reading(model, {"i": indices})
    assert "OneHot" not in operators(proto)


def test_one_hot_of_a_symbolic_batch():
    values = np.array([0, 1], np.float32)
    model = node_model(
        "OneHot",
        {"i": (INT64, ["n", 3])},
        constants={"depth": np.array(4, np.int64), "values": values},
    )
    same_after_reading(model, {"i": np.array([[0, 3, 2]], np.int64)})


def test_unsorted_top_k_is_sorted():
    model = node_model(
        "TopK",
        {"x": (FLOAT, [5])},
        constants={"k": np.array([2], np.int64)},
        outputs=("y", "i"),
        sorted=0,
    )
    model.graph.output[1].type.tensor_type.elem_type = INT64
    proto = read(model).proto
    values, indices = run(proto, {"x": np.array([1, 9, 3, 7, 5], np.float32)})
    assert (values.tolist(), indices.tolist()) == ([9, 7], [1, 3])
    assert imports_in_tvm(proto)
    assert not [a for a in proto.graph.node[0].attribute if a.name == "sorted"]


@pytest.mark.parametrize("auto_pad", ["NOTSET", "SAME_UPPER", "SAME_LOWER"])
def test_conv_transpose_output_shape_becomes_pads(auto_pad):
    weight = np.random.default_rng(3).standard_normal((2, 3, 3, 3)).astype(np.float32)
    model = node_model(
        "ConvTranspose",
        {"x": (FLOAT, [1, 2, 4, 4])},
        constants={"w": weight},
        strides=[2, 2],
        output_shape=[8, 7],
        auto_pad=auto_pad,
    )
    x = np.random.default_rng(4).standard_normal((1, 2, 4, 4)).astype(np.float32)
    proto = same_after_reading(model, {"x": x})
    assert "pads" in {a.name for a in proto.graph.node[0].attribute}


@pytest.mark.parametrize("op_type", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER"])
def test_pooling_pads_are_written_out(op_type, auto_pad):
    model = node_model(
        op_type,
        {"x": (FLOAT, ["n", 2, 7, 8])},
        kernel_shape=[3, 2],
        strides=[2, 2],
        auto_pad=auto_pad,
    )
    x = np.random.default_rng(6).random((2, 2, 7, 8)).astype(np.float32)
    proto = same_after_reading(model, {"x": x})
    assert "auto_pad" not in {a.name for a in proto.graph.node[0].attribute}


def test_computed_reshape_of_a_free_batch_is_constant():
    model = parse(
        """
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[n, 2, 3] x) => (float[n, 6] y)
        <int64[1] zero = {0}, int64[1] one = {1}, int64[1] rest = {6}>
        {
          s = Shape(x)
          batch = Slice(s, zero, one)
          float_batch = Cast<to = 1>(batch)
          int_batch = Cast<to = 7>(float_batch)
          target = Concat<axis = 0>(int_batch, rest)
          y = Reshape(x, target)
        }
        """
    )
    x = np.random.default_rng(6).random((4, 2, 3)).astype(np.float32)
    proto = same_after_reading(model, {"x": x})
    assert operators(proto) == ["Reshape"]


def test_every_rewrite_names_an_operator_once():
    names = [name for name, _ in REWRITES]
    assert len(set(names)) == len(names)


def test_identity_on_shape_arithmetic_is_bypassed():
    model = parse(
        """
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[n, 4] x, float[k] z) => (float[n, 4] y)
        {
          s = Shape(x)
          same = Identity(s)
          y = Reshape(z, same)
        }
        """
    )
    proto = read(model).proto
    assert operators(proto) == ["Shape", "Reshape"]
    assert imports_in_tvm(proto)


def test_output_that_is_a_shape_is_a_tensor():
    model = parse(
        """
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[n, 4] x) => (int64[2] s) { s = Shape(x) }
        """
    )
    proto = same_after_reading(model, {"x": np.zeros((3, 4), np.float32)})
    assert operators(proto) == ["Shape", "Cast"]


def old_model(op_type: str, opset: int, constants: dict | None = None, **attributes: Any):
    """One node of an old operator set on a small image."""
    return node_model(
        op_type,
        {"x": (FLOAT, [1, 2, 4, 4])},
        constants=constants,
        opset=opset,
        **attributes,
    )


SCALES = {"s": np.array([1, 1, 2, 2], np.float32)}
OLD = {
    "Slice": old_model("Slice", 9, axes=[2], starts=[1], ends=[3]),
    "Upsample": old_model("Upsample", 9, SCALES, mode="nearest"),
    "Resize": old_model("Resize", 10, SCALES, mode="nearest"),
    "Pad": old_model("Pad", 9, pads=[0, 0, 1, 1, 0, 0, 1, 1]),
    "Clip": old_model("Clip", 9, min=0.2, max=0.5),
    "Softmax": old_model("Softmax", 9, axis=1),
}


@pytest.mark.parametrize("name", OLD)
def test_old_operator_sets_are_converted(name):
    x = np.random.default_rng(5).random((1, 2, 4, 4)).astype(np.float32)
    result = read(OLD[name])
    assert result.opset == 13
    assert any("converted from opset" in note for note in result.notes)
    same_after_reading(OLD[name], {"x": x})


def test_unused_outputs_that_must_exist_stay():
    model = node_model(
        "TopK",
        {"x": (FLOAT, [5])},
        constants={"k": np.array([2], np.int64)},
        outputs=("y", "unused"),
    )
    del model.graph.output[1]
    proto = same_after_reading(model, {"x": np.array([1, 9, 3, 7, 5], np.float32)})
    assert len(proto.graph.node[0].output) == 2


def test_unused_nodes_and_initializers_go():
    model = node_model("Relu", {"x": (FLOAT, [2])})
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(3, np.float32), "unused"))
    model.graph.node.append(helper.make_node("Neg", ["x"], ["dead"]))
    proto = read(model).proto
    assert operators(proto) == ["Relu"]
    assert not proto.graph.initializer


@pytest.mark.parametrize("opset", [12, 13])
def test_squeeze_counts_axes_from_the_front(opset):
    """TVM's layout conversion dies of memory of a negative axis."""
    axes = np.array([-2, 0], np.int64)
    given = {"axes": axes} if opset >= 13 else {}
    attributes = {} if opset >= 13 else {"axes": axes.tolist()}
    model = node_model(
        "Squeeze", {"x": (FLOAT, [1, 3, 1, 5])}, constants=given, opset=opset, **attributes
    )
    proto = same_after_reading(model, {"x": np.ones((1, 3, 1, 5), np.float32)})
    node = proto.graph.node[0]
    known = {t.name: numpy_helper.to_array(t).tolist() for t in proto.graph.initializer}
    assert (known[node.input[1]] if opset >= 13 else list(node.attribute[0].ints)) == [2, 0]


def test_cast_like_is_a_cast():
    model = node_model(
        "CastLike",
        {"x": (FLOAT, [3]), "like": (INT64, [1])},
        output_type=INT64,
    )
    feeds = {"x": np.array([1, -2, 3], np.float32), "like": np.array([0])}
    assert operators(same_after_reading(model, feeds)) == ["Cast"]


@pytest.mark.parametrize("followed", [True, False])
def test_dropout_that_does_not_train_is_nothing(followed):
    end = "u = Dropout(c) y = Relu(u)" if followed else "y = Dropout(c)"
    model = parse(
        f"""<ir_version: 8, opset_import: ["" : 17]>
        g (float[1,2,4,4] x, float[2,2,1,1] w) => (float[1,2,4,4] y) {{ c = Conv(x,w) {end} }}"""
    )
    feeds = {
        "x": np.ones((1, 2, 4, 4), np.float32),
        "w": np.ones((2, 2, 1, 1), np.float32),
    }
    assert "Dropout" not in operators(same_after_reading(model, feeds))
