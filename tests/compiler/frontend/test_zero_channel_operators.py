"""Operators that channels pass through, and those that keep them."""

from __future__ import annotations

import numpy as np

from tests.compiler.frontend.zero_channel_models import drop_and_compare, layer_shapes
from tests.compiler.onnx_text import random_array


def test_concat_joins_channels() -> None:
    text = """
    g (float[1, 3, 6, 6] x) => (float[1, 2, 6, 6] y) {
      a = Conv(x, w1, b1) b = Conv(x, w2, b2) c = Concat<axis = 1>(a, b)
      k = Mul(c, gain) l = Add(k, offset) y = Conv(l, w3) }
    """
    weights = {
        "w1": random_array(4, 3, 1, 1),
        "b1": random_array(4),
        "w2": random_array(5, 3, 1, 1),
        "b2": random_array(5),
        "gain": random_array(9, 1, 1),
        "offset": random_array(1, 9, 1, 1),
        "w3": random_array(2, 9, 1, 1),
    }
    weights["w1"][0] = 0
    weights["gain"][6] = 0
    model, _ = drop_and_compare(text, weights)
    assert layer_shapes(model) == {
        "a": (3, 3, 1, 1),
        "b": (4, 3, 1, 1),
        "k": (7, 1, 1),
        "l": (1, 7, 1, 1),
        "y": (2, 7, 1, 1),
    }


def test_grouped_convolutions_keep_their_channels() -> None:
    text = """
    g (float[1, 3, 6, 6] x) => (float[1, 2, 6, 6] y) {
      a = Conv(x, w1) b = Conv<group = 2>(a, w2) y = Conv(b, w3) }
    """
    weights = {
        "w1": random_array(8, 3, 1, 1),
        "w2": random_array(6, 4, 1, 1),
        "w3": random_array(2, 6, 1, 1),
    }
    weights["w1"][1], weights["w2"][2] = 0, 0
    assert drop_and_compare(text, weights, exact=True)[1] == []


def test_a_feed_forward_part_of_a_transformer() -> None:
    text = """
    g (float[1, 7, 8] x) => (float[1, 7, 8] y) {
      a = MatMul(x, w1) b = Add(a, b1) e = Erf(b) f = Add(e, one) h = Mul(b, f)
      z = MatMul(h, w2) y = Add(x, z) }
    """
    weights = {
        "w1": random_array(8, 32),
        "b1": random_array(32),
        "one": np.ones((), np.float32),
        "w2": random_array(32, 8),
    }
    weights["w1"][:, 10:15], weights["b1"][10:15] = 0, 0
    model, _ = drop_and_compare(text, weights)
    assert layer_shapes(model)["a"] == (8, 27)
    assert layer_shapes(model)["b"] == (27,)
    assert layer_shapes(model)["z"] == (27, 8)


def test_a_gate_of_squeeze_and_excitation_and_a_reshape() -> None:
    text = """
    g (float[1, 3, 6, 6] x) => (float[1, 2] y) {
      a = Conv(x, w1, b1) p = GlobalAveragePool(a) c = Conv(p, w2) s = HardSigmoid(c)
      m = Mul(a, s) q = GlobalAveragePool(m) r = Reshape(q, shape) y = MatMul(r, w3) }
    """
    weights = {
        "w1": random_array(6, 3, 1, 1),
        "b1": random_array(6),
        "w2": random_array(6, 6, 1, 1),
        "shape": np.array([1, 6], np.int64),
        "w3": random_array(6, 2),
    }
    weights["w1"][5], weights["b1"][5] = 0, 0
    model, _ = drop_and_compare(text, weights)
    assert layer_shapes(model)["c"] == (5, 5, 1, 1)
    assert layer_shapes(model)["y"] == (5, 2)


def test_means_over_axes_and_resizing() -> None:
    text = """
    g (float[1, 3, 6, 6] x) => (float[1, 2] y) {
      a = Conv(x, w1, b1) u = Resize<mode = "linear">(a, none, scales)
      p = ReduceMean<keepdims = 1>(u, places) q = Squeeze(p, last) r = Squeeze(q, last)
      t = Unsqueeze(r, zero) v = Squeeze(t, zero) y = MatMul(v, w3) }
    """
    weights = {
        "w1": random_array(6, 3, 1, 1),
        "b1": random_array(6),
        "none": np.zeros(0, np.float32),
        "scales": np.array([1, 1, 2, 2], np.float32),
        "places": np.array([2, 3], np.int64),
        "last": np.array([-1], np.int64),
        "zero": np.array([0], np.int64),
        "w3": random_array(6, 2),
    }
    weights["w1"][5], weights["b1"][5] = 0, 0
    model, _ = drop_and_compare(text, weights)
    assert layer_shapes(model)["a"] == (5, 3, 1, 1)
    assert layer_shapes(model)["y"] == (5, 2)


def test_a_weight_that_two_layers_share_is_sliced_for_each() -> None:
    text = """
    g (float[1, 4, 6, 6] x) => (float[1, 4, 6, 6] y, float[1, 4, 6, 6] z) {
      a = Conv(x, w) b = Conv(a, w) y = Conv(b, v) z = Conv(x, w) }
    """
    weights = {"w": random_array(4, 4, 1, 1), "v": random_array(4, 4, 1, 1)}
    weights["w"][1] = 0
    _, notes = drop_and_compare(text, weights)
    assert "removed 2 channels" in notes[0]


def test_transposed_convolutions() -> None:
    text = """
    g (float[1, 4, 6, 6] x) => (float[1, 2, 11, 11] y) {
      a = Conv(x, w1) b = ConvTranspose<strides = [2, 2]>(a, w2, b2) y = Conv(b, w3) }
    """
    weights = {
        "w1": random_array(5, 4, 1, 1),
        "w2": random_array(5, 6, 1, 1),
        "b2": random_array(6),
        "w3": random_array(2, 6, 1, 1),
    }
    weights["w1"][1] = 0
    weights["w2"][:, 3], weights["b2"][3] = 0, 0
    model, _ = drop_and_compare(text, weights)
    assert layer_shapes(model)["b"] == (4, 5, 1, 1)
