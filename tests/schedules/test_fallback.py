from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from autoglm_tvm.artifacts import open_bundle
from autoglm_tvm.compiler import compile, verify
from autoglm_tvm.compiler.reference import run_reference
from tests.compiler.onnx_text import model_from_text, random_array

# Declaration, body, rank of the result, and weights: a shape, or a list of values. The sizes divide
# by nothing and are large enough that the rule uses more than one thread.
WIDE = {
    "elementwise": ("float[3,101,137] x", "y = Tanh (x)", 3, {}),
    "reduction": ("float[3,101,137] x", "y = ReduceSum (x, axes)", 3, {"axes": [2]}),
    "softmax": ("float[31,1,1237] x", "y = Softmax <axis=-1> (x)", 3, {}),
    "matmul": ("float[37,41] x", "m = MatMul (x, w) y = Relu (m)", 2, {"w": (41, 43)}),
    "convolution": (
        "float[1,5,19,23] x",
        "y = Conv <pads=[1,1,1,1]> (x, w)",
        4,
        {"w": (7, 5, 3, 3)},
    ),
    "transpose": ("float[11,63,67] x", "y = Transpose <perm=[2,0,1]> (x)", 3, {}),
}


def wide_model(name: str, cases: dict[str, Any] = WIDE) -> onnx.ModelProto:
    declaration, body, rank, weights = cases[name]
    arrays = {
        key: np.array(value) if isinstance(value, list) else random_array(*value)
        for key, value in weights.items()
    }
    dims = ",".join("abcd"[:rank])
    return model_from_text(f"g ({declaration}) => (float[{dims}] y) {{ {body} }}", arrays)


@pytest.mark.parametrize("name", WIDE)
def test_the_same_bits_for_any_number_of_threads(name: str, tmp_path: Path) -> None:
    model = wide_model(name)
    result = compile(model, "host", tmp_path / "b", threads=3)
    assert all(entry.rule for entry in result.bundle.manifest.kernels)
    assert verify(result.directory, model, tolerance=1e-5).ok
    shape = result.bundle.manifest.inputs[0].shape
    inputs = {"x": random_array(*(int(dim) for dim in shape))}
    first, *others = [
        open_bundle(result.directory, threads=threads).run(inputs)["y"] for threads in (1, 2, 3)
    ]
    for other in others:
        np.testing.assert_array_equal(first, other)


def test_a_small_kernel_wakes_no_other_thread(tmp_path: Path) -> None:
    model = model_from_text("g (float[8] x) => (float[8] y) { y = Tanh (x) }")
    (kernel,) = compile(model, "host", tmp_path / "b").bundle.manifest.kernels
    assert kernel.rule == "elementwise"
    assert "threads" not in kernel.description


def test_a_kernel_that_no_schedule_describes_still_runs(tmp_path: Path) -> None:
    model = model_from_text(
        "g (float[7,33] x) => (float[7,4] v, int64[7,4] i) { v, i = TopK <axis=1> (x, k) }",
        {"k": np.array([4])},
    )
    result = compile(model, "host", tmp_path / "b")
    assert verify(result.directory, model).ok


LONG = {
    "average pool": ("float[1,5,240,241] x", "y = GlobalAveragePool (x)", 4, {}),
    "over the middle": ("float[3,5000,7] x", "y = ReduceSum (x, axes)", 3, {"axes": [1]}),
    "one number": ("float[100003] x", "y = ReduceSum <keepdims=1> (x)", 1, {}),
    "maximum": ("float[3,5001] x", "y = ReduceMax (x, axes)", 2, {"axes": [1]}),
}


@pytest.mark.parametrize("name", LONG)
def test_long_sums_lose_no_digits(name: str, tmp_path: Path) -> None:
    """Positive numbers only, so that every addition rounds the same way a sum in order would."""
    model = wide_model(name, LONG)
    result = compile(model, "host", tmp_path / "b")
    shape = [int(dim) for dim in result.bundle.manifest.inputs[0].shape]
    inputs = {"x": np.abs(random_array(*shape)) + np.float32(0.5)}
    exact = {
        "average pool": lambda x: x.mean((2, 3), keepdims=True),
        "over the middle": lambda x: x.sum(1, keepdims=True),
        "one number": lambda x: x.sum(keepdims=True),
        "maximum": lambda x: x.max(1, keepdims=True),
    }[name](inputs["x"].astype(np.float64))
    first, second = [
        open_bundle(result.directory, threads=threads).run(inputs)["y"] for threads in (1, 3)
    ]
    assert first.shape == run_reference(model, inputs)["y"].shape
    np.testing.assert_allclose(first, exact, rtol=2e-6)
    np.testing.assert_array_equal(first, second)
