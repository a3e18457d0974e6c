from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from autoglm_tvm.compiler import compile, verify
from tests.compiler.onnx_text import model_from_text, random_array

HALF = np.float16
# One rounding of the result to 11 bits; sums in half precision are off by ten times that and more.
ONE_ROUNDING = 6e-4

NETWORKS = {
    "matmul": (
        "g (float16[3,1024] x) => (float16[3,16] y) { y = MatMul (x, w) }",
        random_array(1024, 16),
    ),
    "conv1d": (
        "g (float16[1,64,40] x) => (float16[a,b,c] y) { y = Conv (x, w) }",
        random_array(5, 64, 9),
    ),
    "conv2d": (
        "g (float16[1,64,9,9] x) => (float16[a,b,c,d] y)"
        "{ y = Conv <pads=[1,1,1,1], strides=[2,1]> (x, w) }",
        random_array(5, 64, 3, 3),
    ),
    "grouped": (
        "g (float16[1,64,9,9] x) => (float16[a,b,c,d] y) { y = Conv <group=2> (x, w) }",
        random_array(6, 32, 3, 3),
    ),
}


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("name", NETWORKS)
def test_halves_are_summed_in_float32(name: str, layout: str, tmp_path: Path) -> None:
    text, weight = NETWORKS[name]
    model = model_from_text(text, {"w": weight.astype(HALF)})
    directory = compile(model, "host", tmp_path / "b", layout=layout).directory
    result = verify(directory, model, tolerance=ONE_ROUNDING)
    assert result.ok, result.outputs


def test_a_sum_past_the_largest_half_is_finite_on_the_way(tmp_path: Path) -> None:
    """600 products of 1000, and then as many of -1000: 0 in float32, infinite in float16."""
    weight = np.concatenate([np.full((600, 1), 100), np.full((600, 1), -100)]).astype(HALF)
    model = model_from_text(
        "g (float16[1,1200] x) => (float16[1,1] y) { y = MatMul (x, w) }", {"w": weight}
    )
    directory = compile(model, "host", tmp_path / "b").directory
    result = verify(directory, model, {"x": np.full((1, 1200), 10, HALF)})
    assert result.ok, result.outputs


def test_float32_is_left_alone(tmp_path: Path) -> None:
    model = model_from_text(
        "g (float[3,16] x) => (float[3,4] y) { y = MatMul (x, w) }", {"w": random_array(16, 4)}
    )
    (kernel,) = compile(model, "host", tmp_path / "b").bundle.manifest.kernels
    assert kernel.operators == ("matmul",)
