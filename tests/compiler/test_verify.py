"""What counts as right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from autoglm_tvm.compiler import compile, verify
from autoglm_tvm.compiler.compare import compare
from autoglm_tvm.compiler.reference_noise import NOISE, reference_noise
from autoglm_tvm.targets.errors import UserInputError
from tests.compiler.onnx_text import model_from_text, random_array


def scaled(factor: float) -> onnx.ModelProto:
    return model_from_text(
        "g (float[8] x) => (float[8] y) { y = Mul (x, f) }", {"f": np.array(factor, np.float32)}
    )


def test_a_small_wrong_output_is_wrong(tmp_path: Path) -> None:
    directory = compile(scaled(1e-8), "host", tmp_path / "b").directory
    assert verify(directory, scaled(1e-8)).ok
    assert not verify(directory, scaled(-3e-8)).ok


def test_a_detector_that_finds_nothing_is_right_with_a_remark(tmp_path: Path) -> None:
    """ONNX Runtime's sigmoid of -16 is off by a third of its value."""
    model = model_from_text(
        "g (float[64] x) => (float[64] y) { a = Sub (x, f) y = Sigmoid (a) }",
        {"f": np.array(16, np.float32)},
    )
    result = verify(compile(model, "host", tmp_path / "b").directory, model)
    assert result.ok
    assert result.worst.relative > result.tolerance
    assert "give real inputs" in result.worst.detail


def test_where_the_reference_is_noisy() -> None:
    model = model_from_text(
        "g (float[4] x) => (float[4] a, float[4] b, float[1,4] c)"
        "{ a = Relu (x) b = Sigmoid (x) d = Softmax (x) c = Reshape (d, s) }",
        {"s": np.array([1, 4])},
    )
    assert reference_noise(model.graph) == {"a": 0.0, "b": NOISE, "c": NOISE}


@pytest.mark.parametrize(
    ("found", "reference", "relative"),
    [
        (np.array([1.0, 2.0]), np.array([1.0, 2.0]), 0.0),
        (np.array([1.0, 2.5]), np.array([1.0, 2.0]), 0.25),
        (np.array([0.5]), np.array([0.0]), 0.5),
        (np.array([np.nan, 1.0]), np.array([np.nan, 1.0]), 0.0),
        (np.array([np.nan, 1.0]), np.array([1.0, 1.0]), np.inf),
        (np.array([np.inf]), np.array([-np.inf]), np.inf),
        (np.array([1, 2, 3, 4]), np.array([1, 2, 3, 5]), 0.25),
        (np.array([True, False]), np.array([True, True]), 0.5),
        (np.zeros((1, 2)), np.zeros((2, 1)), np.inf),
        (np.zeros(2, np.float32), np.zeros(2), np.inf),
        (np.zeros((0, 3)), np.zeros((0, 3)), 0.0),
    ],
)
def test_the_measure(found: np.ndarray, reference: np.ndarray, relative: float) -> None:
    error = compare("t", found, reference)
    assert error.relative == pytest.approx(relative)
    assert error.to_json()["relative"] == (None if np.isinf(relative) else pytest.approx(relative))


def test_a_model_newer_than_onnx_runtime(tmp_path: Path) -> None:
    model = model_from_text("g (float[2] x) => (float[2] y) { y = Neg (x) }")
    model.ir_version = 14
    onnx.save(model, tmp_path / "new.onnx")
    directory = compile(tmp_path / "new.onnx", "host", tmp_path / "b").directory
    assert verify(directory, tmp_path / "new.onnx").ok


def test_a_new_model_with_external_weights(tmp_path: Path) -> None:
    model = model_from_text(
        "g (float[1,40] x) => (float[1,40] y) { y = MatMul (x, w) }", {"w": random_array(40, 40)}
    )
    model.ir_version = 14
    onnx.save_model(
        model, tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=64
    )
    directory = compile(tmp_path / "m.onnx", "host", tmp_path / "b").directory
    assert verify(directory, tmp_path / "m.onnx", tolerance=1e-5).ok


POOLED = "g (float[batch,2,h,w] x) => (float[batch,2,a,b] y)"


def test_sizes_that_the_reference_takes_are_found(tmp_path: Path) -> None:
    model = model_from_text(f"{POOLED} {{ y = MaxPool <kernel_shape=[9,9]> (x) }}")
    directory = compile(model, "host", tmp_path / "b").directory
    result = verify(directory, model)
    assert result.ok
    assert result.inputs == "random (seed 0, batch = 2, h = 64, w = 64)"
    chosen = verify(directory, model, shapes={"x": (1, 2, 9, 11)})
    assert chosen.ok
    assert chosen.inputs == "random (seed 0, batch = 1, h = 9, w = 11)"
    with pytest.raises(UserInputError, match="no input takes"):
        verify(directory, model, shapes={"z": (1, 2, 9, 11)})


def test_a_dimension_of_zero_is_refused(tmp_path: Path) -> None:
    model = model_from_text("g (float[batch,2] x) => (float[batch,2] y) { y = Neg (x) }")
    directory = compile(model, "host", tmp_path / "b").directory
    with pytest.raises(UserInputError, match="'batch' is 0"):
        verify(directory, model, {"x": np.zeros((0, 2), np.float32)})


def test_integer_divisors_are_not_zero(tmp_path: Path) -> None:
    """A process that divides an integer by zero dies of SIGFPE, this one too."""
    model = model_from_text(
        "g (int64[64] x, int64[64] by) => (int64[64] y, int64[64] r)"
        "{ y = Div (x, by) r = Mod (x, by) }"
    )
    assert verify(compile(model, "host", tmp_path / "b").directory, model).ok


def test_random_scalars_are_arrays(tmp_path: Path) -> None:
    model = model_from_text(
        "g (int64 n, float s, bool f, int64 by) => (int64 y, float z, bool g)"
        "{ y = Div (n, by) z = Neg (s) g = Not (f) }"
    )
    assert verify(compile(model, "host", tmp_path / "b").directory, model).ok
