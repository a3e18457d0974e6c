"""What an accuracy report says of errors that are known."""

from __future__ import annotations

import json

import numpy as np
import onnx.parser
import pytest

from autoglm_tvm.compiler.quantization.accuracy import measure_accuracy, weight_bytes
from autoglm_tvm.compiler.quantization.calibration_data import CalibrationData, calibration_data
from autoglm_tvm.compiler.quantization.logits import logit_outputs
from autoglm_tvm.compiler.read import ReadModel, read
from autoglm_tvm.targets.errors import CheckFailedError
from tests.compiler.quantization.branches import branches, samples

HEADER = '<ir_version: 8, opset_import: ["" : 17]>'


def model(text: str) -> ReadModel:
    return read(onnx.parser.parse_model(f"{HEADER} g {text}"))


def scaled(factor: float) -> ReadModel:
    return model(
        f"(float[1, 4, 1, 1] x) => (float[1, 4, 1, 1] y) "
        f"{{ c = Constant <value_float = {factor}> () y = Mul(x, c) }}"
    )


def run_of(reader: ReadModel, *arrays: np.ndarray) -> CalibrationData:
    (spec,) = reader.inputs
    return calibration_data([{spec.name: array} for array in arrays], reader.inputs)


def test_an_error_of_one_per_cent_is_forty_decibel() -> None:
    original = scaled(2.0)
    report = measure_accuracy(original, scaled(2.02), samples(original, 5))
    (output,) = report.outputs
    assert output.name == "y"
    assert output.sqnr_db == pytest.approx(40.0, abs=1e-3)
    assert output.cosine == pytest.approx(1.0)
    assert output.relative == pytest.approx(0.01, rel=1e-3)
    assert output.max_abs > 0
    assert output.top1 is None
    assert report.samples == 5
    assert report.drop == pytest.approx(0.0, abs=1e-9)
    assert "SQNR 40.0 dB" in report.summary()


def test_noise_is_summed_over_the_samples_and_not_averaged_in_decibel() -> None:
    """Signal 1 + 99, noise 1 + 0: 20 dB, where the mean of the samples' would be infinite."""
    original = model("(float[1, 1, 1, 1] x) => (float[1, 1, 1, 1] y) { y = Identity(x) }")
    off = model(
        "(float[1, 1, 1, 1] x) => (float[1, 1, 1, 1] y) "
        "{ one = Constant <value_float = 1.0> () y = Max(x, one) }"
    )
    small, large = np.zeros((1, 1, 1, 1), "float32"), np.full((1, 1, 1, 1), 10, "float32")
    (output,) = measure_accuracy(original, off, run_of(original, small, large)).outputs
    assert output.sqnr_db == pytest.approx(20.0)
    assert output.max_abs == 1.0
    assert output.relative == pytest.approx(0.1)
    assert output.cosine == pytest.approx(100 / (10 * np.sqrt(101)))


def test_the_same_model_is_exact_and_json_has_no_infinity() -> None:
    original = scaled(3.0)
    report = measure_accuracy(original, scaled(3.0), samples(original))
    (output,) = report.outputs
    assert output.sqnr_db == np.inf
    assert (output.cosine, output.max_abs) == (1.0, 0.0)
    found = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert found["outputs"][0]["sqnr_db"] is None
    assert found["samples"] == 3
    assert found["random"] is False
    assert "layers" not in found


def test_top1_counts_the_decisions_that_stay() -> None:
    """Classes 0 and 1 are exchanged: of four inputs two decide otherwise."""
    original = model(
        "(float[1, 3] x) => (float[1, 3] y) <float[3, 3] w = {1,0,0, 0,1,0, 0,0,1}> "
        "{ y = MatMul(x, w) }"
    )
    exchanged = model(
        "(float[1, 3] x) => (float[1, 3] y) <float[3, 3] w = {0,1,0, 1,0,0, 0,0,1}> "
        "{ y = MatMul(x, w) }"
    )
    runs = [np.eye(3, dtype="float32")[[number]] for number in (0, 1, 2, 2)]
    report = measure_accuracy(original, exchanged, run_of(original, *runs))
    assert report.outputs[0].top1 == 0.5
    assert report.outputs[0].decisions == 4
    assert report.drop == 0.5
    assert "top-1 agreement 50.00%" in report.summary()


def test_integer_outputs_are_decisions() -> None:
    text = (
        "(float[1, 4] x) => (int64[1, 1] y) <float[4] b = {BIAS}> "
        "{ s = Add(x, b) y = ArgMax <axis = 1> (s) }"
    )
    original, biased = (
        model(text.replace("BIAS", "0,0,0,0")),
        model(text.replace("BIAS", "9,0,0,0")),
    )
    runs = [np.eye(4, dtype="float32")[[number]] for number in range(4)]
    (output,) = measure_accuracy(original, biased, run_of(original, *runs)).outputs
    assert (output.top1, output.decisions) == (0.25, 4)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(float[1, 8] x) => (float[1, 8] y) { y = Softmax(x) }", True),
        ("(float[2, 5, 8] x) => (float[2, 5, 8] y) { y = LogSoftmax(x) }", True),
        ("(float[1, 8] x) => (float[1, 2] y) <float[8, 2] w> { y = Gemm(x, w) }", True),
        (
            "(float[1, 8, 1, 1] x) => (float[1, 8] y) { p = GlobalAveragePool(x) y = Flatten(p) }",
            True,
        ),
        ("(float[1, 8] x) => (float[1, 8] y) { y = Sigmoid(x) }", False),
        ("(float[1, 8] x) => (float[1, 1] y) <float[8, 1] w> { y = Gemm(x, w) }", False),
        ("(float[1, 1, 8, 8] x) => (float[1, 1, 8, 8] y) { y = Softmax(x) }", False),
        (
            "(float[1, 3, 8] x) => (float[1, 3, 8] y) <float[8] w, float[8] b, float[8, 8] v> "
            "{ p = MatMul(x, v) y = LayerNormalization(p, w, b) }",
            False,
        ),
        (
            "(float[1, 3, 8] x) => (float[1, 3, 4] y) <float[8, 4] w, float[4] b> "
            "{ p = MatMul(x, w) y = Add(p, b) }",
            True,
        ),
    ],
)
def test_which_outputs_are_logits(text: str, expected: bool) -> None:
    proto = onnx.parser.parse_model(f"{HEADER} g {text}")
    rng = np.random.default_rng(0)
    # What is declared without a value is a weight of any value.
    for info in proto.graph.value_info:
        shape = [dim.dim_value for dim in info.type.tensor_type.shape.dim]
        values = rng.standard_normal(shape).astype("float32")
        proto.graph.initializer.append(onnx.numpy_helper.from_array(values, info.name))
    assert logit_outputs(read(proto)) == ({"y"} if expected else frozenset())


def test_nan_in_the_middle_is_told_by_the_layers_name() -> None:
    """Clip hides it from the outputs: what is looked at is every tensor."""
    text = (
        "(float[1, 4] x) => (float[1, 4] y) <float one = {1}, float shift = {SHIFT}> "
        "{ s = Add(x, shift) [wrong] l = Log(s) h = Greater(l, one) y = Cast <to = 1> (h) }"
    )
    original, broken = model(text.replace("SHIFT", "100")), model(text.replace("SHIFT", "-100"))
    with pytest.raises(CheckFailedError, match="wrong"):
        measure_accuracy(original, broken, samples(original))


def test_random_data_is_told_first() -> None:
    original = scaled(1.0)
    data = calibration_data("random", original.inputs)
    report = measure_accuracy(original, scaled(1.01), data)
    assert report.random
    assert report.summary().startswith("the data is random, so this accuracy means nothing")
    assert report.to_json()["random"] is True


def test_weights_are_counted_wherever_they_are() -> None:
    names = {"a": 0.0, "b": 0.0}
    assert weight_bytes(branches(names)) == 2 * 16 * 16 * 4
    graph = branches(names).proto
    assert weight_bytes(read(graph, detach_above=0)) == 2 * 16 * 16 * 4
    packed = onnx.helper.make_tensor("w", onnx.TensorProto.INT4, [3], [1, 2, 3])
    half = onnx.helper.make_tensor("h", onnx.TensorProto.FLOAT16, [2], [1.0, 2.0])
    bare = branches(names)
    del bare.proto.graph.initializer[:]
    bare.proto.graph.initializer.extend([packed, half])
    assert weight_bytes(bare) == 2 + 4
