"""Where Q and DQ stand in a quantized model, and what they store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from autoglm_tvm.compiler.frontend.model_constants import with_weights
from autoglm_tvm.compiler.onnxruntime_module import load_onnxruntime
from autoglm_tvm.compiler.quantization.quantize_model import (
    QuantizedModel,
)
from autoglm_tvm.compiler.reference import run_reference
from tests.compiler.onnx_text import model_from_text, random_array
from tests.compiler.quantization.float_models import (
    constant,
    node_named,
    normal_data,
    operators,
    producer,
    quantized,
    recipe,
    residual_network,
    sqnr,
    transformer_block,
)


def fused_by_onnxruntime(result: QuantizedModel, tmp_path: Path) -> dict[str, int]:
    """Operators that onnxruntime makes of the model."""
    ort = load_onnxruntime()
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "fused.onnx")
    options.log_severity_level = 4
    content = with_weights(result.model).SerializeToString()
    ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    nodes = onnx.load(options.optimized_model_filepath).graph.node
    return {kind: sum(n.op_type == kind for n in nodes) for kind in {n.op_type for n in nodes}}


def test_a_residual_network_stays_in_bytes(tmp_path: Path) -> None:
    result = quantized(residual_network(), recipe())
    assert sqnr(result) > 30
    # Every tensor between the input and the result is stored in bytes, and no Relu is left.
    assert operators(result)["Relu"] == 0
    assert operators(result)["QuantizeLinear"] == 6
    assert producer(result, "y") == "Gemm"
    fused = fused_by_onnxruntime(result, tmp_path)
    assert (fused["QLinearConv"], fused["QLinearAdd"], fused["QGemm"]) == (2, 1, 1)
    assert fused["QLinearGlobalAveragePool"] == 1
    assert "Conv" not in fused
    assert "DequantizeLinear" not in fused


def test_a_transformer_block_quantizes_its_products_only(tmp_path: Path) -> None:
    result = quantized(transformer_block(), recipe())
    assert sqnr(result) > 30
    assert operators(result)["QuantizeLinear"] == 2
    assert producer(result, node_named(result, "mlp/up/MatMul").input[0]) == "DequantizeLinear"
    # Sums and activations are computed in float on what the product gives.
    assert node_named(result, "mlp/act").input[0] == node_named(result, "mlp/up/Add").output[0]
    assert fused_by_onnxruntime(result, tmp_path)["QGemm"] == 2


def test_weights_and_biases_are_integers() -> None:
    result = quantized(residual_network(), recipe())
    stem = node_named(result, "stem")
    makers = {n.output[0]: n for n in result.model.proto.graph.node}
    weight = constant(result, makers[stem.input[1]].input[0])
    assert weight.dtype == np.int8
    assert weight.min() >= -127
    assert constant(result, makers[stem.input[1]].input[1]).shape == (16,)
    bias = makers[stem.input[2]]
    assert constant(result, bias.input[0]).dtype == np.int32
    scales = constant(result, makers[stem.input[0]].input[1])
    weight_scales = constant(result, makers[stem.input[1]].input[1])
    np.testing.assert_array_equal(constant(result, bias.input[1]), scales * weight_scales)


def test_per_tensor_weights_have_one_scale_and_are_worse() -> None:
    text = "net (float[1,3,8,8] x) => (float[1,2,8,8] y) { [c] y = Conv (x, w) }"
    weight = random_array(2, 3, 1, 1)
    weight[0] *= 50
    model = model_from_text(text, {"w": weight})
    errors = []
    for per_channel in (True, False):
        result = quantized(model, recipe(per_channel=per_channel))
        makers = {n.output[0]: n for n in result.model.proto.graph.node}
        scale = constant(result, makers[node_named(result, "c").input[1]].input[1])
        assert scale.shape == ((2,) if per_channel else ())
        run = next(iter(normal_data(result.original, 1)))
        expected = run_reference(model, run)["y"]
        actual = run_reference(with_weights(result.model), run)["y"]
        errors.append(float(np.abs(actual - expected)[:, 1].mean()))
    # The small channel drowns in the large one's steps.
    assert errors[1] > 5 * errors[0]


@pytest.mark.parametrize("activation", ["uint8", "int8"])
@pytest.mark.parametrize("symmetric", [False, True])
def test_stored_types(activation: str, symmetric: bool) -> None:
    how = recipe(activation=activation, symmetric_activations=symmetric)
    result = quantized(residual_network(), how)
    assert sqnr(result) > 25
    zeros = {
        (constant(result, node.input[2]).dtype.name, int(constant(result, node.input[2])))
        for node in result.model.proto.graph.node
        if node.op_type == "QuantizeLinear"
    }
    assert {dtype for dtype, _ in zeros} == {activation}
    if symmetric:
        assert {zero for _, zero in zeros} == {128 if activation == "uint8" else 0}
    # With a zero point in the middle, bytes go below zero: the Relu must stay.
    assert operators(result)["Relu"] == (2 if symmetric else 0)


def test_float_readers_of_a_float_tensor_keep_it() -> None:
    """The residual addition reads x itself, not what the product's input was rounded to."""
    text = """
    net (float[1,8,32] x) => (float[1,8,32] y) {
        [act] t = Tanh (x)
        [product] m = MatMul (t, w)
        [residual] y = Add (m, t)
    }
    """
    result = quantized(model_from_text(text, {"w": random_array(32, 32, scale=0.1)}), recipe())
    assert node_named(result, "residual").input[1] == "t"
    assert producer(result, node_named(result, "product").input[0]) == "DequantizeLinear"


def test_clips_are_removed_only_where_bytes_say_the_same() -> None:
    text = """
    net (float[1,3,8,8] x) => (float[1,4,8,8] y) {
        [c0] a = Conv (x, w0)
        [six] b = Clip (a, zero, six_value)
        [c1] c = Conv (b, w1)
        [above] d = Clip (c, one, six_value)
        [c2] y = Conv (d, w2)
    }
    """
    weights = {
        "w0": random_array(4, 3, 1, 1, scale=5),
        "w1": random_array(4, 4, 1, 1),
        "w2": random_array(4, 4, 1, 1, seed=1),
        "zero": np.float32(0),
        "one": np.float32(1),
        "six_value": np.float32(6),
    }
    result = quantized(model_from_text(text, weights), recipe())
    names = [node.name for node in result.model.proto.graph.node]
    assert "six" not in names
    # Bytes hold zero, so they do not clip at one.
    assert "above" in names
    assert sqnr(result) > 25


def test_moves_and_pooling_keep_scale_and_zero_point() -> None:
    text = """
    net (float[1,4,8,8] x) => (float[1,8,6] y) {
        [c0] a = Conv (x, w0)
        [pool] b = MaxPool <kernel_shape: ints = [2,2], strides: ints = [2,2]> (a)
        [turn] c = Transpose <perm: ints = [0,2,3,1]> (b)
        [shape] d = Reshape (c, to)
        [product] y = MatMul (d, w1)
    }
    """
    weights = {
        "w0": random_array(8, 4, 1, 1),
        "to": np.array([1, 8, 16]),
        "w1": random_array(16, 6),
    }
    result = quantized(model_from_text(text, weights), recipe())
    scales = [n.input[1] for n in result.model.proto.graph.node if n.op_type == "QuantizeLinear"]
    assert len(scales) == 5
    assert len(set(scales)) == 2
    assert sqnr(result) > 30


def test_concat_takes_what_only_it_reads_on_its_own_scale() -> None:
    text = """
    net (float[1,4,8,8] x) => (float[1,4,8,8] y) {
        [left] a = Conv (x, w0)
        [right] b = Conv (x, w1)
        [join] c = Concat <axis: int = 1> (a, b)
        [last] y = Conv (c, w2)
    }
    """
    weights = {
        "w0": random_array(4, 4, 1, 1),
        "w1": random_array(4, 4, 1, 1, seed=1, scale=3),
        "w2": random_array(4, 8, 1, 1),
    }
    result = quantized(model_from_text(text, weights), recipe())
    join = node_named(result, "join")
    makers = {n.output[0]: n for n in result.model.proto.graph.node}
    after = next(n for n in result.model.proto.graph.node if join.output[0] in n.input)
    assert {makers[name].input[1] for name in join.input} == {after.input[1]}
    assert sqnr(result) > 30


def test_scales_and_normalisations_are_folded_first() -> None:
    text = """
    net (float[1,3,8,8] x) => (float[1,4,8,8] y) {
        [c0] a = Conv (x, w0, b0)
        [bn] b = BatchNormalization (a, s, t, m, v)
        [times] c = Mul (b, k)
        [plus] d = Add (d0, c)
        [c1] y = Conv (d, w1)
    }
    """
    weights = {
        "w0": random_array(4, 3, 1, 1),
        "b0": random_array(4),
        "s": 1 + 0.1 * random_array(4),
        "t": random_array(4, seed=1),
        "m": random_array(4, seed=2),
        "v": 1 + random_array(4, seed=3) ** 2,
        "k": 2 + random_array(4, 1, 1),
        "d0": random_array(1, 4, 1, 1, seed=4),
        "w1": random_array(4, 4, 1, 1),
    }
    result = quantized(model_from_text(text, weights), recipe())
    kinds = operators(result)
    assert kinds["BatchNormalization"] == kinds["Mul"] == kinds["Add"] == 0
    assert node_named(result, "c0").output[0] == "d"
    assert sqnr(result) > 30


def test_a_graph_output_in_the_middle_stays_float() -> None:
    text = """
    net (float[1,3,8,8] x) => (float[1,4,8,8] mid, float[1,4,8,8] y) {
        [c0] a = Conv (x, w0)
        [relu] mid = Relu (a)
        [c1] y = Conv (mid, w1)
    }
    """
    weights = {"w0": random_array(4, 3, 1, 1), "w1": random_array(4, 4, 1, 1)}
    result = quantized(model_from_text(text, weights), recipe())
    assert producer(result, "mid") == "Relu"
    assert producer(result, node_named(result, "c1").input[0]) == "DequantizeLinear"
    assert sqnr(result) > 30


def test_a_huge_bias_behind_a_tiny_weight_fits_its_integer() -> None:
    text = """
    net (float[1,3,8,8] x) => (float[1,2,8,8] y) { [c] y = Conv (x, w, b) }
    """
    weight = random_array(2, 3, 1, 1)
    weight[0] *= 1e-12
    bias = np.array([1000.0, 1.0], np.float32)
    result = quantized(model_from_text(text, {"w": weight, "b": bias}), recipe())
    data = normal_data(result.original, 1, seed=5)
    run = next(iter(data))
    actual = run_reference(with_weights(result.model), run)["y"]
    np.testing.assert_allclose(actual[0, 0], 1000.0, rtol=1e-5)


def test_weights_of_zeros_stay_zeros() -> None:
    text = "net (float[1,3,8,8] x) => (float[1,2,8,8] y) { [c] y = Conv (x, w) }"
    weight = random_array(2, 3, 1, 1)
    weight[1] = 0
    result = quantized(model_from_text(text, {"w": weight}), recipe())
    run = next(iter(normal_data(result.original, 1)))
    actual = run_reference(with_weights(result.model), run)["y"]
    assert not actual[0, 1].any()
    assert actual[0, 0].any()


@pytest.mark.parametrize("per_channel", [False, True])
def test_a_bias_keeps_its_rank(per_channel: bool) -> None:
    text = """
    net (float[2,16] x) => (float[1,2,8] y) {
        [p] m = MatMul (x, w)
        [add] y = Add (m, b)
    }
    """
    weights = {"w": random_array(16, 8), "b": random_array(1, 1, 8)}
    result = quantized(model_from_text(text, weights), recipe(per_channel=per_channel))
    assert producer(result, node_named(result, "add").input[1]) == "DequantizeLinear"
    assert sqnr(result) > 30


@pytest.mark.parametrize("per_channel", [False, True])
def test_layers_may_share_a_weight_and_one_read_it_transposed(per_channel: bool) -> None:
    text = """
    net (float[2,16] x) => (float[2,16] y) {
        [up] h = Gemm (x, w, b1)
        [relu] r = Relu (h)
        [down] y = Gemm <transB: int = 1> (r, w, b2)
    }
    """
    # Biases that need larger scales than the weight alone would have.
    weights = {"w": random_array(16, 8), "b1": random_array(8), "b2": random_array(16, scale=1e9)}
    how = recipe(per_channel=per_channel, smooth=None)
    plain = text.replace(", b2", "")
    assert sqnr(quantized(model_from_text(plain, {n: weights[n] for n in ("w", "b1")}), how)) > 25
    result = quantized(model_from_text(text, weights), how)
    run = next(iter(normal_data(result.original)))
    actual = run_reference(with_weights(result.model), run)["y"]
    expected = run_reference(with_weights(result.original), run)["y"]
    np.testing.assert_allclose(actual, expected, rtol=1e-3)


@pytest.mark.parametrize(
    ("attributes", "extent"),
    [
        ("pads: ints = [1,1,1,1]", 8),
        ('auto_pad: string = "SAME_UPPER"', 8),
        ("ceil_mode: int = 1, strides: ints = [3,3]", 3),
    ],
)
def test_an_average_that_no_kernel_takes_stays_float(attributes: str, extent: int) -> None:
    text = f"""
    net (float[1,3,8,8] x) => (float[1,4,{extent},{extent}] y) {{
        [c0] a = Conv (x, w0)
        [pool] b = AveragePool <kernel_shape: ints = [3,3], {attributes}> (a)
        [c1] y = Conv (b, w1)
    }}
    """
    weights = {"w0": random_array(4, 3, 1, 1), "w1": random_array(4, 4, 1, 1)}
    result = quantized(model_from_text(text, weights), recipe())
    assert result.precisions["pool"] == "fp32"
    assert producer(result, node_named(result, "pool").input[0]) == "Conv"
    assert sqnr(result) > 30


def test_a_convolution_of_three_axes_stays_float() -> None:
    text = """
    net (float[1,3,4,4,4] x) => (float[1,6,3,3,3] y, float[1,6] z) {
        [c] y = Conv (x, w)
        [mean] m = ReduceMean <keepdims: int = 0> (y, axes)
        [p] z = MatMul (m, v)
    }
    """
    weights = {"w": random_array(6, 3, 2, 2, 2), "v": random_array(6, 6)}
    weights["axes"] = np.array([2, 3, 4])
    result = quantized(model_from_text(text, weights), recipe())
    assert result.precisions["c"] == "fp32"
    assert node_named(result, "c").input[0] == "x"
    assert result.precisions["p"] == "int8"
