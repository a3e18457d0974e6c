"""The error of each layer, with noise that is known and with the real quantizer."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import pytest

from autoglm_tvm.compiler.quantization.by_recipe import quantize_by_recipe
from autoglm_tvm.compiler.quantization.layer_error import LayerError, worst_first
from autoglm_tvm.compiler.quantization.recipe import Recipe
from autoglm_tvm.compiler.quantization.reference_runs import FloatOutputs
from autoglm_tvm.compiler.quantization.sensitivity import measure_layers
from autoglm_tvm.compiler.quantization.sensitivity_chart import (
    MOST_BARS,
    sensitivity_chart,
    sensitivity_png,
)
from autoglm_tvm.compiler.read import ReadModel
from autoglm_tvm.compiler.tuning.drawing import Box, Label
from tests.compiler.quantization.branches import branches, samples

NOISE = {"small": 0.001, "large": 0.1, "middle": 0.01}
FLOAT = dict.fromkeys(NOISE, 0.0)


def quantize(precisions: Mapping[str, str]) -> ReadModel:
    noise = {name: NOISE[name] if precisions[name] != "fp32" else 0.0 for name in NOISE}
    return branches(noise)


def test_layers_are_sorted_by_the_noise_that_each_adds_alone() -> None:
    original = branches(FLOAT)
    told: list[str] = []
    precisions = {"small": "int8", "large": "int4", "middle": "int8", "sum": "int8"}
    layers = measure_layers(original, precisions, quantize, samples(original), told.append)
    assert [layer.name for layer in layers] == ["large", "middle", "small"]
    assert [layer.precision for layer in layers] == ["int4", "int8", "int8"]
    assert {layer.op_type for layer in layers} == {"MatMul"}
    assert {layer.output for layer in layers} == {"y"}
    first, second, third = (layer.sqnr_db for layer in layers)
    assert second - first == pytest.approx(20, abs=3)
    assert third - second == pytest.approx(20, abs=3)
    assert told == [*("layer 1 of 3: small", "layer 2 of 3: large", "layer 3 of 3: middle")]


def test_layers_in_float_are_left_out() -> None:
    original = branches(FLOAT)
    precisions = {"small": "fp32", "large": "fp32", "middle": "int8"}
    layers = measure_layers(original, precisions, quantize, samples(original))
    assert [layer.name for layer in layers] == ["middle"]


def test_outputs_that_do_not_fit_are_computed_again() -> None:
    original = branches(FLOAT)
    data = samples(original, 4)
    kept, again = FloatOutputs(original, data), FloatOutputs(original, data, keep_bytes=300)
    for reference in (kept, again):
        for _ in range(2):
            found = [outputs["y"] for _, outputs in reference]
            expected = [run["x"] for run in data]
            assert len(found) == len(expected)
    for (_, one), (_, other) in zip(kept, again, strict=True):
        np.testing.assert_array_equal(one["y"], other["y"])


def test_the_real_quantizer_finds_the_layer_of_outliers() -> None:
    """One weight of a branch is so large that a scale for the whole tensor loses all others."""
    from onnx import numpy_helper

    model = branches(FLOAT)
    for tensor in model.proto.graph.initializer:
        if tensor.name == "w_middle":
            values = numpy_helper.to_array(tensor).copy()
            values[0, 0] = 400.0
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    data = samples(model, 10)
    from autoglm_tvm.compiler.quantization.recipe import Int8Settings

    recipe = Recipe("whole tensors", "int8", int8=Int8Settings(per_channel=False))
    found = quantize_by_recipe(model, recipe, data, per_layer=True)
    assert found.accuracy is not None
    layers = found.accuracy.layers
    assert {layer.name for layer in layers} == set(NOISE)
    assert layers[0].name == "middle"
    assert layers[0].sqnr_db < layers[1].sqnr_db - 6
    # What all layers together do is at least what the worst does, and about their sum.
    together = found.accuracy.outputs[0].sqnr_db
    noise = sum(layer.noise**2 for layer in layers)
    assert together == pytest.approx(-10 * np.log10(noise), abs=3)


def layer(number: int, decibel: float = 30.0) -> LayerError:
    name = f"/backbone/stage{number // 10}/block/attention/query_and_key/conv_{number}/Conv"
    return LayerError(name, "Conv", "int8", "y", decibel, 0.999, 0.01)


@pytest.mark.parametrize("count", [0, 1, 100, MOST_BARS + 50])
def test_the_picture_has_a_bar_a_layer_and_nothing_outside(count: int) -> None:
    rng = np.random.default_rng(0)
    layers = worst_first([layer(i, float(rng.normal(35, 8))) for i in range(count)])
    chart = sensitivity_chart(layers, "Error that each layer adds: model.onnx, recipe int8")
    bars = [shape for shape in chart.shapes if isinstance(shape, Box) and shape.height > 10]
    # One of them is the legend's.
    assert len(bars) == min(count, MOST_BARS) + (1 if count else 0)
    for bar in bars:
        assert 0 <= bar.x <= bar.x + bar.width <= chart.width
        assert bar.y + bar.height <= chart.height
    tops = sorted(bar.y for bar in bars)
    assert all(after - before >= 11 for before, after in pairwise(tops))
    texts = [shape.text for shape in chart.shapes if isinstance(shape, Label)]
    assert any("50 more" in text for text in texts) == (count > MOST_BARS)


@pytest.mark.parametrize("largest", [1e-7, 0.03, 0.1, 0.1203, 0.3, 1.0, 7.0, 150.0])
def test_the_grid_has_few_and_round_numbers(largest: float) -> None:
    noise = LayerError("a", "Conv", "int8", "y", -20 * float(np.log10(largest)), 0.9, 0.0)
    chart = sensitivity_chart([noise], "one layer")
    texts = [shape.text for shape in chart.shapes if isinstance(shape, Label)]
    marks = [text for text in texts if text.endswith(" %")]
    assert 4 <= len(marks) <= 8
    assert marks[0] == "0 %"
    assert f"{float(marks[1].removesuffix(' %')):.0e}"[0] in "125"


def test_the_picture_of_an_exact_and_of_a_broken_layer() -> None:
    layers = [layer(0, -np.inf), layer(1, 20.0), layer(2, np.inf)]
    content = sensitivity_png(layers, "three layers")
    assert content.startswith(b"\x89PNG")
    assert len(content) > 5000
