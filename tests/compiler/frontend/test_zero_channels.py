"""Channels that are constant or unread are taken out, and results stay what they were."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from autoglm_tvm.compiler.frontend.zero_channels import drop_zero_channels
from autoglm_tvm.compiler.read import read
from autoglm_tvm.compiler.reference import run_reference
from tests.compiler.frontend.zero_channel_models import (
    Weights,
    drop_and_compare,
    layer_shapes,
    named_model,
)
from tests.compiler.onnx_text import random_array

_PAIR = """
g (float[2, 3, 8, 8] x) => (float[2, 5, 8, 8] y) {
  a = Conv<pads = [1, 1, 1, 1]>(x, w1, b1)
  r = Relu(a)
  y = Conv<pads = [1, 1, 1, 1]>(r, w2, b2)
}
"""


def _pair() -> Weights:
    return {
        "w1": random_array(6, 3, 3, 3),
        "b1": random_array(6),
        "w2": random_array(5, 6, 3, 3),
        "b2": random_array(5),
    }


def test_nothing_changes_where_nothing_is_zero() -> None:
    model = named_model(_PAIR, _pair())
    before = model.SerializeToString()
    assert drop_zero_channels(model, {}) == []
    assert model.SerializeToString() == before


def test_a_channel_of_zeros_leaves_both_layers() -> None:
    weights = _pair()
    weights["w1"][[1, 4]] = 0
    weights["b1"][[1, 4]] = 0
    model, notes = drop_and_compare(_PAIR, weights)
    assert layer_shapes(model) == {"a": (4, 3, 3, 3), "y": (5, 4, 3, 3)}
    weight_count = 2 * 27 + 2 * 45
    assert (
        f"removed 2 channels that are constant or never read from 1 layers: {weight_count}"
        in (notes[0])
    )
    assert f"{weight_count * 128} multiply-adds" in notes[0]
    assert notes[1].endswith("a 6 -> 4")


def test_a_channel_that_relu_makes_zero_goes_too() -> None:
    weights = _pair()
    weights["w1"][2], weights["b1"][2] = 0, -1
    assert layer_shapes(drop_and_compare(_PAIR, weights)[0])["a"][0] == 5


def test_a_constant_channel_stays_where_a_border_of_zeros_would_show() -> None:
    weights = _pair()
    weights["w1"][2], weights["b1"][2] = 0, 1
    model, notes = drop_and_compare(_PAIR, weights, exact=True)
    assert notes == []
    assert layer_shapes(model)["a"][0] == 6


@pytest.mark.parametrize("bias", [True, False])
def test_a_constant_channel_becomes_bias_where_there_is_no_border(bias: bool) -> None:
    weights = _pair()
    weights["w1"][2], weights["b1"][2] = 0, 1.5
    text = _PAIR.replace("y = Conv<pads = [1, 1, 1, 1]>", "y = Conv").replace(
        "float[2, 5, 8, 8] y", "float[2, 5, 6, 6] y"
    )
    if not bias:
        text = text.replace("(r, w2, b2)", "(r, w2)")
        del weights["b2"]
    model, _ = drop_and_compare(text, weights)
    assert layer_shapes(model) == {"a": (5, 3, 3, 3), "y": (5, 5, 3, 3)}


def test_a_channel_that_the_next_layer_does_not_read() -> None:
    weights = _pair()
    weights["w2"][:, 3] = 0
    assert layer_shapes(drop_and_compare(_PAIR, weights)[0]) == {
        "a": (5, 3, 3, 3),
        "y": (5, 5, 3, 3),
    }


def test_an_output_of_the_graph_keeps_its_channels() -> None:
    weights = _pair()
    weights["w2"][1], weights["b2"][1] = 0, 0
    _, notes = drop_and_compare(_PAIR, weights, exact=True)
    assert notes == []


def test_one_channel_stays_where_all_are_zero() -> None:
    weights = _pair()
    weights["w1"][:], weights["b1"][:] = 0, 0
    assert layer_shapes(drop_and_compare(_PAIR, weights)[0])["a"][0] == 1


_CHAIN = """
g (float[1, 3, 12, 12] x) => (float[1, 4] y) {
  a = Conv(x, w1)
  n = BatchNormalization(a, scale, shift, mean, var)
  c = Clip(n, low, high)
  d = Conv<group = 8, pads = [1, 1, 1, 1]>(c, wd, bd)
  m = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(d)
  h = HardSwish(m)
  p = Conv(h, w2, b2)
  s = Sigmoid(p)
  q = Mul(p, s)
  f = Flatten(q)
  y = Gemm<transB = 1>(f, w3, b3)
}
"""


def _chain() -> Weights:
    return {
        "w1": random_array(8, 3, 3, 3),
        "scale": 1 + random_array(8, scale=0.1),
        "shift": random_array(8),
        "mean": random_array(8, seed=1),
        "var": 1 + random_array(8, seed=2) ** 2,
        "low": np.array(0, np.float32),
        "high": np.array(6, np.float32),
        "wd": random_array(8, 1, 3, 3),
        "bd": random_array(8, seed=3),
        "w2": random_array(10, 8, 1, 1),
        "b2": random_array(10),
        "w3": random_array(4, 250),
        "b3": random_array(4),
    }


def test_batch_norm_depthwise_pooling_and_flatten_pass_channels_on() -> None:
    weights = _chain()
    # Network slimming: the scale is zero, so the layer before does not matter.
    weights["scale"][3], weights["shift"][3] = 0, 0
    weights["w2"][[0, 7]], weights["b2"][[0, 7]] = 0, 0
    model, notes = drop_and_compare(_CHAIN, weights)
    assert layer_shapes(model)["a"] == (7, 3, 3, 3)
    assert layer_shapes(model)["d"] == (7, 1, 3, 3)
    assert layer_shapes(model)["p"] == (8, 7, 1, 1)
    assert layer_shapes(model)["y"] == (4, 200)
    (depthwise,) = (node for node in model.graph.node if node.name == "d")
    assert {a.name: a.i for a in depthwise.attribute}["group"] == 7
    assert "a 8 -> 7, d 8 -> 7, p 10 -> 8" in notes[1]


def test_a_constant_behind_a_depthwise_border_is_kept() -> None:
    weights = _chain()
    weights["scale"][3], weights["shift"][3] = 0, 2
    model, notes = drop_and_compare(_CHAIN, weights, exact=True)
    assert notes == []
    assert layer_shapes(model)["a"][0] == 8


def test_what_is_dropped_makes_more_superfluous() -> None:
    # Channel 5 of the first layer is read by channel 7 of the second alone, which nothing reads.
    weights = _chain()
    weights["w3"].reshape(4, 10, 25)[:, 7] = 0
    weights["w2"][:, 5] = 0
    weights["w2"][7, 5] = 3
    model, _ = drop_and_compare(_CHAIN, weights)
    assert layer_shapes(model)["a"][0] == 7
    assert layer_shapes(model)["p"] == (9, 7, 1, 1)


_RESIDUAL = """
g (float[1, 4, 6, 6] x) => (float[1, 3, 6, 6] y) {
  a = Conv(x, w1, b1)
  r = Relu(a)
  b = Conv(r, w2, b2)
  s = Add(b, r)
  t = Relu(s)
  y = Conv(t, w3)
}
"""


def _residual() -> Weights:
    return {
        "w1": random_array(6, 4, 1, 1),
        "b1": random_array(6),
        "w2": random_array(6, 6, 1, 1, seed=1),
        "b2": random_array(6, seed=1),
        "w3": random_array(3, 6, 1, 1),
    }


def test_both_sides_of_a_residual_have_to_be_zero() -> None:
    weights = _residual()
    for layer in ("1", "2"):
        weights[f"w{layer}"][2], weights[f"b{layer}"][2] = 0, 0
    weights["w2"][4], weights["b2"][4] = 0, 0
    model, _ = drop_and_compare(_RESIDUAL, weights)
    assert layer_shapes(model) == {"a": (5, 4, 1, 1), "b": (5, 5, 1, 1), "y": (3, 5, 1, 1)}


def test_a_residual_with_the_graphs_input_keeps_its_channels() -> None:
    text = "g (float[1, 4, 6, 6] x) => (float[1, 4, 6, 6] y) { a = Conv(x, w) s = Add(a, x) "
    text += "y = Conv(s, v) }"
    weights = {"w": random_array(4, 4, 1, 1), "v": random_array(4, 4, 1, 1)}
    weights["w"][1] = 0
    assert drop_and_compare(text, weights, exact=True)[1] == []


@pytest.mark.parametrize("seed", range(6))
def test_random_pruning_of_every_layer(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for text, make in ((_CHAIN, _chain), (_RESIDUAL, _residual), (_PAIR, _pair)):
        weights = make()
        for name, value in weights.items():
            if name[0] in "ws" and value.ndim:
                value[rng.random(len(value)) < 0.3] = 0
            if name[0] == "b" or name == "shift":
                value[rng.random(len(value)) < 0.5] = 0
        drop_and_compare(text, weights)


def test_the_read_stage_does_it_with_detached_weights_too() -> None:
    weights = _pair()
    weights["w1"][[1, 4]], weights["b1"][[1, 4]] = 0, 0
    text = _PAIR.replace("float[2, 3,", "float[2, 30,")
    weights["w1"] = np.tile(weights["w1"], (1, 10, 1, 1))
    model = named_model(text, weights)
    inside, apart = read(model), read(model, detach_above=100)
    assert any("removed 2 channels" in note for note in inside.notes)
    assert {array.shape for array in apart.weights.values()} >= {(4, 30, 3, 3)}
    names = [value.name for value in apart.proto.graph.input]
    assert names == ["x", *apart.weights]
    x = random_array(2, 30, 8, 8)
    expected = run_reference(model, {"x": x})["y"]
    np.testing.assert_allclose(run_reference(inside.proto, {"x": x})["y"], expected, atol=1e-4)
    found = run_reference(apart.proto, {"x": x, **apart.weights})["y"]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def _pruned_mobilenet() -> onnx.ModelProto:
    from benchmarks.models.mobilenet import mobilenet_v2

    model = mobilenet_v2()
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    rng = np.random.default_rng(0)
    for node in model.graph.node:
        if node.op_type == "Conv":
            value = numpy_helper.to_array(weights[node.input[1]]).copy()
            bias = numpy_helper.to_array(weights[node.input[2]]).copy()
            dropped = rng.random(len(value)) < 0.3
            value[dropped], bias[dropped] = 0, 0
            for name, array in ((node.input[1], value), (node.input[2], bias)):
                weights[name].CopyFrom(numpy_helper.from_array(array, name))
    return model


@pytest.mark.slow
def test_a_pruned_network_gets_smaller() -> None:
    model = _pruned_mobilenet()
    graph = read(model)
    x = random_array(1, 3, 224, 224)
    name = graph.inputs[0].name
    expected = run_reference(model, {name: x})
    found = run_reference(graph.proto, {name: x})
    for output, value in expected.items():
        np.testing.assert_allclose(found[output], value, atol=1e-4 * np.abs(value).max())
    before = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    after = sum(tensor.ByteSize() for tensor in graph.proto.graph.initializer)
    assert after < 0.75 * before
