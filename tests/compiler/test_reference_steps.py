"""What rounding alone makes of a quantized reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

from autoglm_tvm.compiler import compile, verify
from autoglm_tvm.compiler.compare import compare
from autoglm_tvm.compiler.read import ReadModel, read
from autoglm_tvm.compiler.reference import run_reference
from autoglm_tvm.compiler.reference_steps import step_noise
from autoglm_tvm.compiler.verify import STEPS_NOISE, VerifyResult

HEADER = '<ir_version: 8, opset_import: ["" : 17]> g '
QDQ = (
    "(float[1, 8] x) => (float[1, 8] y) <float s = {0.1}, uint8 z = {128}> "
    "{ q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }"
)
DYNAMIC = (
    "(float[1, 8] x) => (float[1, 8] y) "
    "{ q, s, z = DynamicQuantizeLinear(x) y = DequantizeLinear(q, s, z) }"
)
FLOAT = "(float[1, 8] x) => (float[1, 8] y) { y = Sigmoid(x) }"


def steps(text: str, values: np.ndarray) -> float:
    model: ReadModel = read(onnx.parser.parse_model(HEADER + text))
    inputs = {"x": values.astype(np.float32)[None]}
    return step_noise(model, inputs, run_reference(model.proto, inputs))["y"]


def test_a_value_at_half_a_step_may_be_a_step_off() -> None:
    at_half = np.array([0.05, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6])
    noise = steps(QDQ, at_half)
    assert noise > 1e-5
    ours, theirs = np.round(at_half, 1), np.round(at_half, 1)
    ours[0], theirs[0] = 0.0, 0.1
    assert noise == pytest.approx(compare("y", ours, theirs).energy, abs=1e-6)


def test_values_inside_of_their_steps_stay() -> None:
    assert steps(QDQ, np.arange(8) * 0.1 + 0.02) == 0.0


def test_dynamic_ranges_move_with_their_values() -> None:
    assert steps(DYNAMIC, np.linspace(-1, 1.1, 8)) < 1e-8


def test_nothing_moves_where_nothing_is_quantized() -> None:
    assert steps(FLOAT, np.linspace(-1, 1, 8)) == pytest.approx(0.0, abs=1e-15)


@pytest.mark.parametrize(
    ("noise", "allowed", "explained", "right"),
    [
        (STEPS_NOISE / 1.1, True, 0.0, True),
        (STEPS_NOISE / 1.1, False, 0.0, False),
        (0.05, True, 0.0, False),
        (0.05, True, 0.01, True),
        (0.05, True, 0.001, False),
        (0.05, False, 0.01, False),
    ],
)
def test_steps_excuse_only_what_rounding_explains(
    noise: float, allowed: bool, explained: float, right: bool
) -> None:
    reference = np.array([1.0, 0.0])
    error = compare("y", np.array([1.0, np.sqrt(noise)]), reference)
    result = VerifyResult((error,), (), 1e-3, "given", True, allowed, {"y": explained})
    assert result.ok is right


@pytest.mark.parametrize("factor", [2.0, 0.5])
def test_an_output_of_another_size_is_wrong_though_its_direction_is_right(factor: float) -> None:
    reference = np.linspace(-1, 1, 8)
    error = compare("y", factor * reference, reference)
    assert error.cosine == pytest.approx(1.0)
    assert not VerifyResult((error,), (), 1e-3, "given", True, True, {"y": 1e-4}).ok


def test_zeros_excuse_nothing() -> None:
    error = compare("y", np.full(3, 1e-2), np.zeros(3))
    assert not VerifyResult((error,), (), 1e-3, "given", True, True, {"y": 0.0}).ok


@pytest.fixture(scope="module")
def doubling(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that puts out twice its quantized input."""
    folder = tmp_path_factory.mktemp("twice") / "b"
    return compile(twice(2.0), "host", folder, threads=1).directory


def twice(factor: float) -> onnx.ModelProto:
    """A quantized model whose output is scaled."""
    return onnx.parser.parse_model(
        HEADER + "(float[1, 8] x) => (float[1, 8] y) "
        f"<float s = {{0.1}}, uint8 z = {{128}}, float f = {{{factor}}}> "
        "{ q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) y = Mul(d, f) }"
    )


def test_a_bundle_that_is_off_by_two_fails(doubling: Path) -> None:
    assert verify(doubling, twice(2.0)).ok
    assert not verify(doubling, twice(1.0)).ok


def test_a_tolerance_that_was_asked_for_counts(doubling: Path) -> None:
    assert verify(doubling, twice(2.02)).ok
    result = verify(doubling, twice(2.02), tolerance=0)
    assert not result.ok
    assert not result.steps
