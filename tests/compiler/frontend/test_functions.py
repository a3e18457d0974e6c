"""Model-local functions and ONNX function bodies."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator

from autoglm_tvm.compiler.frontend.functions import expand_functions
from autoglm_tvm.compiler.read import read
from tests.compiler.models import imports_in_tvm, node_model, operators, parse, run

FLOAT = TensorProto.FLOAT


def random(*shape: int) -> np.ndarray:
    """Normal numbers, the same in every run."""
    return np.random.default_rng(7).standard_normal(shape).astype(np.float32)


def same_as_reference(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> onnx.ModelProto:
    """Read `model`; compare it with onnx's reference of the original; return what was read."""
    result = read(model)
    expected: Any = ReferenceEvaluator(model).run(None, feeds)
    for left, right in zip(run(result.proto, feeds), expected, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-5)
    assert imports_in_tvm(result.proto)
    return result.proto


def test_local_functions_are_inlined():
    model = parse(
        """
        <ir_version: 8, opset_import: ["" : 17, "local" : 1]>
        g (float[3] x) => (float[3] y) { y = local.twice (x) }
        <domain: "local", opset_import: ["" : 17]>
        twice (a) => (b) { b = Add(a, a) }
        """
    )
    result = read(model)
    assert operators(result.proto) == ["Add"]
    assert any("local::twice" in note for note in result.notes)


@pytest.mark.parametrize("op_type", ["Celu", "Swish"])
def test_operators_without_a_converter_are_expanded(op_type):
    opset = 24 if op_type == "Swish" else 17
    model = node_model(op_type, {"x": (FLOAT, [2, 3])}, opset=opset)
    proto = same_as_reference(model, {"x": random(2, 3)})
    assert op_type not in operators(proto)


def test_attributes_reach_the_body():
    model = node_model("Celu", {"x": (FLOAT, [2, 3])}, alpha=2.5)
    same_as_reference(model, {"x": random(2, 3)})


def test_standard_attention_is_not_read_as_that_of_microsoft():
    shape = [1, 2, 4, 8]
    inputs = {name: (FLOAT, shape) for name in ("q", "k", "v")}
    model = node_model("Attention", inputs, opset=23, is_causal=1)
    feeds = {name: random(*shape) * scale for name, scale in (("q", 1), ("k", 2), ("v", 3))}
    proto = same_as_reference(model, feeds)
    assert "Attention" not in operators(proto)


def test_absent_optional_inputs_of_a_body():
    shape = [1, 2, 4, 8]
    inputs = {n: (FLOAT, shape) for n in ("q", "k", "v", "past_key", "past_value")}
    model = node_model(
        "Attention",
        inputs,
        arguments=["q", "k", "v", "", "past_key", "past_value"],
        outputs=("y", "present_key", "present_value"),
        opset=23,
    )
    same_as_reference(model, {name: random(*shape) for name in inputs})


def test_optional_outputs_of_layer_normalization():
    scale = {"scale": np.ones(4, np.float32)}
    outputs = ("y", "mean", "inverse_deviation")
    model = node_model(
        "LayerNormalization", {"x": (FLOAT, [2, 4])}, constants=scale, outputs=outputs
    )
    proto = same_as_reference(model, {"x": random(2, 4)})
    assert "LayerNormalization" not in operators(proto)


def test_unused_optional_outputs_need_no_expansion():
    model = node_model(
        "LayerNormalization",
        {"x": (FLOAT, [2, 4])},
        constants={"scale": np.ones(4, np.float32)},
        outputs=("y", "mean"),
    )
    del model.graph.output[1:]
    assert operators(same_as_reference(model, {"x": random(2, 4)})) == ["LayerNormalization"]


def test_two_expansions_share_no_names_and_branches_are_expanded():
    model = parse(
        """
        <ir_version: 8, opset_import: ["" : 17]>
        choose (bool c, float[2] x) => (float[2] y)
        {
          first = Celu<alpha = 2.0>(x)
          second = Celu<alpha = 3.0>(first)
          y = If (c) <
            then_branch = t () => (float[2] a) { a = Celu(second) },
            else_branch = e () => (float[2] b) { b = Neg(second) }
          >
        }
        """
    )
    before = onnx.ModelProto()
    before.CopyFrom(model)
    expand_functions(model)
    assert "Celu" not in str(model)
    onnx.checker.check_model(model, full_check=True)
    for condition in (True, False):
        feeds = {"c": np.array(condition), "x": random(2)}
        np.testing.assert_allclose(run(model, feeds)[0], run(before, feeds)[0], rtol=1e-5)
