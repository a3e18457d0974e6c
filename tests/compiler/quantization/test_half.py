"""float16 for some nodes: right within its precision, casts at borders only, guards that refuse."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest

from autoglm_tvm.compiler.frontend.infer import tensor_types
from autoglm_tvm.compiler.quantization.half import to_half
from autoglm_tvm.compiler.quantization.half_checks import constant_problem
from autoglm_tvm.compiler.quantization.half_weights import compute_in_float32
from autoglm_tvm.compiler.reference import run_reference
from tests.compiler.onnx_text import model_from_text, random_array

_NETWORK = """
network (float[1, 4, 8, 8] x) => (float[1, 5] y)
{
  first = Conv<pads = [1, 1, 1, 1]>(x, w1, b1)
  active = Relu(first)
  second = Conv<pads = [1, 1, 1, 1]>(active, w2)
  sum = Add(second, active)
  pooled = GlobalAveragePool(sum)
  flat = Flatten(pooled)
  y = Gemm(flat, w3, b3)
}
"""


def half_nodes(proto: onnx.ModelProto) -> Counter[str]:
    """How many nodes of each operator make tensors of float16."""
    types = tensor_types(proto.graph)
    half = {n for n, t in types.items() if t.tensor_type.elem_type == onnx.TensorProto.FLOAT16}
    return Counter(node.op_type for node in proto.graph.node if half.intersection(node.output))


def _network(scale: float = 1.0) -> onnx.ModelProto:
    model = model_from_text(
        _NETWORK,
        {
            "w1": random_array(8, 4, 3, 3, scale=0.2 * scale),
            "b1": random_array(8),
            "w2": random_array(8, 8, 3, 3, seed=1, scale=0.2),
            "w3": random_array(8, 5, seed=2),
            "b3": random_array(5),
        },
    )
    for node in model.graph.node:
        node.name = node.output[0]
    return model


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    return onnx.ModelProto.FromString(model.SerializeToString())


def _ranges(model: onnx.ModelProto, x: np.ndarray) -> dict[str, tuple[float, float]]:
    exposed = _copy(onnx.shape_inference.infer_shapes(model))
    exposed.graph.output.extend(v for v in exposed.graph.value_info)
    values = {"x": x, **run_reference(exposed, {"x": x})}
    return {name: (float(v.min()), float(v.max())) for name, v in values.items()}


def _casts(model: onnx.ModelProto) -> int:
    return Counter(node.op_type for node in model.graph.node)["Cast"]


def test_a_network_in_half_gives_the_same_within_float16() -> None:
    model, x = _network(), random_array(1, 4, 8, 8)
    expected = run_reference(model, {"x": x})["y"]
    notes = to_half(model, {"first", "second", "y"}, _ranges(model, x))
    onnx.checker.check_model(model, full_check=True)
    found = run_reference(model, {"x": x})["y"]
    assert found.dtype == np.float32
    assert not np.array_equal(found, expected)
    np.testing.assert_allclose(found, expected, atol=4e-3 * np.abs(expected).max())
    assert notes == ["3 layers compute in float16, 4 nodes with them; 2 casts"]


def test_casts_are_at_the_borders_only_and_tensors_keep_their_names() -> None:
    model = _network()
    to_half(model, {"first", "second", "y"}, None)
    assert _casts(model) == 2
    made = {name for node in model.graph.node for name in node.output}
    assert {"first", "active", "second", "sum", "pooled", "flat", "y"} <= made
    assert {v.name for v in model.graph.input} == {"x"}
    assert not any(t.data_type == onnx.TensorProto.FLOAT for t in model.graph.initializer)


def test_one_layer_alone_has_casts_around_it() -> None:
    model, x = _network(), random_array(1, 4, 8, 8)
    expected = run_reference(model, {"x": x})["y"]
    to_half(model, {"second"}, None)
    # `active` goes in; the sum with `active`, the mean and its shape come along, and come back.
    assert half_nodes(model)["Conv"] == 1
    assert _casts(model) == 2
    np.testing.assert_allclose(run_reference(model, {"x": x})["y"], expected, atol=5e-3)


def test_products_of_computed_tensors_come_along_or_stay() -> None:
    text = """
    g (float[2, 4] x, float[4, 4] k) => (float[2, 4] y, float[2, 4] z) {
      a = MatMul(x, w) b = MatMul(a, v) c = MatMul(a, k) y = MatMul(c, w) t = Transpose(b)
      z = MatMul(a, u) d = MatMul(b, t) e = MatMul(d, b) f = Add(e, z) }
    """
    text = text.replace("float[2, 4] z)", "float[2, 4] f)").replace(
        "z = MatMul(a, u)", "z = Neg(a)"
    )
    weights = {name: random_array(4, 4, seed=at) for at, name in enumerate("wv")}
    model = model_from_text(text, weights)
    for node in model.graph.node:
        node.name = node.output[0]
    to_half(model, set("abcyde"), None)
    half = {tensor: n for n in model.graph.node for tensor in n.output if n.op_type == "MatMul"}
    # `c` reads an input of float32 and stays; the product of `b` with itself comes along.
    assert "c" in half
    assert set(half) & {"a", "b"} != set()
    assert half_nodes(model)["MatMul"] == 5


def test_no_name_means_no_change() -> None:
    model = _network()
    before = _copy(onnx.shape_inference.infer_shapes(model, data_prop=True))
    assert to_half(model, set(), None) == []
    assert [n.output[0] for n in model.graph.node] == [n.output[0] for n in before.graph.node]
    assert list(model.graph.initializer) == list(before.graph.initializer)


def test_without_ranges_a_note_says_that_only_constants_were_checked() -> None:
    notes = to_half(_network(), {"first"}, None)
    assert any("without calibration data" in note for note in notes)


def test_activations_that_would_overflow_stay_in_float32() -> None:
    # MNN #2296: sums past 65504 become infinite, and the network answers zeros or NaN.
    model, x = _network(scale=6e4), random_array(1, 4, 8, 8)
    expected = run_reference(model, {"x": x})["y"]
    unguarded = _copy(model)
    to_half(unguarded, {"first"}, None)
    assert not np.isfinite(run_reference(unguarded, {"x": x})["y"]).all()

    notes = to_half(model, {"first", "y"}, _ranges(model, x))
    assert any("'first' (Conv) stays in float32" in note and "65504" in note for note in notes)
    found = run_reference(model, {"x": x})["y"]
    np.testing.assert_allclose(found, expected, rtol=1e-2, atol=5e-3 * np.abs(expected).max())


def test_the_sum_before_its_bias_counts() -> None:
    # conv(x) reaches 60000 and the bias takes it away again.
    model = model_from_text(
        "g (float[1, 1, 2, 2] x) => (float[1, 1, 2, 2] y) { y = Conv(x, w, b) }",
        {"w": np.full((1, 1, 1, 1), 6e4, np.float32), "b": np.full(1, -6e4, np.float32)},
    )
    model.graph.node[0].name = "conv"
    notes = to_half(model, {"conv"}, {"x": (0.9, 1.0), "y": (-6e3, 0.0)})
    assert "'conv' (Conv) stays in float32" in notes[0]
    assert not half_nodes(model)


def test_sums_that_could_overflow_on_their_way_stay_in_float32() -> None:
    # 2000 - 2000 is 0, but half of the products come first.
    weight = np.concatenate([np.full((64, 8), 20), np.full((64, 8), -20)]).astype(np.float32)
    text = "g (float[1, 128] x) => (float[1, 8] y) { y = MatMul(x, w) }"
    for largest, stays in ((100.0, True), (10.0, False)):
        model = model_from_text(text, {"w": weight})
        model.graph.node[0].name = "product"
        notes = to_half(model, {"product"}, {"x": (0, largest), "y": (-1.0, 1.0)})
        assert ("on their way" in notes[0]) == stays
        assert bool(half_nodes(model)["MatMul"]) != stays


def test_activations_that_drown_stay_in_float32() -> None:
    model, x = _network(scale=1.0), random_array(1, 4, 8, 8)
    ranges = _ranges(model, x) | {"first": (-2e-6, 1e-6)}
    notes = to_half(model, {"first"}, ranges)
    assert any("'first'" in note and "is at most 2e-06" in note for note in notes)


@pytest.mark.parametrize(
    ("weight", "words"),
    [
        (np.full((4, 4), 7e4, np.float32), "past float16's 65504"),
        (np.full((4, 4), 1e-9, np.float32), "drowns in float16"),
        # A channel so weak that rounding the others costs as much.
        (np.diag([1e-2, 1e-2, 1e-9, 1e-2]).astype(np.float32), ""),
    ],
)
def test_constants_that_float16_cannot_hold(weight: np.ndarray, words: str) -> None:
    found = constant_problem(weight)
    assert words in found if words else found == ""


def test_a_channel_that_drowns_is_found() -> None:
    weight = random_array(8, 16, scale=2e-5)
    assert not constant_problem(weight)
    weight[3] = 2e-8
    assert "1 of 8 channels" in constant_problem(weight)
    assert not constant_problem(random_array(8, 16))
    assert not constant_problem(np.zeros((3, 3), np.float32))


def test_counting_operators_stay_and_say_why() -> None:
    model = model_from_text(
        "g (float[4] x) => (float[4] y) { s = Relu(x) y = CumSum(s, axis) }",
        {"axis": np.array(0, np.int64)},
    )
    for node in model.graph.node:
        node.name = node.op_type
    notes = to_half(model, {"CumSum", "Relu"}, {"x": (0, 1), "s": (0, 1), "y": (0, 4)})
    assert "'CumSum' (CumSum) stays in float32" in notes[0]
    assert half_nodes(model)["Relu"] == 1


def test_weights_alone_compute_in_float32() -> None:
    model, x = _network(), random_array(1, 4, 8, 8)
    exact = _network()
    for tensor in exact.graph.initializer:
        value = onnx.numpy_helper.to_array(tensor).astype(np.float16).astype(np.float32)
        tensor.CopyFrom(onnx.numpy_helper.from_array(value, tensor.name))
    to_half(model, {"first", "second", "y"}, None)
    notes = compute_in_float32(model)
    onnx.checker.check_model(model, full_check=True)
    # Nothing is rounded but the weights.
    found, expected = (run_reference(m, {"x": x})["y"] for m in (model, exact))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert all(t.data_type == onnx.TensorProto.FLOAT16 for t in model.graph.initializer)
    assert "5 constants of float16" in notes[0]
    casts = [node for node in model.graph.node if node.op_type == "Cast"]
    assert len(casts) == len(model.graph.initializer)


def test_a_float16_model_keeps_its_interface() -> None:
    model = model_from_text(
        "g (float16[2, 3] x) => (float16[2, 3] y, float16[2, 3] z) "
        "{ y = Relu(x) s = Add(y, y) z = Sigmoid(s) }"
    )
    x = random_array(2, 3).astype(np.float16)
    expected = run_reference(model, {"x": x})
    compute_in_float32(model)
    onnx.checker.check_model(model, full_check=True)
    found = run_reference(model, {"x": x})
    for name, value in expected.items():
        assert found[name].dtype == np.float16
        np.testing.assert_allclose(found[name], value, rtol=2e-3)
