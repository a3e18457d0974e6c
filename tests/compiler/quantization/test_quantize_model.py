"""From a float model to a quantized one: recipes, methods, what is refused."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from autoglm_tvm.compiler.frontend.model_constants import with_weights
from autoglm_tvm.compiler.quantization import quantize_model as quantize_model_module
from autoglm_tvm.compiler.quantization.by_recipe import quantize_by_recipe
from autoglm_tvm.compiler.quantization.calibration_data import calibration_data
from autoglm_tvm.compiler.quantization.quantize_model import (
    calibrate,
    quantize_model,
)
from autoglm_tvm.compiler.quantization.recipe import METHODS, Recipe, load_recipe
from autoglm_tvm.compiler.read import read
from autoglm_tvm.targets.errors import AutoglmError, CheckFailedError, UserInputError
from tests.compiler.onnx_text import model_from_text, random_array
from tests.compiler.quantization.float_models import (
    node_named,
    normal_data,
    operators,
    quantized,
    recipe,
    residual_network,
    sqnr,
    transformer_block,
)


@pytest.mark.parametrize("method", METHODS)
def test_methods(method: str) -> None:
    result = quantized(residual_network(), recipe(method=method))
    assert sqnr(result) > (15 if method == "entropy" else 25)


def test_same_bytes_every_time() -> None:
    model = read(residual_network())
    for method in METHODS:
        protos = [
            quantized(model, recipe(method=method)).model.proto.SerializeToString(
                deterministic=True
            )
            for _ in range(2)
        ]
        assert protos[0] == protos[1]


@pytest.mark.parametrize("name", ["int8", "int8-dynamic", "mixed", "fp16", "int4"])
def test_built_in_recipes_on_both_kinds_of_network(name: str) -> None:
    for model in (residual_network(), transformer_block()):
        if name == "int4" and model.graph.name == "net":
            continue
        result = quantized(model, load_recipe(name))
        assert sqnr(result) > (15 if name == "int4" else 25)
        assert set(result.precisions.values()) - {"fp32"}


def test_precisions_combine_in_one_graph() -> None:
    how = recipe("int8", {"mlp/up": "int4", "residual": "fp16"})
    kinds = operators(quantized(transformer_block(), how))
    assert kinds["MatMulNBits"] == 1
    assert kinds["MatMul"] == 1
    dynamic = quantized(transformer_block(), recipe("int8", {"mlp/up": "int8-dynamic"}))
    assert operators(dynamic)["MatMulInteger"] == 1
    assert sqnr(dynamic) > 30
    half = quantized(transformer_block(), recipe("int8", {"mlp/up": "fp16"}))
    assert operators(half)["Cast"] >= 2
    assert sqnr(half) > 30


def test_dynamic_ranges_share_what_several_products_read() -> None:
    text = """
    net (float[1,8,32] x) => (float[1,8,16] y, float[1,8,16] z) {
        [p] y = MatMul (x, w0)
        [q] z = MatMul (x, w1)
    }
    """
    weights = {"w0": random_array(32, 16), "w1": random_array(32, 16, seed=1)}
    model = read(model_from_text(text, weights))
    result = quantize_model(model, load_recipe("int8-dynamic"), None)
    assert operators(result)["DynamicQuantizeLinear"] == 1
    assert sqnr(result) > 30


@pytest.mark.parametrize("transposed", [0, 1])
def test_dynamic_gemm_and_conv(transposed: int) -> None:
    text = f"""
    net (float[2,4,6,6] x) => (float[2,5] y) {{
        [c] a = Conv <group: int = 2, pads: ints = [1,1,1,1]> (x, w, b)
        [p] p = GlobalAveragePool (a)
        [f] f = Flatten (p)
        [g] y = Gemm <transB: int = {transposed}> (f, v, d)
    }}
    """
    weights = {
        "w": random_array(8, 2, 3, 3),
        "b": random_array(8),
        "v": random_array(5, 8) if transposed else random_array(8, 5),
        "d": random_array(5),
    }
    result = quantized(model_from_text(text, weights), load_recipe("int8-dynamic"))
    assert sqnr(result) > 30
    assert operators(result)["ConvInteger"] == operators(result)["MatMulInteger"] == 1


def test_statistics_serve_every_choice_of_precisions() -> None:
    model = read(residual_network())
    data = normal_data(model)
    how = recipe(smooth=None, bias_correction=True)
    every = [node.name for node in model.proto.graph.node]
    statistics = calibrate(model, how, data, int8=every)
    for chosen in (["stem"], ["head"], ["stem", "left", "residual"], ["left", "head", "pool"]):
        precisions = {
            node.name: "int8" if node.name in chosen else "fp32" for node in model.proto.graph.node
        }
        fast = quantize_model(model, how, data, precisions=precisions, statistics=statistics)
        slow = quantize_model(model, how, data, precisions=precisions)
        assert fast.model.proto.SerializeToString(
            deterministic=True
        ) == slow.model.proto.SerializeToString(deterministic=True)
        assert fast.precisions == precisions
        assert sqnr(fast) > 30


def test_detached_weights_are_quantized_and_small() -> None:
    whole, detached = (read(transformer_block(), detach_above=limit) for limit in (None, 0))
    assert detached.weights
    results = [quantized(model, recipe()) for model in (whole, detached)]
    protos = [with_weights(result.model).graph for result in results]
    assert sqnr(results[1]) == pytest.approx(sqnr(results[0]))
    assert len(protos[0].node) == len(protos[1].node)


def test_old_operator_sets_are_raised() -> None:
    model = residual_network()
    del model.graph.node[5:]
    model.graph.output[0].CopyFrom(
        onnx.helper.make_tensor_value_info("r", onnx.TensorProto.FLOAT, [1, 16, 16, 16])
    )
    model.graph.node[4].output[0] = "r"
    model.opset_import[0].version = 11
    for tensor in list(model.graph.initializer):
        if tensor.name in ("w2", "b2"):
            model.graph.initializer.remove(tensor)
    result = quantized(model, recipe())
    assert result.model.opset == 13
    assert node_named(result, "stem").op_type == "Conv"
    assert sqnr(result) > 30


def test_symbolic_dimensions_stay() -> None:
    text = """
    net (float[n,s,32] x) => (float[n,s,8] y) { [p] y = MatMul (x, w) }
    """
    model = read(model_from_text(text, {"w": random_array(32, 8)}))
    runs = [{"x": random_array(1, length, 32)} for length in (3, 5, 9)]
    result = quantized(model, recipe(), calibration_data(runs, model.inputs))
    assert result.model.inputs == model.inputs
    assert sqnr(result, calibration_data(runs, model.inputs)) > 30


def test_random_data_is_said_to_mean_nothing() -> None:
    model = read(residual_network())
    data = calibration_data("random", model.inputs)
    assert any("means nothing" in note for note in quantized(model, recipe(), data).notes)


def test_calibration_data_is_needed_for_static_ranges_only() -> None:
    model = read(residual_network())
    with pytest.raises(UserInputError, match="needs calibration data") as refusal:
        quantize_model(model, recipe(), None)
    assert "--calibration" in refusal.value.hint
    assert quantize_model(model, load_recipe("fp16"), None).notes


def nothing_like(*_arguments: object, **_options: object) -> None:
    raise AssertionError("work was done before the recipe was refused")


@pytest.mark.parametrize("name", ["int8", "int8-dynamic", "int4", "fp16", "fp32"])
@pytest.mark.parametrize(
    "text",
    [
        "net (float16[2,32] x) => (float16[2,32] y) { [a] y = MatMul (x, w) }",
        "net (int32[4] x) => (int32[4] y) { [a] y = Reshape (x, w) }",
    ],
)
@pytest.mark.parametrize("with_data", [False, True])
def test_nothing_to_quantize_is_an_error(
    name: str, text: str, with_data: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight = random_array(32, 32).astype(np.float16) if "MatMul" in text else np.array([4])
    model = read(model_from_text(text, {"w": weight}))
    how = load_recipe(name) if name != "fp32" else Recipe("none", "fp32")
    data = calibration_data("random", model.inputs) if with_data else None
    monkeypatch.setattr(quantize_model_module, "prepare", nothing_like)
    with pytest.raises(UserInputError, match="finds nothing to quantize"):
        quantize_model(model, how, data)
    with pytest.raises(UserInputError, match="finds nothing to quantize"):
        quantize_by_recipe(model, how, data)


def test_a_recipe_that_leaves_all_in_float_is_refused() -> None:
    how = Recipe("none", "fp32")
    with pytest.raises(UserInputError, match="leaves every node in fp32"):
        quantized(residual_network(), how)
    assert quantized(residual_network(), Recipe("one", "fp32", (("head", "fp16"),)))


@pytest.mark.parametrize("name", ["fp16", "int4", "int8-dynamic"])
def test_calibration_data_adds_nothing_where_no_node_is_int8(name: str) -> None:
    text = "net (float[2,64] x) => (float[2,8] y) { [p] y = MatMul (x, w) }"
    model = read(model_from_text(text, {"w": random_array(64, 8)}))
    without = quantize_by_recipe(model, load_recipe(name), None).quantized
    measured = quantize_by_recipe(model, load_recipe(name), normal_data(model)).quantized
    assert operators(measured) == operators(without)
    assert not any("smoothed" in note for note in measured.notes)


def test_only_what_is_int8_is_smoothed() -> None:
    text = """
    net (float[2,64] x) => (float[2,8] y, float[2,8] z) {
        [a] y = MatMul (x, w)  t = Tanh (x)  [b] z = MatMul (t, v) }
    """
    weights = {"w": random_array(64, 8), "v": random_array(64, 8, seed=1)}
    model = read(model_from_text(text, weights))
    how = recipe("int8", {"b": "int4"}, smooth=0.5)
    for target in (None, 0.9):
        result = quantize_by_recipe(model, how, normal_data(model), target_drop=target).quantized
        smoothed = {note for note in result.notes if "smoothed" in note}
        assert smoothed
        assert "of 1 products" in smoothed.pop()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_named(value: float) -> None:
    model = residual_network()
    for tensor in model.graph.initializer:
        if tensor.name == "w1":
            weight = onnx.numpy_helper.to_array(tensor).copy()
            weight[0, 0, 0, 0] = value
            tensor.CopyFrom(onnx.numpy_helper.from_array(weight, "w1"))
    with pytest.raises(AutoglmError) as refusal:
        quantized(model, recipe())
    assert "left" in str(refusal.value)


@pytest.mark.parametrize(
    ("expression", "kind"), [("Log (x)", "NaN"), ("Exp (k)", "infinity"), ("Reciprocal (z)", "inf")]
)
def test_activations_that_are_not_finite_are_named(expression: str, kind: str) -> None:
    text = f"""
    net (float[1,8] x) => (float[1,4] y) {{
        k = Mul (x, many)
        z = Sub (x, x)
        [wrong] e = {expression}
        [product] y = MatMul (e, w)
    }}
    """
    weights = {"many": np.float32(1000), "w": random_array(8, 4)}
    with pytest.raises(CheckFailedError) as refusal:
        quantized(model_from_text(text, weights), recipe())
    assert "node 'wrong'" in str(refusal.value)
    assert kind in str(refusal.value)


def test_masks_of_minus_infinity_are_no_defect() -> None:
    text = """
    net (float[1,4,8] x) => (float[1,4,4] y) {
        [p] a = MatMul (x, w0)
        [masked] b = Add (a, mask)
        [soft] c = Softmax <axis: int = -1> (b)
        [q] y = MatMul (c, w1)
    }
    """
    mask = np.triu(np.full((4, 4), -np.inf, np.float32), 1)
    weights = {"w0": random_array(8, 4), "w1": random_array(4, 4), "mask": mask}
    assert sqnr(quantized(model_from_text(text, weights), recipe())) > 25


def test_progress_is_told() -> None:
    model = read(residual_network())
    told: list[str] = []
    quantize_model(model, recipe(smooth=None), normal_data(model, 3), told.append)
    assert told[:3] == [f"calibrate: run {number} of 3" for number in (1, 2, 3)]


@pytest.mark.parametrize("name", ["int8", "int8-dynamic", "int4"])
def test_factors_of_a_gemm_go_into_its_constants(name: str) -> None:
    text = """
    net (float[2,32] x) => (float[2,8] y) {
        [g] y = Gemm <alpha: float = 0.5, beta: float = 3.0> (x, w, b)
    }
    """
    weights = {"w": random_array(32, 8), "b": random_array(8)}
    result = quantized(model_from_text(text, weights), recipe(name))
    assert result.precisions == {"g": name}
    assert sqnr(result) > (15 if name == "int4" else 25)
