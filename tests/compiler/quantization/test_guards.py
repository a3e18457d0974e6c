"""NaN and infinity are found where they first arise."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from autoglm_tvm.compiler.frontend.model_constants import as_read_model, with_weights
from autoglm_tvm.compiler.quantization.guards import check_finite
from autoglm_tvm.compiler.quantization.half import to_half
from autoglm_tvm.compiler.read import ReadModel, read
from autoglm_tvm.targets.errors import CheckFailedError, UserInputError
from tests.compiler.onnx_text import model_from_text, random_array


def _read(text: str, weights: dict[str, np.ndarray]) -> ReadModel:
    model = model_from_text(text, weights)
    for node in model.graph.node:
        node.name = f"layer_{node.output[0]}"
    return read(model)


def test_a_sound_model_passes() -> None:
    model = _read(
        "g (float[2, 4] x) => (float[2, 4] y) { h = MatMul(x, w) y = Relu(h) }",
        {"w": random_array(4, 4)},
    )
    check_finite(model, [{"x": random_array(2, 4)}, {"x": np.zeros((2, 4), np.float32)}])


def test_the_layer_that_divides_by_zero_is_named_with_the_sample() -> None:
    model = _read(
        "g (float[2, 4] x) => (float[2, 4] y) { h = Reciprocal(x) s = Tanh(h) y = Relu(s) }", {}
    )
    good, bad = np.ones((2, 4), np.float32), np.zeros((2, 4), np.float32)
    check_finite(model, [{"x": good}])
    with pytest.raises(CheckFailedError) as error:
        check_finite(model, [{"x": good}, {"x": bad}])
    assert "layer_h" in str(error.value)
    assert "infinity" in str(error.value)
    assert "sample 1" in str(error.value)


def test_masks_of_infinity_pass_and_nan_from_them_does_not() -> None:
    masked = "g (float[1, 4] x) => (float[1, 4] y) { h = Add(x, mask) y = Softmax(h) }"
    mask = np.array([[0, 0, -np.inf, -np.inf]], np.float32)
    check_finite(_read(masked, {"mask": mask}), [{"x": random_array(1, 4)}])
    everything = np.full((1, 4), -np.inf, np.float32)
    with pytest.raises(CheckFailedError, match=r"layer_y.*NaN"):
        check_finite(_read(masked, {"mask": everything}), [{"x": random_array(1, 4)}])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(value: float) -> None:
    weight = random_array(4, 4)
    weight[1, 2] = value
    model = _read("g (float[2, 4] x) => (float[2, 4] y) { y = MatMul(x, w) }", {"w": weight})
    with pytest.raises(UserInputError, match=r"'w' has 1 values of 16.*layer_y"):
        check_finite(model, [])


def test_a_half_layer_that_overflows_is_told_to_stay_in_float32() -> None:
    float_model = _read(
        "g (float[1, 64] x) => (float[1, 8] y) { h = MatMul(x, w) y = Tanh(h) }",
        {"w": np.full((64, 8), 3e3, np.float32)},
    )
    sample = {"x": np.full((1, 64), 10, np.float32)}
    check_finite(float_model, [sample])
    proto: onnx.ModelProto = with_weights(float_model)
    to_half(proto, {"layer_h"}, None)
    half_model = as_read_model(float_model, proto)
    with pytest.raises(CheckFailedError, match="layer_h") as error:
        check_finite(half_model, [sample])
    assert '"layer_h": fp32' in str(error.value)


def test_what_onnxruntime_refuses_is_one_message() -> None:
    model = _read(
        "g (float[2, 4] x, int64[1] i) => (float[1, 4] y) { h = Tanh(x) y = Gather(h, i) }", {}
    )
    inputs = {"x": random_array(2, 4), "i": np.array([7])}
    with pytest.raises(UserInputError, match="cannot run the model to look for NaN"):
        check_finite(model, [inputs])
    model.proto.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(UserInputError, match="cannot load the model to look for NaN"):
        check_finite(model, [inputs])
