"""What helps where 8 bits do not: smoothing, bias correction, leaving layers out."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from autoglm_tvm.compiler.frontend.model_constants import with_weights
from autoglm_tvm.compiler.quantization.calibration_data import CalibrationData, calibration_data
from autoglm_tvm.compiler.quantization.quantize_model import QuantizedModel, quantize_model
from autoglm_tvm.compiler.quantization.smooth import smooth
from autoglm_tvm.compiler.read import ReadModel, read
from autoglm_tvm.compiler.reference import run_reference
from tests.compiler.onnx_text import model_from_text, random_array
from tests.compiler.quantization.float_models import normal_data, operators, recipe, sqnr


def outlier_block(also_read: bool, decomposed: bool = False) -> onnx.ModelProto:
    """Products of a normalisation's result, in which two columns are a hundred times the others."""
    norm = "n = LayerNormalization <axis: int = -1> (x, g, h)"
    if decomposed:
        norm = "n0 = Mul (x, g) n = Add (n0, h)"
    last = "y = Add (m, n)" if also_read else "y = Identity (m)"
    text = f"""
    net (float[1,8,32] x) => (float[1,8,32] y, float[1,8,16] z) {{
        {norm}
        [p] m = MatMul (n, w0)
        [q] z = MatMul (n, w1)
        {last}
    }}
    """
    scale = np.ones(32, np.float32)
    scale[[3, 20]] = 100
    weights = {
        "g": scale,
        "h": random_array(32, scale=0.1),
        "w0": random_array(32, 32) / scale[:, None],
        "w1": random_array(32, 16) / scale[:, None],
    }
    return model_from_text(text, weights)


@pytest.mark.parametrize("also_read", [False, True])
@pytest.mark.parametrize("decomposed", [False, True])
def test_smoothing_helps_where_columns_have_outliers(also_read: bool, decomposed: bool) -> None:
    model = read(outlier_block(also_read, decomposed))
    data = normal_data(model)
    plain = quantize_model(model, recipe(smooth=None), data)
    smoothed = quantize_model(model, recipe(smooth=0.5), data)

    def products(result: QuantizedModel) -> float:
        """SQNR of z, which is nothing but a product."""
        proto, before = with_weights(result.model), with_weights(result.original)
        signal = noise = 0.0
        for run in data:
            expected = run_reference(before, run)["z"].astype(np.float64)
            signal += float((expected**2).sum())
            noise += float(((expected - run_reference(proto, run)["z"]) ** 2).sum())
        return 10 * np.log10(signal / noise)

    assert products(smoothed) > products(plain) + 10
    # What the products alone read is divided inside of the normalisation, for nothing.
    extra = operators(smoothed)["Mul"] - operators(plain)["Mul"]
    assert extra == (1 if also_read else 0)
    note = next(note for note in smoothed.notes if "smoothed" in note)
    assert ("1 multiplications were added" in note) is also_read


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_smoothing_changes_nothing_in_float(alpha: float) -> None:
    for also_read in (False, True):
        model = read(outlier_block(also_read))
        proto = onnx.ModelProto()
        proto.CopyFrom(model.proto)
        data = normal_data(model)
        assert smooth(proto, ["p", "q"], data, alpha)
        run = next(iter(data))
        expected, actual = run_reference(model.proto, run), run_reference(proto, run)
        for name, value in expected.items():
            np.testing.assert_allclose(actual[name], value, rtol=1e-4, atol=1e-4)


def test_every_product_is_smoothed() -> None:
    """Not the first ones only: several tensors, each read by something else too."""
    text = """
    net (float[1,8,16] x) => (float[1,8,16] y) {
        [a] t0 = Tanh (x)
        [p0] m0 = MatMul (t0, w0)
        [r0] s0 = Mul (m0, t0)
        [p1] m1 = MatMul (s0, w1)
        [r1] y = Add (m1, s0)
    }
    """
    weights = {"w0": random_array(16, 16), "w1": random_array(16, 16, seed=1)}
    model = read(model_from_text(text, weights))
    result = quantize_model(model, recipe(smooth=0.5), normal_data(model))
    assert operators(result)["Mul"] == 1 + 2
    assert sqnr(result) > 30


def test_a_product_of_bytes_stays_one() -> None:
    """A multiplication before it would take it out of the integers."""
    text = """
    net (float[1,4,9,9] x) => (float[1,5] y) {
        [c] f = Conv (x, k)
        [mean] m = GlobalAveragePool (f)
        [flat] v = Flatten (m)
        [p] y = MatMul (v, w)
    }
    """
    weights = {"k": random_array(6, 4, 3, 3), "w": random_array(6, 5)}
    model = read(model_from_text(text, weights))
    result = quantize_model(model, recipe(smooth=0.5), normal_data(model))
    assert not any("smoothed" in note for note in result.notes)


def biased_network(with_bias: bool) -> onnx.ModelProto:
    """A layer whose weights all round the same way, behind a Relu: the error has a mean."""
    bias = ", b" if with_bias else ""
    text = f"""
    net (float[1,8,12,12] x) => (float[1,4,12,12] y, float[1,8,5] z) {{
        [relu] r = Relu (x)
        [c] y = Conv <group: int = 2> (r, w{bias})
        [mean] m = ReduceMean <axes: ints = [3], keepdims: int = 0> (r)
        [p0] p = MatMul (m, v)
        [add] z = Add (p, d)
    }}
    """
    step = 1 / 127
    weights: dict[str, np.ndarray] = {"w": np.full((4, 4, 1, 1), 10.4 * step, np.float32)}
    weights["w"][:, 0] = 1.0
    weights["v"] = np.full((12, 5), 10.4 * step, np.float32)
    weights["v"][0] = 1.0
    weights["d"] = random_array(5)
    if with_bias:
        weights["b"] = random_array(4)
    return model_from_text(text, weights, opset=17)


@pytest.mark.parametrize("with_bias", [False, True])
def test_bias_correction_takes_the_mean_error_away(with_bias: bool) -> None:
    model = read(biased_network(with_bias))
    data = normal_data(model)

    def mean_errors(result: QuantizedModel) -> list[float]:
        found = []
        for name in ("y", "z"):
            errors = [
                run_reference(with_weights(result.model), run)[name]
                - run_reference(with_weights(model), run)[name]
                for run in normal_data(model, 3, seed=7)
            ]
            found.append(abs(float(np.mean(errors))))
        return found

    plain = mean_errors(quantize_model(model, recipe(smooth=None), data))
    result = quantize_model(model, recipe(smooth=None, bias_correction=True), data)
    corrected = mean_errors(result)
    assert "corrected the biases of 2 layers" in result.notes
    assert corrected[0] < plain[0] / 3
    assert corrected[1] < plain[1] / 3


@pytest.mark.parametrize(
    ("shape", "count"), [((8,), 1), ((1, 8), 1), ((1, 1, 8), 1), ((1, 1, 1), 1), ((8, 1), 0)]
)
def test_only_what_is_added_to_columns_is_a_bias(shape: tuple[int, ...], count: int) -> None:
    rank3 = len(shape) == 3
    text = f"""
    net (float[8,16] x) => (float[{"1,8,8" if rank3 else "8,8"}] y) {{
        [p] m = MatMul (x, w)
        [add] y = Add (m, b)
    }}
    """
    weights = {"w": random_array(16, 8), "b": random_array(*shape, scale=20)}
    result = quantize_model(
        model := read(model_from_text(text, weights)),
        recipe(smooth=None, bias_correction=True),
        normal_data(model),
    )
    assert ("corrected the biases of 1 layers" in result.notes) == bool(count)
    assert sqnr(result) > 30


def crowded(model: ReadModel, runs: int = 4) -> CalibrationData:
    """Runs in which a few values are huge, each time in another column."""
    rng = np.random.default_rng(0)
    samples = []
    for _ in range(runs):
        values = rng.standard_normal((1, 64, 32)).astype(np.float32)
        values[0, 0, rng.integers(32)] = 500.0
        samples.append({"x": values})
    return calibration_data(samples, model.inputs)


def test_layers_without_room_for_their_values_are_left_out() -> None:
    text = """
    net (float[1,64,32] x) => (float[1,64,8] y, float[1,64,8] z) {
        [crowded] y = MatMul (x, w0)
        [t] t = Tanh (x)
        [usual] z = MatMul (t, w1)
    }
    """
    weights = {"w0": random_array(32, 8), "w1": random_array(32, 8, seed=1)}
    model = read(model_from_text(text, weights))
    result = quantize_model(model, recipe(smooth=None, least_sqnr=18), crowded(model))
    assert result.precisions["crowded"] == "fp16"
    assert result.precisions["usual"] == "int8"
    assert any("crowded" in note and "dB" in note for note in result.notes)
    everything = quantize_model(model, recipe(smooth=None), crowded(model))
    assert everything.precisions["crowded"] == "int8"
    assert sqnr(result, crowded(model)) > sqnr(everything, crowded(model)) + 6
