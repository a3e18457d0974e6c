"""Exceptions are found where the noise is, and no more of them than the target needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autoglm_tvm.compiler.quantization.assign import assign_precisions
from autoglm_tvm.compiler.quantization.by_recipe import quantize_by_recipe
from autoglm_tvm.compiler.quantization.calibration_data import calibration_data
from autoglm_tvm.compiler.quantization.found_recipe import found_recipe, recipe_text
from autoglm_tvm.compiler.quantization.recipe import Int8Settings, Recipe, load_recipe
from autoglm_tvm.compiler.quantization.reference_runs import OnnxSession
from autoglm_tvm.compiler.quantization.search_exceptions import SearchResult, search_exceptions
from autoglm_tvm.compiler.read import ReadModel
from autoglm_tvm.targets.errors import CheckFailedError, UserInputError
from tests.compiler.quantization.branches import branches, samples

# Error of a weight in each precision, for a layer of sensitivity 1.
ERROR = {"int4": 0.2, "int8": 0.02, "fp16": 1e-4, "fp32": 0.0}


class Quantizer:
    """Quantizes by hand, and counts how often."""

    def __init__(self, sensitivity: Mapping[str, float]) -> None:
        self.sensitivity = dict(sensitivity)
        self.calls = 0

    def __call__(self, precisions: Mapping[str, str]) -> ReadModel:
        self.calls += 1
        return branches({n: s * ERROR[precisions[n]] for n, s in self.sensitivity.items()})

    def search(self, target: float, precision: str = "int8", **options: Any) -> SearchResult:
        original = branches(dict.fromkeys(self.sensitivity, 0.0))
        precisions = dict.fromkeys(self.sensitivity, precision)
        return search_exceptions(original, precisions, self, samples(original), target, **options)


def test_no_exceptions_where_the_recipe_meets_the_target() -> None:
    quantizer = Quantizer({"a": 1.0, "b": 1.0})
    found = quantizer.search(0.01)
    assert found.raised == ()
    assert found.drop == found.drop_before <= 0.01
    assert (found.evaluations, quantizer.calls) == (1, 1)
    assert set(found.precisions.values()) == {"int8"}


def test_the_most_sensitive_layers_are_raised_and_no_others() -> None:
    sensitivity = dict.fromkeys("abcdefghijklmnop", 0.1)
    sensitivity["f"], sensitivity["m"] = 30.0, 20.0
    quantizer = Quantizer(sensitivity)
    found = quantizer.search(0.001)
    assert found.raised == ("f", "m")
    assert found.drop <= 0.001 < found.drop_before
    assert {found.precisions[name] for name in "fm"} == {"fp16"}
    assert [found.precisions[name] for name in "abc"] == ["int8"] * 3
    assert [layer.name for layer in found.layers[:2]] == ["f", "m"]
    # Bisection: a logarithm of the layers, not all of them.
    assert found.evaluations <= 8
    assert quantizer.calls == found.evaluations + len(sensitivity)


def test_int4_goes_to_int8_first_and_on_only_where_that_is_too_little() -> None:
    sensitivity = {"a": 0.1, "b": 4.0, "c": 0.1}
    one = Quantizer(sensitivity).search(0.01, "int4")
    assert one.raised == ("b",)
    assert one.precisions == {"a": "int4", "b": "int8", "c": "int4"}
    two = Quantizer(sensitivity).search(0.00005, "int4")
    assert two.precisions["b"] == "fp16"
    assert two.drop <= 0.00005


def test_layers_that_the_score_does_not_need_are_taken_back() -> None:
    """The noisiest layer is not what the score hears: only the second one must be raised."""
    sensitivity = {"loud": 20.0, "heard": 10.0, "quiet": 0.01}
    quantizer = Quantizer(sensitivity)
    first = next(iter(samples(branches(dict.fromkeys(sensitivity, 0.0)))))

    def heard(precisions: Sequence[str]) -> np.ndarray:
        chosen = dict(zip(sensitivity, precisions, strict=True))
        return OnnxSession(quantizer(chosen)).run(first)["y"]

    kept = ("int8", "fp16")
    right = [heard((loud, "fp16", quiet)) for loud in kept for quiet in kept]
    right.append(heard(("fp32", "fp32", "fp32")))

    def judge(outputs: Sequence[Mapping[str, np.ndarray]], inputs: Sequence[Any]) -> float:
        assert len(outputs) == len(inputs) == 3
        return float(any(np.array_equal(outputs[0]["y"], clean) for clean in right))

    found = quantizer.search(0.5, score=judge)
    assert found.raised == ("heard",)
    assert found.drop == 0.0
    assert found.drop_before == 1.0


def test_a_target_that_float_does_not_meet_says_how_far_it_came() -> None:
    class Noisy(Quantizer):
        def __call__(self, precisions: Mapping[str, str]) -> ReadModel:
            return branches({name: 0.5 for name in self.sensitivity})

    with pytest.raises(CheckFailedError, match=r"every layer in fp32 the drop is 0\.\d+"):
        Noisy({"a": 1.0, "b": 1.0}).search(0.001)


def test_the_found_recipe_is_read_back_and_does_not_contradict_itself(tmp_path: Path) -> None:
    """An exception that every found one overrides is left out; brackets in names are no pattern."""
    names = {"block[0]": 0.0, "block[1]": 0.0, "tail": 0.0}
    model = branches(names)
    exceptions = (("op:MatMul", "int8"), ("tai?", "int8-dynamic"), ("block[[]1]", "fp32"))
    recipe = Recipe("mine", "int8", exceptions)
    precisions = assign_precisions(recipe, model.proto)
    assert precisions["tail"] == "int8-dynamic"
    raised = {"tail": "fp16", "block[0]": "fp16"}
    search = SearchResult({**precisions, **raised}, ("tail", "block[0]"), 0.01, 0.002, 0.03, (), 5)
    found = found_recipe(recipe, model, search)
    assert assign_precisions(found, model.proto) == search.precisions
    added = (("tail", "fp16"), ("block[[]0]", "fp16"))
    assert found.exceptions == (("block[[]1]", "fp32"), *added)
    search = SearchResult({**precisions}, (), 0.01, 0.002, 0.03, (), 1)
    assert found_recipe(recipe, model, search) == recipe
    path = tmp_path / "found.yaml"
    path.write_text(recipe_text(found, None, None, "model.onnx"), encoding="utf-8")
    assert load_recipe(path) == found


def test_the_whole_road_with_the_real_quantizer(tmp_path: Path) -> None:
    from onnx import numpy_helper

    model = branches({"a": 0.0, "b": 0.0, "c": 0.0})
    for tensor in model.proto.graph.initializer:
        if tensor.name == "w_b":
            values = numpy_helper.to_array(tensor).copy()
            values[0, 0] = 1000.0
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    data = samples(model, 10)
    recipe = Recipe("int8", "int8", int8=Int8Settings(per_channel=False))
    before = quantize_by_recipe(model, recipe, data)
    assert before.accuracy is not None
    target = before.accuracy.drop / 4
    found = quantize_by_recipe(model, recipe, data, target_drop=target)
    assert found.search is not None
    assert found.accuracy is not None
    assert found.search.raised == ("b",)
    assert found.quantized.precisions["b"] == "fp16"
    assert found.accuracy.drop == pytest.approx(found.search.drop)
    assert found.accuracy.drop <= target
    text = recipe_text(found.quantized.recipe, found.search, found.accuracy, "model.onnx")
    assert "2 held-out inputs" in text
    path = tmp_path / "found.yaml"
    path.write_text(text, encoding="utf-8")
    again = quantize_by_recipe(model, load_recipe(path), data)
    assert again.accuracy is not None
    assert again.accuracy.outputs == found.accuracy.outputs


def test_random_data_searches_nothing() -> None:
    model = branches({"a": 0.0})
    data = calibration_data("random", model.inputs)
    with pytest.raises(UserInputError, match="random data means nothing"):
        quantize_by_recipe(model, load_recipe("int8"), data, target_drop=0.1)
