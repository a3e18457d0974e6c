"""What a branch (If) reads is read: nothing that it needs is changed or taken away."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from autoglm_tvm.compiler.quantization.calibration_data import CalibrationData, calibration_data
from autoglm_tvm.compiler.quantization.quantize_model import QuantizedModel, quantize_model
from autoglm_tvm.compiler.read import ReadModel, read
from tests.compiler.onnx_text import model_from_text, random_array
from tests.compiler.quantization.float_models import node_named, operators, recipe, sqnr


def both_branches(model: ReadModel, runs: int = 4) -> CalibrationData:
    """Runs of normal numbers, every other one of which takes the other branch."""
    rng = np.random.default_rng(0)
    shape = next(spec.shape for spec in model.inputs if spec.name == "x")
    samples = [
        {"x": rng.standard_normal(shape).astype(np.float32), "k": np.array(run % 2 == 0)}  # type: ignore[arg-type]
        for run in range(runs)
    ]
    return calibration_data(samples, model.inputs)


def branches(name: str, shape: str) -> str:
    """An If on `k` whose branches read the tensor `name` and make `z`."""
    return f"""[if] z = If (k) <
        then_branch = t () => (float[{shape}] u) {{ [neg] u = Neg ({name}) }},
        else_branch = e () => (float[{shape}] v) {{ [abs] v = Abs ({name}) }}>"""


def check(text: str, weights: dict[str, np.ndarray], **int8: Any) -> QuantizedModel:
    """Quantize, and see that every output is near that of the float model."""
    model = read(model_from_text(text, weights))
    data = both_branches(model)
    result = quantize_model(model, recipe(**int8), data)
    assert sqnr(result, data) > 30
    return result


@pytest.mark.parametrize("decomposed", [False, True])
def test_a_normalisation_that_a_branch_reads_is_not_smoothed(decomposed: bool) -> None:
    norm = "[n1] n = LayerNormalization <axis: int = -1> (x, g, h)"
    if decomposed:
        norm = "[n0] n0 = Mul (x, g) [n1] n = Add (n0, h)"
    text = f"""
    net (float[4,16] x, bool k) => (float[4,8] y, float[4,16] z) {{
        {norm}
        [p] y = MatMul (n, w)
        {branches("n", "4,16")}
    }}
    """
    scale = np.linspace(0.1, 20, 16, dtype=np.float32)
    weights = {"g": scale, "h": random_array(16), "w": random_array(16, 8) / scale[:, None]}
    result = check(text, weights, smooth=0.5)
    assert operators(result)["Mul"] == 1 + decomposed


def test_half_of_a_normalisation_that_a_branch_reads_is_not_smoothed() -> None:
    text = f"""
    net (float[4,16] x, bool k) => (float[4,8] y, float[4,16] z) {{
        [n0] n0 = Mul (x, g)
        [n1] n = Add (n0, h)
        [p] y = MatMul (n, w)
        {branches("n0", "4,16")}
    }}
    """
    scale = np.linspace(0.1, 20, 16, dtype=np.float32)
    weights = {"g": scale, "h": random_array(16), "w": random_array(16, 8) / scale[:, None]}
    check(text, weights, smooth=0.5)


def test_a_relu_that_a_branch_reads_is_not_removed() -> None:
    text = f"""
    net (float[1,3,8,8] x, bool k) => (float[1,4,8,8] y, float[1,4,8,8] z) {{
        [c0] c = Conv (x, w0)
        [relu] r = Relu (c)
        [c1] y = Conv (r, w1)
        {branches("r", "1,4,8,8")}
    }}
    """
    weights = {"w0": random_array(4, 3, 1, 1), "w1": random_array(4, 4, 1, 1)}
    result = check(text, weights)
    assert node_named(result, "relu").output[0] == "r"


def test_what_a_branch_reads_before_a_relu_stays() -> None:
    text = f"""
    net (float[1,3,8,8] x, bool k) => (float[1,4,8,8] y, float[1,4,8,8] z) {{
        [c0] c = Conv (x, w0)
        [relu] r = Relu (c)
        [c1] y = Conv (r, w1)
        {branches("c", "1,4,8,8")}
    }}
    """
    check(text, {"w0": random_array(4, 3, 1, 1), "w1": random_array(4, 4, 1, 1)})


def test_a_scale_is_not_folded_into_a_layer_that_a_branch_reads() -> None:
    text = f"""
    net (float[1,3,8,8] x, bool k) => (float[1,4,8,8] y, float[1,4,8,8] z) {{
        [c0] c = Conv (x, w0)
        [times] y = Mul (c, m)
        {branches("c", "1,4,8,8")}
    }}
    """
    result = check(text, {"w0": random_array(4, 3, 1, 1), "m": np.array(2.5, np.float32)})
    assert operators(result)["Mul"] == 1


def test_a_product_that_a_branch_reads_has_no_bias_behind_it() -> None:
    text = f"""
    net (float[4,16] x, bool k) => (float[4,8] y, float[4,8] z) {{
        [p] m = MatMul (x, w)
        [add] y = Add (m, b)
        {branches("m", "4,8")}
    }}
    """
    weights = {"w": random_array(16, 8), "b": random_array(8, scale=10)}
    result = check(text, weights, smooth=None, bias_correction=True)
    assert "corrected the biases of 1 layers" not in result.notes
